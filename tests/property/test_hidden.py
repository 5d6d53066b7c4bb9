"""All of Unicode, character by character, against what the loader calls hidden."""

import sys
import unicodedata

from cmdhttp.policy import source


def test_every_character_that_unicode_calls_invisible_is_refused() -> None:
    """All control, format, surrogate and separator characters are hidden, and of the rest only a known few."""
    every = [chr(number) for number in range(sys.maxunicode + 1)]
    hidden = {char for char in every if source._HIDDEN_VALUE.match(char)}
    wanted = {char for char in every if unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp", "Zs")}
    assert wanted - hidden == set(" \t\n")
    others = {char for char in hidden - wanted if unicodedata.category(char) != "Cn"}
    variation = {chr(number) for number in (*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))}
    mongolian = {chr(number) for number in (*range(0x180B, 0x180E), 0x180F)}
    blank = set("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0\U0001d159")
    assert others == variation | mongolian | blank
