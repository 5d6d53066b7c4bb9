"""What may run: a published command, its parameters and its limits."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from cmdhttp.policy.fields import Bool, Duration, Int, ParamName, Size, Strict
from cmdhttp.policy.model.kinds import (
    MAX_EXIT_CODE,
    Account,
    Effect,
    EnvName,
    HostSelector,
    Label,
    Names,
    ParserName,
    RateText,
    Redaction,
    RunItem,
)
from cmdhttp.policy.params import AnyParam

Count = Annotated[Int, Field(ge=1, le=1_000_000)]


class OutputSpec(Strict):
    """How much a run may write over both streams, what then happens, and what is masked in it."""

    max: Size = 16 << 20
    when_full: Literal["stop", "keep_ends"] = "stop"
    redact: tuple[Redaction, ...] = Field(default=(), max_length=50)


class StdinSpec(Strict):
    """That a caller may send stdin, and how much."""

    type: Literal["text", "secret"] = "text"
    max: Annotated[Size, Field(le=1 << 20)] = 64 << 10


class LimitsSpec(Strict):
    """What the processes of a run may take from the machine."""

    memory: Size | None = None
    cpu: Duration | None = None
    processes: Count | None = None
    files: Count | None = None
    file_size: Size | None = None


class ConcurrencySpec(Strict):
    """How many runs at the same time, on one host and in all, and what happens to one more."""

    per_host: Count | None = None
    total: Count | None = None
    when_busy: Literal["reject", "queue"] = "reject"

    @model_validator(mode="after")
    def _some(self) -> Self:
        if self.per_host is None and self.total is None:
            raise ValueError("must have per_host, total, or both")
        return self


class ApprovalSpec(Strict):
    """Who must agree before a call runs: `needed` of the principals and roles in `by`, within a time."""

    needed: Annotated[Int, Field(ge=1, le=10)] = 1
    by: Names
    not_self: Bool = True
    within: Annotated[Duration, Field(le=7 * 86400)] = 900.0


class ResultSpec(Strict):
    """That stdout is read as data, and by which parser."""

    parse: ParserName


class CommandSpec(Strict):
    """A published command. Exactly one of `run`, `script` and `script_file` says what runs."""

    summary: str = ""
    description: str = ""
    effect: Effect = Effect.CHANGE
    tags: list[Label] = Field(default_factory=list)
    run: Annotated[list[RunItem], Field(min_length=1)] | None = None
    script: str | None = None
    script_file: str | None = None
    interpreter: str | None = None
    args: list[RunItem] = Field(default_factory=list)
    params: dict[ParamName, AnyParam] = Field(default_factory=dict)
    on: HostSelector
    account: Account | None = Field(default=None, alias="as")
    timeout: Annotated[Duration, Field(le=7 * 86400)] = 300.0
    output: OutputSpec = OutputSpec()
    stdin: StdinSpec | None = None
    env: dict[EnvName, str] = Field(default_factory=dict)
    limits: LimitsSpec | None = None
    concurrency: ConcurrencySpec | None = None
    rate: RateText | None = None
    result: ResultSpec | None = None
    success_codes: list[Annotated[Int, Field(ge=0, le=MAX_EXIT_CODE)]] = Field(
        default_factory=lambda: [0], min_length=1
    )
    reason: Literal["required", "optional"] = "optional"
    approval: ApprovalSpec | None = None
    max_parallel: Annotated[Int, Field(ge=1, le=1000)] = 10
