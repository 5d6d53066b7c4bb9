"""The number of a step: the same for the same step, another for each difference that could matter."""

from dataclasses import replace

import pytest

from cmdhttp.plan.digest import step_digest
from cmdhttp.plan.model import HERE, KeyFile, LocalTarget, SshTarget, Staged, Step
from cmdhttp.policy.compiled import Collect, Limits, Script

STEP = Step(
    run=0,
    host="local",
    target=LocalTarget(),
    argv=("/bin/echo", "a"),
    env={"A": "1", "B": "2"},
    timeout=10,
    output_limit=100,
)
FILE = Staged(param="f", name="a", data=b"x", mode=0o600)
FAR = SshTarget(address="a", port=22, account="x", login=KeyFile(path="/k"), known_hosts="/h")


@pytest.mark.parametrize(
    "other",
    [
        replace(STEP, host="web1"),
        replace(STEP, target=LocalTarget(account="nobody")),
        replace(STEP, target=LocalTarget(isolated=True)),
        replace(STEP, target=FAR),
        replace(STEP, argv=("/bin/echo", "b")),
        replace(STEP, argv=("/bin/echo a",)),
        replace(STEP, argv=("/bin/echo", "a", "")),
        replace(STEP, env={"A": "1"}),
        replace(STEP, env={"A": "2", "B": "1"}),
        replace(STEP, script=Script(interpreter=("/bin/sh",), text="x", sha256="1")),
        replace(STEP, script=Script(interpreter=("/bin/bash",), text="x", sha256="1")),
        replace(STEP, script=Script(interpreter=("/bin/sh",), text="y", sha256="2")),
        replace(STEP, timeout=11),
        replace(STEP, output_limit=101),
        replace(STEP, keep_ends=True),
        replace(STEP, limits=Limits(memory=1)),
        replace(STEP, staged=(FILE,)),
        replace(STEP, unplaced=("/bin/echo", HERE)),
        replace(STEP, collect=Collect(patterns=("a",), max_bytes=1)),
    ],
)
def test_what_could_matter_makes_another_number(other: Step) -> None:
    """Account, argument borders, variables, script, limits: no two of these steps have one number."""
    assert step_digest(other) != step_digest(STEP)


@pytest.mark.parametrize(
    "same",
    [
        replace(STEP),
        replace(STEP, env={"B": "2", "A": "1"}),
        replace(STEP, run=3),
        replace(STEP, stdin=b"x"),
    ],
)
def test_what_does_not_matter(same: Step) -> None:
    """The order of variables, the place among the runs of a job, and stdin, which goes another way."""
    assert step_digest(same) == step_digest(STEP)


@pytest.mark.parametrize(
    "other",
    [
        replace(STEP, staged=(replace(FILE, param="g"),)),
        replace(STEP, staged=(replace(FILE, name="b"),)),
        replace(STEP, staged=(replace(FILE, data=b"y"),)),
        replace(STEP, staged=(replace(FILE, mode=0o400),)),
        replace(STEP, staged=(FILE, replace(FILE, param="g"))),
    ],
)
def test_another_file_makes_another_number(other: Step) -> None:
    """Place, content and mode of each file that is there before the start."""
    assert step_digest(other) != step_digest(replace(STEP, staged=(FILE,)))


def test_another_collection_makes_another_number() -> None:
    """What is collected, and how much of it."""
    wanted = [
        Collect(patterns=("a",), max_bytes=1),
        Collect(patterns=("a", "b"), max_bytes=1),
        Collect(patterns=("a",), max_bytes=2),
    ]
    assert len({step_digest(replace(STEP, collect=one)) for one in wanted}) == 3


def test_a_step_of_another_profile_is_another_step() -> None:
    """A key or known_hosts file of another place is another target."""
    assert step_digest(replace(STEP, target=FAR)) != step_digest(
        replace(STEP, target=replace(FAR, login=KeyFile(path="/k2")))
    )
