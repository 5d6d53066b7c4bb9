"""What the loader says, and what it offers in place of a wrong name."""

import pytest

from cmdhttp.policy.findings import Finding, Position, suggestion

FEW = {"nginx": 1, "redis": 2}
MANY = {f"unit-{number}": number for number in range(10_000)}


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [
        ("unti-77", "unit-77"),  # two swapped
        ("nit-77", "unit-77"),  # one missing
        ("uunit-77", "unit-77"),  # one too many
        ("unit_77", "unit-77"),  # one wrong
        ("unit-10000", "unit-1000"),
    ],
)
def test_one_edit_away_among_many(wrong: str, meant: str) -> None:
    """Among thousands of names, the one that is a single typing error away is offered, from whatever holds the names."""
    wanted = f"did you mean '{meant}'?"
    assert {suggestion(wrong, known) for known in (MANY, list(MANY), set(MANY), MANY.keys())} == {wanted}


def test_nothing_far_away_is_offered_among_many() -> None:
    """What is two errors away from every name gets no offer, and neither does what is no name at all."""
    assert [suggestion(wrong, MANY) for wrong in ("unt77", "", "Unit")] == ["", "", ""]


def test_likeness_is_loose_among_few() -> None:
    """With few names to choose from, two errors are forgiven; of a text too long for a name nothing is made."""
    assert suggestion("ngixn0", FEW) == "did you mean 'nginx'?"
    assert suggestion("n" * 65, {"n" * 64: 1}) == ""


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a\nb", r"a\nb"),
        ("a\tb", r"a\tb"),
        ("\ue000", r"\ue000"),
        ("\x1b[2J", r"\x1b[2J"),
        ("\udc80", r"\udc80"),
        ("é", "é"),
    ],
)
def test_a_finding_is_one_line_that_can_be_shown(name: str, shown: str) -> None:
    """Whatever stands in a name of the policy, a message and its hint stay on their line and do nothing to a terminal."""
    finding = Finding(code="P205", message=f"there is no host '{name}'", at=Position(file="a.yaml"), hint=f"not {name}")
    assert (finding.message, finding.hint) == (f"there is no host '{shown}'", f"not {shown}")
    assert str(finding).encode() == f"a.yaml: P205 there is no host '{shown}'\n    hint: not {shown}".encode()


def test_a_finding_is_short() -> None:
    """A name of a million characters is not printed whole."""
    finding = Finding(code="P205", message="x" * 1_000_000, at=Position(file="a.yaml"))
    assert finding.message == "x" * 1997 + "..."
    assert Finding(code="P205", message="x" * 2000, at=Position(file="a.yaml")).message == "x" * 2000
