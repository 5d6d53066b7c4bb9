"""Other values with which a call would be allowed. Each was tried: `decide` lets the call with it through.

Where no candidate can be made up (text that only a pattern describes), the words of the refusal are all there is.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from cmdhttp.errors import FieldError
from cmdhttp.policy.compiled import Command, Policy
from cmdhttp.policy.decide import Question, bind
from cmdhttp.policy.params import BoolParam, EnumParam, Narrowing, Value
from cmdhttp.policy.review.describe import one_of, shown, values_left, values_taken
from cmdhttp.policy.review.misses import Part, denies_of, line_misses, lines_of, passes
from cmdhttp.policy.space import Space, calls, space


@dataclass(frozen=True, slots=True, kw_only=True)
class Repair:
    """What to send instead, in words, and each question that it stands for; none if there are only words."""

    text: str
    tried: tuple[Question, ...] = ()


def repairs(policy: Policy, command: Command, question: Question) -> list[Repair]:
    """Return other values to send, changing as few parameters as will do."""
    repairer = _Repairer(policy=policy, command=command, question=question)
    if question.arguments.errors:
        return list(repairer.of_errors(question.arguments.errors))
    one = [repair for name in command.params for repair in repairer.of_one(name)]
    return one or list(repairer.of_lines())


def parameter_of(error: FieldError) -> str:
    """Return the name of the parameter that an error of `bind` speaks of."""
    return error.pointer.removeprefix("/params/").replace("~1", "/").replace("~0", "~")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Try:
    """Values sent in place of others, and the question with them."""

    sent: Mapping[str, Value]
    question: Question


@dataclass(frozen=True, slots=True, kw_only=True)
class _Repairer:
    policy: Policy
    command: Command
    question: Question

    def of_errors(self, errors: Sequence[FieldError]) -> Iterator[Repair]:
        """Every value that does not fit is replaced, and every unknown one left out."""
        bad = {parameter_of(error): error for error in errors}
        known = [name for name in bad if name in self.command.params]
        dropped = [f"leave out {name}" for name in bad if name not in self.command.params]
        found = list(self._of_several(known)) or list(self.of_lines(known))
        for repair in found:
            yield replace(repair, text="; ".join([*dropped, *([repair.text] if repair.text else [])]))
        if not found:
            yield Repair(text="first " + "; ".join([*dropped, *(self._refused(name, bad[name]) for name in known)]))

    def of_one(self, name: str) -> Iterator[Repair]:
        """One parameter gets another value, or is left out."""
        yield from self._alternatives(name, self._tries([name]))

    def of_lines(self, known: Sequence[str] = ()) -> Iterator[Repair]:
        """Every value that a role line lacks is replaced, and with them those that are known to be wrong."""
        for line in lines_of(self.policy, self.question.principal, self.command):
            misses = line_misses(line, self.question)
            if all(miss.part is Part.VALUE for miss in misses):
                names = list(dict.fromkeys([*known, *(miss.parameter for miss in misses)]))
                yield from self._together(names, self._tries(names))

    def _of_several(self, names: Sequence[str]) -> Iterator[Repair]:
        good = self._tries(names)
        return self._alternatives(names[0], good) if len(names) == 1 else self._together(names, good)

    def _together(self, names: Sequence[str], good: Sequence[_Try]) -> Iterator[Repair]:
        """The call that leaves out least, with a word on each parameter."""
        if good:
            one = max(good, key=lambda one: len(one.sent))
            yield Repair(text="; ".join(self._words(names, one)), tried=(one.question,))

    def _alternatives(self, name: str, good: Sequence[_Try]) -> Iterator[Repair]:
        sent = [one for one in good if name in one.sent]
        if sent:
            text = self._send(name, [one.sent[name] for one in sent], sent[0].question)
            yield Repair(text=text, tried=tuple(one.question for one in sent))
        yield from (Repair(text=f"leave out {name}", tried=(one.question,)) for one in good if name not in one.sent)

    def _words(self, names: Iterable[str], good: _Try) -> list[str]:
        return [
            self._send(name, [good.sent[name]], good.question) if name in good.sent else f"leave out {name}"
            for name in names
        ]

    def _send(self, name: str, values: Sequence[Value], question: Question) -> str:
        spec = self.command.params[name]
        texts = [shown(spec, value) for value in values]
        if isinstance(spec, EnumParam | BoolParam):
            return f"send {name} as {one_of(texts)}"
        by = self._narrowing(name, question)
        if by is None:
            return f"send {name}, for example as {texts[0]}"
        return f"send {name} as {texts[0]}, or as another that is {values_left(spec, by)}"

    def _narrowing(self, name: str, question: Question) -> Narrowing | None:
        """How the role line that lets the question through narrows the parameter."""
        lines = lines_of(self.policy, question.principal, self.command)
        return next((line.narrowings.get(name) for line in lines if not line_misses(line, question)), None)

    def _refused(self, name: str, error: FieldError) -> str:
        taken = values_taken(self.command.params[name])
        if error.code == "missing":
            return f"send {name} ({taken})"
        return f"send another {name} ({taken}): the one that was sent {error.detail}"

    def _tries(self, names: Sequence[str]) -> list[_Try]:
        """Every call with candidates for these parameters, and all else as it is, that is let through."""
        kept = {name: value for name, value in self.question.arguments.values.items() if name not in names}
        tries = [
            _Try(sent=sent, question=replace(self.question, arguments=bind(self.command, {**kept, **sent})))
            for sent in calls({name: self._space(name) for name in names}).values
        ]
        return [one for one in tries if passes(self.policy, one.question)]

    def _space(self, name: str) -> Space:
        lines = lines_of(self.policy, self.question.principal, self.command)
        denies = denies_of(self.policy, self.command)
        rules = [*(line.narrowings for line in lines), *(deny.narrowings for deny in denies)]
        return space([self.command.params[name]], [rule[name] for rule in rules if name in rule])
