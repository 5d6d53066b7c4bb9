"""Narrowings compared with each other, as far as that can be told from what they say."""

from cmdhttp.errors import BadValue
from cmdhttp.policy.params import Narrowing


def covers(wide: Narrowing, narrow: Narrowing) -> bool:
    """Whether every value that `narrow` allows is certainly allowed by `wide`. Both narrow the same parameter."""
    if wide.within is not None and wide.within != narrow.within:
        return False
    if wide.among is not None and (narrow.among is None or not narrow.among <= wide.among):
        return False
    return wide.each is None or (narrow.each is not None and covers(wide.each, narrow.each))


def impossible(narrowing: Narrowing) -> bool:
    """Whether certainly no value fits: values are listed, and the rest of the narrowing refuses each of them."""
    if narrowing.each is not None:
        return impossible(narrowing.each)
    if narrowing.among is None or narrowing.within is None:
        return False
    return all(_refused(narrowing, text) for text in narrowing.among)


def _refused(narrowing: Narrowing, identity: str) -> bool:
    try:
        value = narrowing.spec.normalise(identity)
    except BadValue:
        return False  # the value is not its own text, so this cannot tell
    return narrowing.spec.identity(value) == identity and not narrowing.allows(value)
