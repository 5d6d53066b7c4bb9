"""The policy folder as the service reads it."""

import logging
from dataclasses import replace
from pathlib import Path

import pytest

from cmdhttp.auth.tokens import TokenRecord
from cmdhttp.errors import ConfigError
from cmdhttp.policy.compiled import Policy
from cmdhttp.policy.findings import PolicyError
from cmdhttp.reload.source import PolicyFolder
from cmdhttp.settings import Settings

NOW = 1_790_000_000.0
RECORD = TokenRecord(id="k7Qm2ZpA", principal="p", sha256=bytes(32), expires=None)


@pytest.fixture
def policies(tmp_path: Path) -> Path:
    folder = tmp_path / "policies"
    folder.mkdir(mode=0o755)
    put(folder, "version: 1\nprincipals: {p: {}}\n")
    return folder


def put(folder: Path, text: str) -> None:
    (folder / "a.yaml").write_text(text)
    (folder / "a.yaml").chmod(0o644)


def with_token(policy: Policy) -> Policy:
    return replace(policy, tokens={RECORD.id: RECORD})


def test_what_is_served_has_a_token(policies: Path) -> None:
    """The last word on a policy that loads has `prepare`; what nobody could call is refused after that."""
    settings = Settings(policies=policies)
    assert PolicyFolder(settings, now=lambda: NOW, prepare=with_token).load().tokens == {RECORD.id: RECORD}
    with pytest.raises(ConfigError, match="no principal with a token"):
        PolicyFolder(settings, now=lambda: NOW).load()


def test_a_policy_with_errors_is_not_served(policies: Path) -> None:
    """What does not load is told with all its findings, and gives another state when it is mended."""
    folder = PolicyFolder(Settings(policies=policies), now=lambda: NOW, prepare=with_token)
    put(policies, "version: 1\nprincipals: {p: {x: 1}}\n")
    broken = folder.state()
    with pytest.raises(PolicyError, match="P203"):
        folder.load()
    put(policies, "version: 1\nprincipals: {p: {}}\n")
    assert folder.state() != broken
    assert folder.load().principals


def test_a_parser_that_is_not_there(policies: Path) -> None:
    """What is served may name parsers of ours and of jc, and no others."""
    folder = PolicyFolder(Settings(policies=policies), now=lambda: NOW, prepare=with_token)
    command = "version: 1\nprincipals: {p: {}}\ncommands: {c: {run: [/bin/c], on: local, result: {parse: %s}}}\n"
    for name in ("json", "df"):
        put(policies, command % name)
        assert folder.load().commands["c"].parser == name
    put(policies, command % "uptiem")
    with pytest.raises(PolicyError, match=r"P220 there is no parser 'uptiem'\n    hint: did you mean 'uptime'\?"):
        folder.load()


def test_an_account_on_local_needs_a_service_that_runs_as_root(policies: Path) -> None:
    """Who serves says whether accounts can be switched."""
    put(policies, "version: 1\nprincipals: {p: {}}\ncommands: {c: {run: [/bin/c], on: local, as: www}}\n")
    settings = Settings(policies=policies)
    able = PolicyFolder(settings, now=lambda: NOW, prepare=with_token, may_switch=True)
    assert able.load().commands["c"].account == "www"
    with pytest.raises(PolicyError, match="P208 'as: www' on local needs the service to be started as root"):
        PolicyFolder(settings, now=lambda: NOW, prepare=with_token, may_switch=False).load()


def test_warnings_are_logged_when_they_are_news(policies: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The same warnings are not logged again by each load; others are, and at most fifty at a time."""
    folder = PolicyFolder(Settings(policies=policies), now=lambda: NOW, prepare=with_token)
    caplog.set_level(logging.WARNING, "cmdhttp.policy")

    def warnings(count: int) -> list[str]:
        """What a load logs of a policy with so many roles that nobody holds."""
        caplog.clear()
        idle = "".join(f", idle{number}: []" for number in range(count))
        held = "principals: {p: {}}\ngrants: [{to: p, roles: held}]\n"
        put(policies, f"version: 1\n{held}roles: {{held: []{idle}}}\n")
        folder.load()
        return [record.getMessage() for record in caplog.records]

    assert [message.split()[1] for message in warnings(2)] == ["P409", "P409"]
    assert warnings(2) == []
    assert len(warnings(1)) == 1
    many = warnings(60)
    assert (len(many), many[-1]) == (51, "10 more warnings; 'cmdhttp check' shows all")
    assert all("\n" not in message for message in many)
    assert warnings(0) == []
    assert len(warnings(1)) == 1
