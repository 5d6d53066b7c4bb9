"""The benchmark of SSH runs: its hosts, its policy, how the peers are told to be strict, its figures and its aims."""

import ipaddress
import json
import os
from pathlib import Path

import pytest

from benchmarks.figures import Column, Figure, Row, Sheet, race
from benchmarks.local import servers
from benchmarks.local.http import Answer, WrongAnswer
from benchmarks.local.page import page
from benchmarks.local.programs import FULL, QUICK, programs
from benchmarks.local.servers import Missing, check_installed
from benchmarks.policy import INPUTS
from benchmarks.ssh import fanout, short, stream
from benchmarks.ssh.contenders import (
    TOOLS,
    Ansible,
    AnsibleCommand,
    AnsibleRaw,
    Clush,
    OverSsh,
    Pdsh,
    Script,
    clean_environment,
    policy,
    ssh,
)
from benchmarks.ssh.fleet import Fleet, addresses
from benchmarks.ssh.run import aims
from cmdhttp.policy.load import load as load_policy

TOKEN = {"id": "Ab3dEf9h", "sha256": "ab" * 32, "expires": "2027-03-31"}
FLEET = Fleet(
    addresses=addresses(501),
    port=2222,
    account="ops",
    key=Path("/k/key"),
    known_hosts=Path("/k/known_hosts"),
    pid=os.getpid(),
)


# The hosts.


def test_every_host_has_a_loopback_address_of_its_own() -> None:
    """They are all different, and none is the address that everything else on the machine uses."""
    found = [ipaddress.ip_address(each) for each in addresses(1000)]
    assert len(set(found)) == 1000
    assert all(each.is_loopback and str(each) != "127.0.0.1" for each in found)


def test_more_hosts_than_addresses_are_refused() -> None:
    """The last one that there is an address for works; one more is an error that says how many there are."""
    assert ipaddress.ip_address(addresses(62_500)[-1]).is_loopback
    with pytest.raises(ValueError, match="62,500"):
        addresses(62_501)


def test_our_policy_loads(tmp_path: Path) -> None:
    """The service takes it; the group has every host but the first; as many runs at once as the peers have."""
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "known_hosts").write_text("")
    argvs = programs(FULL)
    (tmp_path / "policy.yaml").write_text(json.dumps(policy(FLEET, argvs, TOKEN)))
    for path in (tmp_path / "policy.yaml", tmp_path / "keys" / "known_hosts"):
        path.chmod(0o644)
    loaded = load_policy(tmp_path, INPUTS).usable()
    assert set(loaded.commands) == set(argvs)
    assert {command.max_parallel for command in loaded.commands.values()} == {64}
    hosts = {f"h{number}" for number in range(501)}
    assert hosts <= set(loaded.hosts)
    assert set(loaded.groups["fleet"]) == hosts - {"h0"}


# The peers.


def told(tool: Clush | Pdsh | Ansible | Script, folder: Path) -> str:
    """Everything that a tool is told."""
    return json.dumps([tool.argv(FLEET, FLEET.addresses[1:], folder), dict(tool.environment(FLEET, folder))])


@pytest.mark.parametrize("tool", [Clush(), Pdsh(), AnsibleRaw(), AnsibleCommand()], ids=lambda tool: tool.name)
def test_the_peers_check_host_keys_and_read_nothing_of_ours(tool: Clush | Pdsh | Ansible, tmp_path: Path) -> None:
    """Strict, with the fleet's known_hosts and key alone, and 64 hosts at once."""
    said = told(tool, tmp_path)
    for wanted in (
        "-F none",
        "StrictHostKeyChecking=yes",
        "UserKnownHostsFile=/k/known_hosts",
        "GlobalKnownHostsFile=none",
        "IdentityAgent=none",
        "IdentityFile=/k/key",
        '"-f", "64"',
    ):
        assert wanted in said
    assert "StrictHostKeyChecking=no" not in said


def test_every_tool_is_given_every_host(tmp_path: Path) -> None:
    """By its arguments or by a file that it is given; the first host, which only we need, is left out."""
    for tool in TOOLS:
        argv = tool.argv(FLEET, FLEET.addresses[1:], tmp_path)
        files = [Path(part).read_text() for part in argv if part.startswith(str(tmp_path))]
        given = [each for each in FLEET.addresses if any(f'"{each}"' in text or each in text.split() for text in files)]
        if not files:
            given = argv[argv.index("-w") + 1].split(",")
        assert given == list(FLEET.addresses[1:]), tool.name


def test_plain_ssh_goes_to_the_first_host() -> None:
    """What is asked for besides comes before the address, where ssh takes options."""
    argv = ssh(FLEET, more=["-S", "/cm"])
    assert argv[-1] == FLEET.addresses[0]
    assert argv.index("-S") < argv.index(FLEET.addresses[0])
    assert "StrictHostKeyChecking=yes" in argv


def test_no_variable_of_ours_steers_a_tool(monkeypatch: pytest.MonkeyPatch) -> None:
    """What ansible, pdsh, clush and ssh would read from the environment is taken out."""
    names = ("ANSIBLE_FORKS", "PDSH_RCMD_TYPE", "CLUSTERSHELL_CFGDIR", "SSH_AUTH_SOCK", "CMDHTTP_LISTEN")
    for name in names:
        monkeypatch.setenv(name, "x")
    assert set(names).isdisjoint(clean_environment())


def test_what_is_missing_is_named_by_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """The program clush is in clustershell: the line to run must be one that works."""
    monkeypatch.setattr("benchmarks.local.servers.find", lambda _program: None)
    with pytest.raises(Missing, match=r"apt-get install clustershell curl pdsh$"):
        check_installed([Clush(), Pdsh()])


def test_what_somebody_else_started_is_no_part_of_a_server() -> None:
    """Only as long as it is said to be there."""
    with servers.apart([4_000_000]):
        assert 4_000_000 in servers.known()
    assert 4_000_000 not in servers.known()


# Figures.


def test_contenders_take_turns() -> None:
    """Each is asked once a round, in the same order; a contender may have fewer figures than there are columns."""
    turns: list[str] = []

    def worker(name: str, *figures: float) -> tuple[float, ...]:
        turns.append(name)
        return figures

    columns = (Column(name="a", unit="ms"), Column(name="b", unit="ms"))
    found = race(
        "A race", columns, {"we": lambda: worker("we", len(turns), 5), "they": lambda: worker("they", 7)}, rounds=2
    )
    assert turns == ["we", "they"] * 2
    assert found.figure("we", "a") == Figure((0, 2))
    assert found.rows[1].figures == (Figure((7, 7)), None)


def run_of(host: int, *, stdout: str = "hello\n", ok: bool = True) -> dict[str, object]:
    return {"host": f"h{host}", "ok": ok, "stdout": stdout}


def answer(runs: list[dict[str, object]], *, ok: bool = True, status: str = "200 OK") -> Answer:
    body = json.dumps({"ok": ok, "runs": runs}).encode()
    found = Answer()
    found.feed(f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
    return found


def test_every_host_must_have_said_the_word() -> None:
    """A host too few, one that failed, one that said something else, and a job that has not ended are no answers."""
    fanout.check_all(answer([run_of(1), run_of(2)]), 2)
    wrong = [
        answer([run_of(1)]),
        answer([run_of(1), run_of(2, ok=False)], ok=False),
        answer([run_of(1), run_of(2, stdout="")]),
        answer([run_of(1), run_of(2)], status="202 Accepted"),
    ]
    for each in wrong:
        with pytest.raises(WrongAnswer):
            fanout.check_all(each, 2)


# Aims.


def one(value: float) -> Figure:
    return Figure((value,))


def sheets(*, warm: float, cold: float, rate: float, wall: float, speed: float, memory: float) -> dict[str, Sheet]:
    """A sheet of each kind, with peers whose figures are plain."""

    def sheet(title: str, columns: tuple[Column, ...], column: str, figures: dict[str, float], **more: float) -> Sheet:
        names = [each.name for each in columns]
        rows = []
        for name, value in figures.items():
            known = {column: value} | (more if name == OverSsh.name else {})
            rows.append(Row(name=name, figures=tuple(one(known[each]) if each in known else None for each in names)))
        return Sheet(title=title, columns=columns, rows=tuple(rows))

    made = [
        sheet(short.WARM_TITLE, short.COLUMNS, short.P50, {OverSsh.name: warm, short.MASTER: 6}),
        sheet(short.COLD_TITLE, short.COLUMNS, short.P50, {OverSsh.name: cold, short.COLD: 150}),
        sheet(short.LOAD_TITLE, short.COLUMNS, short.RATE, {OverSsh.name: rate}),
        sheet(
            fanout.title(500),
            fanout.COLUMNS,
            fanout.WALL,
            {OverSsh.name: wall, Clush.name: 40, AnsibleRaw.name: 100, AnsibleCommand.name: 100},
        ),
        sheet(
            stream.title(FULL),
            stream.COLUMNS,
            stream.SPEED,
            {OverSsh.name: speed, short.MASTER: 500},
            **{stream.MEMORY: memory},
        ),
    ]
    return {each.title: each for each in made}


def test_the_aims_are_those_that_were_set() -> None:
    """ControlMaster's time, 1.5 x ssh cold, 500 a second, 4 x clush, 10 x ansible, half of ControlMaster's speed, flat memory."""
    good = list(aims(sheets(warm=6, cold=100, rate=500, wall=10, speed=250, memory=40), FULL, hosts=500))
    assert [aim.what for aim in good if not aim.met] == []
    bad = list(aims(sheets(warm=6.1, cold=101, rate=499, wall=10.1, speed=249, memory=41), FULL, hosts=500))
    assert [aim.what for aim in bad if aim.met] == []
    assert len(good) == len(bad) == 8


def test_only_the_aims_of_what_was_measured_are_said() -> None:
    """Fewer hosts and shorter outputs are no evidence for the aims of the full sizes."""
    everything = sheets(warm=1, cold=1, rate=1, wall=1, speed=1, memory=1)
    warm = {short.WARM_TITLE: everything[short.WARM_TITLE]}
    assert [aim.unit for aim in aims(warm, FULL, hosts=500)] == ["times"]
    sized = {title: everything[title] for title in (fanout.title(500), stream.title(FULL))}
    assert list(aims(sized, QUICK, hosts=100)) == []


def test_a_round_takes_hosts_that_are_new() -> None:
    """At least three in a round, and no fewer where a round takes longer."""
    assert [short.cold_hosts(seconds) for seconds in (0.1, 0.5, 2.0)] == [3, 3, 10]


def test_the_page_shows_ssh_runs_alone() -> None:
    """The tables of local runs and of SSH runs are on different parts of the page."""
    document = {
        "machine": {"python": "CPython 3", "system": "Linux", "processors": 2, "load": "0.10"},
        "rounds": 1,
        "benchmarks": {
            "local": [{"title": "no part of it", "rows": []}],
            "ssh": [each.document() for each in sheets(warm=6, cold=1, rate=1, wall=1, speed=1, memory=1).values()],
        },
    }
    text = page(json.loads(json.dumps(document)), of="ssh")
    assert f"| {short.WARM_TITLE} | p50, ms |" in text
    assert f"| {OverSsh.name} | 6.00 |" in text
    assert "no part of it" not in text
