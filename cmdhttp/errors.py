"""Everything that can go wrong, as one tree.

    CmdHttpError
    ├── RequestError       the request cannot be read                  400, 413, 415
    │   ├── BodyTooLarge
    │   └── NotJson
    ├── Unauthenticated    no credential, or one that does not hold    401
    ├── Forbidden          not this caller, command, host or value     403
    │   └── NeedsApproval  allowed, but only after others agree
    ├── NotFound           no such job, or not one this caller may read 404
    ├── Gone               output that is no longer kept               410
    ├── Conflict           an idempotency key with another body        409
    ├── InvalidRequest     parameters fail their types, all at once    422
    ├── RangeError         a byte range outside the output             416
    ├── TooMany            a limit of this caller, command or host     429
    ├── Unavailable        draining, queue full, record not writable   503
    │   ├── NoSpace        the disk is nearly full
    │   └── StoreFailed    the job database is damaged or fails
    ├── RecordDamaged      the record of one job cannot be read    500
    └── ConfigError        the service cannot start as it is set up    (CLI, exit 2)

Low layers raise; the edge renders once and logs once. `code` is stable and documented in `docs/reference/problems.md`;
`detail` is for the caller, so it never holds a credential, an argument value or a path of the server.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldError:
    """One thing wrong with one field. `pointer` is an RFC 6901 JSON Pointer into the request body."""

    pointer: str
    code: str
    detail: str
    hint: str = ""


class BadValue(ValueError):
    """A value that its type or a host refuses; whoever knows where the value stood turns it into a `FieldError`.

    `param` names the parameter where only the one who refuses knows it.
    """

    def __init__(self, code: str, detail: str, *, hint: str = "", param: str = "") -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.hint = hint
        self.param = param

    def at(self, pointer: str) -> FieldError:
        return FieldError(pointer=pointer, code=self.code, detail=self.detail, hint=self.hint)


class Limit(StrEnum):
    """What keeps a call from being accepted. Stable; `docs/reference/problems.md` explains each."""

    PRINCIPAL_RATE = "principal_rate"
    COMMAND_RATE = "command_rate"
    COMMAND_BUSY = "command_busy"
    HOST_BUSY = "host_busy"
    PRINCIPAL_QUEUE = "principal_queue"
    SERVICE_QUEUE = "service_queue"


class CmdHttpError(Exception):
    """The root. A leaf fixes `code`, `title` and `status`; an instance says what happened and how to mend it."""

    code: ClassVar[str] = "internal"
    title: ClassVar[str] = "Internal error"
    status: ClassVar[int] = 500
    retryable: ClassVar[bool] = False

    def __init__(
        self,
        detail: str,
        *,
        hint: str = "",
        errors: Sequence[FieldError] = (),
        retry_after: int | None = None,
        limit: Limit | None = None,
    ) -> None:
        """`retry_after` in seconds; `limit` is the one that was reached, if one was."""
        super().__init__(detail)
        self.detail = detail
        self.hint = hint
        self.errors = tuple(errors)
        self.retry_after = retry_after
        self.limit = limit


class RequestError(CmdHttpError):
    code = "bad_request"
    title = "The request cannot be read"
    status = 400


class BodyTooLarge(RequestError):
    code = "body_too_large"
    title = "The body is too large"
    status = 413


class NotJson(RequestError):
    code = "not_json"
    title = "The body must be JSON"
    status = 415


class Unauthenticated(CmdHttpError):
    code = "unauthenticated"
    title = "Authentication is required"
    status = 401

    def __init__(self) -> None:
        super().__init__(
            "The request carries no valid credential.",
            hint="Send 'Authorization: Bearer TOKEN' with a live token of a principal in the policy.",
        )


class Forbidden(CmdHttpError):
    code = "forbidden"
    title = "Not allowed"
    status = 403


class NeedsApproval(Forbidden):
    code = "needs_approval"
    title = "Approval is needed"


class NotFound(CmdHttpError):
    code = "not_found"
    title = "Not found"
    status = 404


class Gone(CmdHttpError):
    code = "no_longer_kept"
    title = "No longer kept"
    status = 410


class MethodNotAllowed(CmdHttpError):
    code = "method_not_allowed"
    title = "Method not allowed"
    status = 405


class Conflict(CmdHttpError):
    code = "idempotency_conflict"
    title = "The idempotency key was used with a different body"
    status = 409


class RangeError(CmdHttpError):
    code = "range_not_satisfiable"
    title = "The range is outside the output"
    status = 416


class InvalidRequest(CmdHttpError):
    code = "invalid"
    title = "The request has invalid fields"
    status = 422


class TooMany(CmdHttpError):
    code = "too_many_requests"
    title = "A limit was reached"
    status = 429
    retryable = True


class Unavailable(CmdHttpError):
    code = "unavailable"
    title = "The service cannot take the job now"
    status = 503
    retryable = True


class NoSpace(Unavailable):
    code = "no_space"
    title = "The service's disk is nearly full"


class StoreFailed(Unavailable):
    code = "store_failed"
    title = "The service's records cannot be read or written"

    def __init__(self) -> None:
        super().__init__(
            "The service's job database is damaged, or its disk fails. A call that got this answer has started nothing.",
            hint="Try again later. Whoever runs the service sees why in its /readyz and its log.",
            retry_after=60,
        )


class RecordDamaged(CmdHttpError):
    code = "record_damaged"
    title = "The record of this job is damaged"

    def __init__(self, principal: str) -> None:
        """`principal` is whose job it is, as far as that is known."""
        super().__init__(
            "What the service has kept of this job cannot be read; other jobs can.",
            hint="Whoever runs the service can restore its data folder from a backup. The audit log tells how the job ended.",
        )
        self.principal = principal


class ConfigError(CmdHttpError):
    code = "config"
    title = "The service cannot start as it is set up"
