"""Denies that never match, and tests that a deny with dates will break."""

from collections.abc import Iterator

from cmdhttp.policy.compiled import Deny
from cmdhttp.policy.findings import Finding
from cmdhttp.policy.lint.book import Book
from cmdhttp.policy.lint.codes import LintCode
from cmdhttp.policy.lint.roles import never_applies
from cmdhttp.policy.model import CaseSpec


def denies(book: Book) -> Iterator[Finding]:
    for deny in book.policy.rules:
        reason = _never(book, deny)
        if reason:
            hint = "mend it, or take it out: it protects nothing"
            yield LintCode.DENY_NEVER.found(f"this deny ('{deny.why}') never matches: {reason}", deny.at, hint)


def _never(book: Book, deny: Deny) -> str:
    if deny.until is not None and deny.until <= book.now:
        return "its time is over"
    if deny.principals is not None and not deny.principals:
        return "nobody holds the roles that it names"
    return never_applies(book, deny.atoms, deny.hosts, deny.narrowings)


def tests_by_clock(book: Book) -> Iterator[Finding]:
    """Tests without `at`, where a deny will begin or end to match: on that day the policy would not load."""
    changing = [deny for deny in book.policy.rules if _will_change(book, deny)]
    for case in book.merged.tests:
        if case.spec.run is not None and case.spec.at is None and case.spec.expect != "invalid":
            deny = next((deny for deny in changing if _concerns(book, deny, case.spec)), None)
            if deny is not None:
                message = f"this test will come out differently when '{deny.why}' begins or ends"
                hint = "say for which date it asks, like 'at: 2026-11-02'"
                yield LintCode.TEST_BY_CLOCK.found(message, case.at, hint)


def _will_change(book: Book, deny: Deny) -> bool:
    return any(moment is not None and moment > book.now for moment in (deny.since, deny.until))


def _concerns(book: Book, deny: Deny, case: CaseSpec) -> bool:
    everybody = deny.principals is None
    return (
        (everybody or case.caller in (deny.principals or ()))
        and case.on in deny.hosts
        and case.command in book.taken(deny.atoms)
    )
