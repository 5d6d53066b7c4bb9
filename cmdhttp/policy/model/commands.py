"""What may run: a published command, its parameters and its limits."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from cmdhttp.policy.fields import Bool, Duration, Int, ParamName, Size, Strict
from cmdhttp.policy.model.kinds import (
    MAX_EXIT_CODE,
    Account,
    BatchText,
    Collected,
    Effect,
    EnvName,
    HostSelector,
    Label,
    Names,
    ParserName,
    RateText,
    Redaction,
    RunItem,
    ShareText,
)
from cmdhttp.policy.params import AnyParam

Count = Annotated[Int, Field(ge=1, le=1_000_000)]


class OutputSpec(Strict):
    """How much a run may write over both streams, what then happens, and what is masked in it."""

    max: Size = Field(
        default=16 << 20, description="Bytes over both streams; 16MiB if left out.", examples=["1MiB", "16MiB"]
    )
    when_full: Literal["stop", "keep_ends"] = Field(
        default="stop", description="At that limit: stop the run (if left out), or keep both ends of the output."
    )
    redact: tuple[Redaction, ...] = Field(
        default=(), max_length=50, description="Patterns of text that is masked in the output."
    )


class StdinSpec(Strict):
    """That a caller may send stdin, and how much."""

    type: Literal["text", "secret"] = Field(
        default="text", description="text (if left out), or secret, which no record shows."
    )
    max: Annotated[Size, Field(le=1 << 20)] = Field(
        default=64 << 10, description="Bytes, at most 1MiB; 64KiB if left out.", examples=["64KiB"]
    )


class FilesSpec(Strict):
    """Which files of its working folder a run leaves to the job, where the caller can fetch them."""

    collect: Annotated[list[Collected], Field(min_length=1, max_length=20)] = Field(
        description="Files beneath the run's working folder: * and ? within a name, ** for any folders between.",
        examples=["report/*.csv"],
    )
    max: Annotated[Size, Field(ge=1, le=256 << 20)] = Field(
        default=16 << 20,
        description="Bytes of all of them together, at most 256MiB; 16MiB if left out.",
        examples=["16MiB"],
    )


class LimitsSpec(Strict):
    """What the processes of a run may take from the machine."""

    memory: Size | None = Field(default=None, description="Memory.", examples=["256MiB"])
    cpu: Duration | None = Field(default=None, description="Time on a processor.", examples=["20s"])
    processes: Count | None = Field(default=None, description="Processes at the same time.")
    files: Count | None = Field(default=None, description="Files open at the same time.")
    file_size: Size | None = Field(
        default=None, description="The size of each file that it writes.", examples=["64MiB"]
    )


class ConcurrencySpec(Strict):
    """How many runs at the same time, on one host and in all, and what happens to one more."""

    per_host: Count | None = Field(default=None, description="Runs at the same time on one host.")
    total: Count | None = Field(default=None, description="Runs at the same time on all hosts together.")
    when_busy: Literal["reject", "queue"] = Field(
        default="reject", description="What happens to one run more: reject it (if left out), or queue it."
    )

    @model_validator(mode="after")
    def _some(self) -> Self:
        if self.per_host is None and self.total is None:
            raise ValueError("must have per_host, total, or both")
        return self


class ApprovalSpec(Strict):
    """Who must agree before a call runs: `needed` of the principals and roles in `by`, within a time."""

    needed: Annotated[Int, Field(ge=1, le=10)] = Field(default=1, description="How many must agree; 1 if left out.")
    by: Names = Field(description="Who may agree: principals, or role:NAME for all that hold it.")
    not_self: Bool = Field(default=True, description="Whether the caller may not be one of them; true if left out.")
    within: Annotated[Duration, Field(le=7 * 86400)] = Field(
        default=900.0, description="How long the call waits for them, at most 7d; 15m if left out.", examples=["15m"]
    )


class ResultSpec(Strict):
    """That stdout is read as data, and by which parser."""

    parse: ParserName = Field(description="The parser that reads stdout as data.", examples=["json", "lines"])


class CommandSpec(Strict):
    """A published command. Exactly one of `run`, `script` and `script_file` says what runs."""

    summary: str = Field(default="", description="What it does, in one line, for callers.")
    description: str = Field(default="", description="More about it, for callers.")
    effect: Effect = Field(
        default=Effect.CHANGE, description="What it does to the world: read, change (if left out) or destroy."
    )
    tags: list[Label] = Field(default_factory=list, description="Words to select commands by.")
    run: Annotated[list[RunItem], Field(min_length=1)] | None = Field(
        default=None,
        description="The program and its arguments: each item is exactly one, <name> in it becomes a value, and an inner"
        " list is left out whole when its optional value is absent.",
    )
    script: str | None = Field(
        default=None, description="Constant text for the interpreter; values come as variables, P_NAME for `name`."
    )
    script_file: str | None = Field(
        default=None, description="A file with the script; the path counts from the policy folder."
    )
    interpreter: str | None = Field(
        default=None,
        description="What reads the script: sh, bash, python, powershell, or a name that the settings define.",
        examples=["sh", "bash", "python", "powershell"],
    )
    args: list[RunItem] = Field(default_factory=list, description="Arguments of the script, written like `run`.")
    params: dict[ParamName, AnyParam] = Field(default_factory=dict, description="The values that a caller may send.")
    on: HostSelector = Field(description="The hosts that it is made for; local must be named.")
    account: Account | None = Field(
        default=None,
        alias="as",
        description="The account that it runs as: on SSH hosts instead of the profile's `user`, on local instead of"
        " the service's own.",
    )
    timeout: Annotated[Duration, Field(le=7 * 86400)] = Field(
        default=300.0, description="When a run is ended, at most 7d; 5m if left out.", examples=["30s", "5m"]
    )
    output: OutputSpec = Field(default=OutputSpec(), description="How much it may write, and what is masked in it.")
    stdin: StdinSpec | None = Field(default=None, description="That a caller may send stdin; not taken if left out.")
    files: FilesSpec | None = Field(default=None, description="Which files a run leaves to the job.")
    env: dict[EnvName, str] = Field(default_factory=dict, description="Variables of the run: constant text.")
    limits: LimitsSpec | None = Field(default=None, description="What a local run may take from the machine.")
    isolation: Literal["namespace", "none"] = Field(
        default="none", description="Whether a local run gets a PID namespace of its own; none if left out."
    )
    concurrency: ConcurrencySpec | None = Field(default=None, description="How many runs at the same time.")
    rate: RateText | None = Field(default=None, description="Calls in a time.", examples=["30/h"])
    result: ResultSpec | None = Field(default=None, description="That the output is read as data.")
    success_codes: list[Annotated[Int, Field(ge=0, le=MAX_EXIT_CODE)]] = Field(
        default_factory=lambda: [0], min_length=1, description="Exit statuses that count as success; [0] if left out."
    )
    reason: Literal["required", "optional"] = Field(
        default="optional", description="Whether the caller must say why; optional if left out."
    )
    approval: ApprovalSpec | None = Field(default=None, description="Who must agree before it runs.")
    max_parallel: Annotated[Int, Field(ge=1, le=1000)] = Field(
        default=10, description="Runs of one job at the same time; 10 if left out."
    )
    batch: BatchText | None = Field(
        default=None,
        description="Hosts of a job that are done before any further one: a count or a share; all at once if left out.",
        examples=["10", "25%"],
    )
    max_failures: ShareText | None = Field(
        default=None,
        description="Runs of a job that may fail: once more have failed, no further run starts. A count or a share of all"
        " its runs; no limit if left out.",
        examples=["0", "10%"],
    )
