"""The policy engine: how long a policy takes to load and a question to decide.

A load is what `cmdhttp check` does: a folder is read, merged, compiled and held against its own tests. Its floor is the
YAML library's own fast loader on the same bytes, which only parses. A decision is held against other engines with the same
rules, in this process; before anything is timed, all engines must have given the same answers to the same questions.
"""

import gc
import importlib.util
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import yaml

from benchmarks.measure import Group, Work, race
from benchmarks.peers import PEERS, Call, Peer
from benchmarks.rules import OUTSIDER, TEN, TEN_THOUSAND, TWO_THOUSAND, UNITS, Rules
from cmdhttp.plan.argv import resolve_argv
from cmdhttp.policy.compiled import Policy
from cmdhttp.policy.decide import Question, Verdict, bind, decide
from cmdhttp.policy.load import Inputs, load

NOW = datetime(2026, 11, 2, tzinfo=UTC)
INPUTS = Inputs(resolve=resolve_argv, now=NOW)
QUESTIONS = {
    "allowed by a role line": Call(principal="p0", command="svc.c0", host="h0", unit="redis"),
    "allowed by a role line that narrows a value": Call(principal="p0", command="svc.c1", host="h1", unit="nginx"),
    "denied, no role line": Call(principal=OUTSIDER, command="svc.c0", host="h0", unit="redis"),
    "denied by a deny": Call(principal="p0", command="svc.c0", host="h10", unit="redis"),
}
BAD = Call(principal="p0", command="svc.c0", host="h0", unit="redis; id")
_CHECKED = 200
_DENIES = (50, 500, 5_000)
_EACH_DENY = (
    "Each deny under an atom of the command (its name, effect, a tag, `*`) is looked at until one takes the call."
)
_FLOOR = (
    "The floor turns the text into dicts and lists and checks nothing: no positions, no duplicate keys, `no` and `0644` read"
    " as YAML likes. A load lets the garbage collector rest, hence the second line."
)


def run(*, rounds: int, quick: bool) -> Iterator[Group]:
    """Measure everything, one group after the other; if `quick`, without the larger policies."""
    for rules in (TWO_THOUSAND,) if quick else (TWO_THOUSAND, TEN_THOUSAND):
        yield _load_group(rules, rounds=rounds)
    if not quick:
        yield _wrong_group(rounds=rounds)
    for rules in (TEN,) if quick else (TEN, TEN_THOUSAND):
        yield from _decide_groups(rules, rounds=rounds)
    if not quick:
        yield _denies_group(rounds=rounds)


# Loading.


def _load_group(rules: Rules, *, rounds: int) -> Group:
    with policy_folder(rules.files()) as folder:
        loaded(folder)
        texts = [path.read_bytes() for path in sorted(folder.iterdir())]

        def floor() -> object:
            return [yaml.load(text, Loader=yaml.CSafeLoader) for text in texts]

        def rested_floor() -> object:
            gc.disable()
            try:
                return floor()
            finally:
                gc.enable()

        work: dict[str, Work] = {
            "floor: yaml.load with CSafeLoader": floor,
            "the same while the garbage collector rests": rested_floor,
            "load: folder to policy, lint and own tests": lambda: load(folder, INPUTS),
        }
        return Group(
            title=f"Load {_size(rules)}, {rules.tests:,} tests, {sum(map(len, texts)) / 1e6:.1f} MB in {len(texts)} files",
            measured=race(work, rounds=rounds),
            notes=(_FLOOR,),
        )


def _wrong_group(*, rounds: int) -> Group:
    """A policy of the larger size in which every role line names commands that do not exist."""
    files = TEN_THOUSAND.files()
    with policy_folder(files) as good, policy_folder([*files[:-1], files[-1].replace("[svc.c", "[svc.cc")]) as bad:
        found = len(load(bad, INPUTS).errors)
        work: dict[str, Work] = {
            "load of the policy without a mistake": lambda: load(good, INPUTS),
            "load with the mistakes": lambda: load(bad, INPUTS),
        }
        return Group(title=f"Load {_size(TEN_THOUSAND)}, with {found:,} mistakes", measured=race(work, rounds=rounds))


def loaded(folder: Path) -> Policy:
    """The policy of a folder. Raises PolicyError."""
    return load(folder, INPUTS).usable()


@contextmanager
def policy_folder(files: list[str]) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number, text in enumerate(files):
            path = folder / f"{number:02}.yaml"
            path.write_text(text)
            path.chmod(0o644)
        yield folder


# Deciding.


@dataclass(frozen=True, slots=True, kw_only=True)
class Ours:
    """Our engine, asked as the peers are."""

    policy: Policy

    def question(self, call: Call) -> Question:
        arguments = bind(self.policy.commands[call.command], {"unit": call.unit})
        return Question(principal=call.principal, command=call.command, host=call.host, arguments=arguments, at=NOW)

    def allows(self, call: Call) -> bool:
        return decide(self.policy, self.question(call)).verdict is Verdict.ALLOW

    def work(self, call: Call) -> dict[str, Work]:
        policy, question = self.policy, self.question(call)
        return {
            "cmdhttp: decide": lambda: decide(policy, question),
            "cmdhttp: bind the values, then decide": lambda: decide(policy, self.question(call)),
        }


def _decide_groups(rules: Rules, *, rounds: int) -> Iterator[Group]:
    with policy_folder(rules.files()) as folder:
        ours = Ours(policy=loaded(folder))
    there = [peer for peer in PEERS if importlib.util.find_spec(peer.module)]
    notes = tuple(peer.note if peer in there else f"{peer.module} is not installed and was left out." for peer in PEERS)
    peers = [peer(rules) for peer in there]
    check_same_answers(rules, ours, peers)
    for title, call in QUESTIONS.items():
        work = ours.work(call) | {f"{peer.module}: {peer.verb}": peer.asker(call) for peer in peers}
        yield Group(title=f"Decide with {_size(rules)}: {title}", measured=race(work, rounds=rounds), notes=notes)
        notes = ()  # said once
    title = f"Decide with {_size(rules)}: a value that its type refuses"
    yield Group(
        title=title, measured=race(ours.work(BAD), rounds=rounds), notes=("The peers know no types of values.",)
    )


def _denies_group(*, rounds: int) -> Group:
    """The same question with more and more denies that speak of the command's effect and not of this call."""
    call = QUESTIONS["allowed by a role line"]
    work: dict[str, Work] = {}
    for rules in (replace(TWO_THOUSAND, denies=denies) for denies in _DENIES):
        with policy_folder(rules.files()) as folder:
            work[f"{rules.denies:,} denies"] = Ours(policy=loaded(folder)).work(call)["cmdhttp: decide"]
    title = f"Decide with {TWO_THOUSAND.commands:,} commands: what more denies cost"
    return Group(title=title, measured=race(work, rounds=rounds), notes=(_EACH_DENY,))


def check_same_answers(rules: Rules, ours: Ours, peers: list[Peer]) -> None:
    """Ask all engines the same random questions. Raises RuntimeError where two answers differ."""
    chance = Random(1)
    calls = [any_call(rules, chance) for _ in range(_CHECKED)] + [likely_call(rules, chance) for _ in range(_CHECKED)]
    for call in [*calls, *QUESTIONS.values()]:
        answers = {peer.module: peer.allows(call) for peer in peers} | {"cmdhttp": ours.allows(call)}
        if len(set(answers.values())) > 1:
            raise RuntimeError(f"the engines differ on {call}: {answers}")


def any_call(rules: Rules, chance: Random) -> Call:
    """A call of anybody to anything: nearly always denied."""
    return Call(
        principal=chance.choice([name for name, _ in rules.granted()]),
        command=chance.choice(rules.all_commands()).name,
        host=chance.choice(rules.all_hosts()).name,
        unit=chance.choice(UNITS),
    )


def likely_call(rules: Rules, chance: Random) -> Call:
    """A call that a role line of its principal takes in, perhaps but for the value; a deny may still take it."""
    principal, roles = chance.choice(list(rules.granted()))
    line = chance.choice([line for line in rules.lines() if line.role in roles])
    return Call(
        principal=principal,
        command=chance.choice(line.commands).name,
        host=chance.choice([host for host in rules.all_hosts() if host.kind == line.kind]).name,
        unit=chance.choice(UNITS),
    )


def _size(rules: Rules) -> str:
    return f"{rules.commands:,} commands, {rules.grants:,} grants, {rules.denies} denies"
