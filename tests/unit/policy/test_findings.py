"""What the loader says, and what it offers in place of a wrong name."""

import pytest

from cmdhttp.policy.findings import suggestion

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
