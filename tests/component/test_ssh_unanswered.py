"""A host that is given a command and does not say whether it has started it: nobody may say that nothing ran."""

from pathlib import Path

import pytest

from cmdhttp.execution.model import RunErrorCode
from cmdhttp.execution.ssh import SshExecutor
from cmdhttp.plan.model import KeyFile, Shell, SshTarget
from tests.support.bad_ssh import BadServers
from tests.support.ssh_runs import run, step_for

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.parametrize("shared", [True, False])
async def test_no_answer_to_the_command(tmp_path: Path, shared: bool) -> None:
    with BadServers.start(tmp_path / "servers", {"mute": ("exec", "silent")}) as servers:
        remote = servers.remotes["mute"]
        known_hosts = tmp_path / "known_hosts"
        known_hosts.write_text(remote.recorded)
        target = SshTarget(
            address=remote.address,
            port=remote.port,
            account=remote.account,
            login=KeyFile(path=str(remote.key)),
            known_hosts=str(known_hosts),
            shell=Shell.RAW,
            shared=shared,
        )
        exited, _ = await run(step_for(target, "reload"), executor=SshExecutor(login_timeout=1.0))
    assert exited.lost
    assert exited.error is not None
    assert exited.error.code is RunErrorCode.CONNECTION_LOST
