"""What `/readyz` asks of each part. A check returns what is wrong, in words, or nothing."""

from cmdhttp.api.app import Check
from cmdhttp.audit.log import AuditLog
from cmdhttp.clock import Clock
from cmdhttp.execution.local.link import BrokerLink
from cmdhttp.jobs.database import DAMAGED
from cmdhttp.jobs.journal import Journal
from cmdhttp.jobs.supervisor import Supervisor
from cmdhttp.reload.reloader import PolicyHolder, Reloader


def checks_of(
    supervisor: Supervisor,
    journal: Journal,
    audit: AuditLog,
    holder: PolicyHolder,
    reloader: Reloader,
    clock: Clock,
    link: BrokerLink,
) -> dict[str, Check]:
    async def broker_there() -> str:
        return link.trouble

    async def accepting() -> str:
        return "" if supervisor.accepting else "draining"

    async def journal_writable() -> str:
        if journal.database.damage:
            return f"damaged: {journal.database.damage}. {DAMAGED}"
        try:
            await journal.probe()
        except Exception as error:  # noqa: BLE001 - whatever it is, the journal is not writable
            return f"not writable: {type(error).__name__}"
        return ""

    async def audit_writable() -> str:
        await audit.mend()  # else a service that gets no calls because it is not ready would never be ready again
        return audit.trouble or audit.reserve.trouble

    async def policy_usable() -> str:
        if reloader.trouble:
            return reloader.trouble
        now = clock.now()
        live = any(token.expires is None or now < token.expires for token in holder.current.tokens.values())
        return "" if live else "every token in the policy has expired"

    return {
        "policy": policy_usable,
        "accepting": accepting,
        "journal": journal_writable,
        "audit": audit_writable,
        "broker": broker_there,
    }
