"""What a command can be made to run beyond what its author meant.

Errors, where an interpreter or launcher would take a caller's text for code, a script or a program: an allowlist of
interpreters is no allowlist. Warnings, where another program would read, write, fetch or load what the caller names, or
leaves work to a daemon that a cancel does not reach. What a value can be is tried on its type, not guessed.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from cmdhttp.policy.compiled import Command
from cmdhttp.policy.findings import Finding
from cmdhttp.policy.lint.book import Book
from cmdhttp.policy.lint.codes import LintCode
from cmdhttp.policy.lint.dashes import unguarded
from cmdhttp.policy.lint.probes import HINTS, PROBED, SCRIPT_HINT, probe
from cmdhttp.policy.lint.reading import Inner, Stage, Use, unfold
from cmdhttp.policy.lint.refused import Refused
from cmdhttp.policy.lint.words import FREE_TEXT, Params, flatten
from cmdhttp.policy.merge import Defined
from cmdhttp.policy.model import CommandSpec

_STDIN = ("-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0")
_SAYS: Mapping[str, str] = {
    "code": "is part of the code that '{}' runs",
    "script": "decides which code '{}' runs",
    "load": "decides what '{}' loads",
    "run": "decides what '{}' starts",
    "packages": "decides what '{}' installs or runs",
}
_STRICT: Mapping[str, LintCode] = {
    "code": LintCode.PARAM_IN_CODE,
    "script": LintCode.FREE_SCRIPT,
    "load": LintCode.FREE_SCRIPT,
    "run": LintCode.FREE_PROGRAM,
}


def programs(book: Book) -> Iterator[Finding]:
    """Judge every command that has a `run` list. A script is constant text and gets its values as variables."""
    for command, defined in book.commands():
        if command.script is None:
            refused = Refused(policy=book.policy, command=command)
            params = Params(specs=command.params)
            yield from _Judge(command=command, defined=defined, params=params, refused=refused).findings()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Judge:
    command: Command
    defined: Defined[CommandSpec]
    params: Params
    refused: Refused

    def findings(self) -> Iterator[Finding]:
        """Each finding once, also if several programs of a choice lead to it."""
        words = tuple(flatten(self.command.template, self.params.specs))
        found = [finding for stage in unfold(words, self.params) for finding in self._stage(stage)]
        yield from dict.fromkeys(found)

    def _say(self, code: LintCode, message: str, place: int, hint: str) -> Finding:
        return code.found(message, self.defined.where("run", place), hint)

    def _stage(self, stage: Stage) -> Iterator[Finding]:
        for word, message, hint in unguarded(stage, self.params):
            yield self._say(LintCode.UNGUARDED_DASH, message, word.place, hint)
        for use in stage.uses:
            if use.kind in PROBED:
                yield from self._probed(stage, use)
            elif use.kind in _SAYS:
                yield from self._chosen(stage, use)
            if use.kind == "script":
                yield from self._relative_script(stage, use)
        for inner in stage.inner:
            yield from self._inner(stage, inner)
        yield from self._stdin(stage)
        yield from self._handed_over(stage)

    # -- what a word is used for

    def _probed(self, stage: Stage, use: Use) -> Iterator[Finding]:
        """A word that names what is read, written or fetched."""
        reach = probe(use, self.params, self.refused)
        if reach is not None:
            where = f" as {use.option}" if use.option else ""
            message = f"'{stage.name}' may be given '{reach.word}'{where}: {stage.program.why}"
            yield self._say(LintCode.RISKY_ARGUMENT, message, use.word.place, reach.hint)

    def _chosen(self, stage: Stage, use: Use) -> Iterator[Finding]:
        """A word that decides what runs, or what is loaded."""
        name = self._shaped_by(stage, use)
        if name:
            code = _STRICT.get(use.kind) if stage.program.strict else None
            message = f"<{name}> {_SAYS[use.kind].format(stage.name)}: {stage.program.why}"
            hint = SCRIPT_HINT if code is LintCode.PARAM_IN_CODE else HINTS[use.kind]
            yield self._say(code or LintCode.RISKY_ARGUMENT, message, use.word.place, hint)

    def _shaped_by(self, stage: Stage, use: Use) -> str:
        if use.kind != "code":
            return self.params.free(use.word)
        if "any_value" in stage.program.flags:
            return next(iter(use.word.names), "")
        return self.params.free(use.word, FREE_TEXT)

    def _relative_script(self, stage: Stage, use: Use) -> Iterator[Finding]:
        path = use.word.constant
        is_path = stage.program.strict and "by_name" not in stage.program.flags and use.option != "-m"
        if path is not None and is_path and not path.startswith("/") and path not in _STDIN:
            message = f"the script '{path}' of '{stage.name}' is not an absolute path"
            hint = "write the whole path; a run begins in a folder of its own"
            yield self._say(LintCode.INNER_NOT_ABSOLUTE, message, use.word.place, hint)

    # -- what is started

    def _inner(self, stage: Stage, inner: Inner) -> Iterator[Finding]:
        first = inner.words[0]
        paths = self.params.choices(first)
        if not paths:
            message = f"<{first.names[0]}> decides what '{stage.name}' starts"
            hint = "write one command for each program, or list the programs in an enum"
            yield self._say(LintCode.FREE_PROGRAM, message, first.place, hint)
        for path in paths:
            if not inner.applet and not path.startswith("/"):
                message = f"the program '{path}' that '{stage.name}' starts is not an absolute path"
                hint = f"write the whole path, like /usr/bin/{path}"
                yield self._say(LintCode.INNER_NOT_ABSOLUTE, message, first.place, hint)

    def _stdin(self, stage: Stage) -> Iterator[Finding]:
        if self.command.stdin is None or "stdin" not in stage.program.flags or stage.inner:
            return
        if not any(use.kind in ("code", "script") and use.word.constant not in _STDIN for use in stage.uses):
            message = f"'{stage.name}' runs what the caller sends by stdin: {stage.program.why}"
            hint = "give it constant code or a script; or take out 'stdin'"
            yield LintCode.STDIN_IS_CODE.found(message, self.defined.where("stdin"), hint)

    def _handed_over(self, stage: Stage) -> Iterator[Finding]:
        if stage.program.hands_over and _keeps_it(stage):
            message = f"a cancel or a time limit does not end what '{stage.name}' starts: {stage.program.why}"
            hint = "run the work itself, so that it ends with the job"
            yield LintCode.HANDS_OVER.found(message, self.defined.where("run"), hint)


def _keeps_it(stage: Stage) -> bool:
    """Whether another daemon keeps what the program starts, given its constant arguments."""
    constants = {word.constant for word in stage.words}
    keeps = stage.program.hands_over
    return stage.program.harmless.isdisjoint(constants) if isinstance(keeps, bool) else not keeps.isdisjoint(constants)
