"""Values that may become options: they may start with '-', and neither `--` nor `--option=` stands before them."""

from collections.abc import Iterator

from cmdhttp.policy.lint.reading import Stage
from cmdhttp.policy.lint.words import Params, Word
from cmdhttp.policy.params import EnumParam, IntParam, NumberParam, ParamSpec

_DASHED = frozenset({"string", "filename"})
"""Types whose text may start with '-' once the policy allows it; the form of the others rules it out."""


def unguarded(stage: Stage, params: Params) -> Iterator[tuple[Word, str, str]]:
    """Yield each such word of a stage, with a message and a hint."""
    guarded = False
    for word in stage.words:
        if word.constant == "--":
            guarded = True
        elif not guarded and word.names:
            found = _judge(stage, word, params)
            if found:
                yield word, *found


def _judge(stage: Stage, word: Word, params: Params) -> tuple[str, str] | None:
    name = word.names[0]
    if not word.head and _may_dash(params.scalar(name)):
        risk = stage.program.risk()
        known = f" (it has {risk}: {stage.program.why})" if risk else ""
        message = f"<{name}> may start with '-' and become an option of '{stage.name}'{known}"
        return message, "put '--' or '--option=' before it, or take out 'leading_dash'"
    if word.head in ("-", "--") and params.free(word):
        message = f"<{name}> stands right after '{word.head}', so the caller chooses the option of '{stage.name}'"
        return message, "write the options that are meant, each as a bool with a 'flag', or as an enum"
    return None


def _may_dash(spec: ParamSpec) -> bool:
    if not spec.leading_dash or isinstance(spec, EnumParam):
        return False
    if isinstance(spec, IntParam | NumberParam):
        return spec.low < 0
    return spec.type in _DASHED
