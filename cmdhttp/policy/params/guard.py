"""The characters that no value may hold, whatever its type.

Refused: control characters (C0, C1, DEL), line and paragraph separators, every format character (bidirectional marks
and overrides, zero width, soft hyphen, BOM, tags), every space but U+0020, the letters and marks that draw nothing
(variation selectors, Hangul fillers, Braille blank), lone surrogates, and private-use or unassigned code points,
which show as one thing here and another there. Emoji sequences and scripts that need joiners lose by this; an
argument is not prose. "Unassigned" is by the Unicode table of the running Python, so an older one refuses more, never
less.

A refusal names the kind and the position of the character, never the text: it may be a secret or an attack on a
terminal.
"""

import re
import unicodedata

from cmdhttp.errors import BadValue

MAX_BYTES = 8 * 1024

# Default_Ignorable_Code_Point (Unicode DerivedCoreProperties) of categories that `str.isprintable` lets through, and
# the Braille blank, which is a symbol without ink.
_NO_INK = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
_KIND = {
    "Cc": ("control_character", "a control character"),
    "Zl": ("control_character", "a line separator"),
    "Zp": ("control_character", "a paragraph separator"),
    "Cs": ("lone_surrogate", "half of a surrogate pair"),
    "Co": ("unassigned_character", "a private-use character"),
    "Cn": ("unassigned_character", "not an assigned character"),
}
_INVISIBLE = ("invisible_character", "an invisible or direction-changing character")


def check_characters(text: str) -> None:
    """Raise `BadValue` at the first character that no value may hold."""
    if text.isprintable() and (text.isascii() or not _NO_INK.search(text)):
        return
    hidden = ((at, char) for at, char in enumerate(text, start=1) if not char.isprintable() or _NO_INK.match(char))
    position, char = next(hidden)
    code, what = _KIND.get(unicodedata.category(char), _INVISIBLE)
    raise BadValue(code, f"character {position} is {what}", hint="Send one line of visible characters.")


def check_size(text: str, *, limit: int = MAX_BYTES) -> None:
    """Raise `BadValue` if the text takes more than `limit` bytes in UTF-8."""
    if len(text) > limit or (len(text) * 4 > limit and len(text.encode("utf-8", "surrogatepass")) > limit):
        raise BadValue("too_long", f"must be at most {limit} bytes in UTF-8")


def check_dash(text: str) -> None:
    """Raise `BadValue` if a program could take the text for an option."""
    if text.startswith("-"):
        raise BadValue(
            "leading_dash",
            "must not start with '-', because a program could take it for an option",
            hint="If such values are meant, the command's author sets 'leading_dash: true' on this parameter.",
        )


def check_ascii(text: str) -> None:
    """Raise `BadValue` at the first character beyond ASCII: no Kelvin sign, no full-width or Arabic digits."""
    if not text.isascii():
        position = next(at for at, char in enumerate(text, start=1) if not char.isascii())
        raise BadValue("not_ascii", f"character {position} is not ASCII", hint="Use ASCII characters only.")
