"""What can go wrong, as one class tree; features subclass it and add data.

Error
├── Malformed                 the bytes are not what they claim to be
├── TooSlow                   the request did not come in time
├── HeaderTooLarge            too many or too long header fields
├── Invalid                   well-formed, but a value is not acceptable
├── Unauthenticated           no or bad credentials
│   └── MfaRequired           a second factor is needed to go on
├── Forbidden                 the role does not allow it
│   └── StepUpRequired        the session must prove itself again first
├── NotFound                  not there, or another company's
├── MethodNotAllowed
├── Conflict                  duplicate, or the state does not allow it
├── Gone                      used or expired
├── PreconditionFailed
│   └── VersionConflict       saved by someone else in between
├── TooLarge
├── RangeNotSatisfiable       the file has no such range
├── UnsupportedMediaType
├── TooManyRequests
├── StorageFull               the disk is nearly full
├── Unavailable               a store is away; trying again later may help
│   ├── TransientConflict     two transactions met; running it again may help
│   └── AlreadyRunning        another program holds what only one may hold
└── ConfigurationInvalid      the program can not start with these settings

Nothing here knows a status or an exit code: `core.problem` maps the tree to
HTTP, `core.exitcodes` to exit codes, `core.jobs` to retry or dead.
"""

from typing import ClassVar, NamedTuple


# Every start loads this module, also for --help: no dataclass, whose module is dear.
class FieldError(NamedTuple):
    """One unacceptable value: `path` as in `labels[2]`, `message` for a person."""

    path: str
    message: str


class Error(Exception):
    """Base of everything that NovaPulse raises on purpose.

    `code` is the stable word that clients switch on; `detail` is a sentence
    for the person who caused the error and never holds a secret.
    """

    code: ClassVar[str] = "error"
    title: ClassVar[str] = "Something went wrong"

    def __init__(self, detail: str | None = None) -> None:
        self.detail = detail or self.title
        super().__init__(self.detail)


class Malformed(Error):
    code = "malformed"
    title = "The request can not be read"


class TooSlow(Error):
    code = "too_slow"
    title = "The request did not come in time"


class HeaderTooLarge(Error):
    code = "header_too_large"
    title = "The header is too large"


class Invalid(Error):
    code = "invalid"
    title = "A value is not acceptable"

    def __init__(self, detail: str | None = None, errors: tuple[FieldError, ...] = ()) -> None:
        super().__init__(detail)
        self.errors = errors

    @classmethod
    def field(cls, path: str, message: str) -> "Invalid":
        """The common case: one field is wrong."""
        return cls(f"{path}: {message}" if path else message, (FieldError(path, message),))


class Unauthenticated(Error):
    code = "unauthenticated"
    title = "Sign in first"


class MfaRequired(Unauthenticated):
    code = "mfa_required"
    title = "A second factor is needed"

    def __init__(self, challenge_token: str) -> None:
        super().__init__()
        self.challenge_token = challenge_token


class Forbidden(Error):
    code = "forbidden"
    title = "Your role does not allow this"


class StepUpRequired(Forbidden):
    code = "step_up_required"
    title = "Confirm your password first"


class NotFound(Error):
    code = "not_found"
    title = "There is no such thing"


class MethodNotAllowed(Error):
    code = "method_not_allowed"
    title = "This method is not allowed here"

    def __init__(self, allowed: tuple[str, ...]) -> None:
        super().__init__()
        self.allowed = allowed


class Conflict(Error):
    code = "conflict"
    title = "The current state does not allow this"


class Gone(Error):
    code = "gone"
    title = "This was used or has expired"


class PreconditionFailed(Error):
    code = "precondition_failed"
    title = "A precondition does not hold"


class VersionConflict(PreconditionFailed):
    code = "version_conflict"
    title = "It was changed by someone else in between"


class TooLarge(Error):
    code = "too_large"
    title = "The body is too large"


class RangeNotSatisfiable(Error):
    code = "range_not_satisfiable"
    title = "The file has no such range"

    def __init__(self, size: int) -> None:
        super().__init__(f"The file has {size} bytes")
        self.size = size


class UnsupportedMediaType(Error):
    code = "unsupported_media_type"
    title = "This content type is not accepted"


class TooManyRequests(Error):
    code = "rate_limited"
    title = "Too many requests"

    def __init__(self, retry_after_seconds: int, headers: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__()
        self.retry_after_seconds = retry_after_seconds
        self.headers = headers


class StorageFull(Error):
    code = "storage_full"
    title = "The disk is nearly full"


class Unavailable(Error):
    code = "unavailable"
    title = "A store is away; try again shortly"

    def __init__(self, detail: str | None = None, *, retry_after_seconds: int = 2) -> None:
        super().__init__(detail)
        self.retry_after_seconds = retry_after_seconds


class TransientConflict(Unavailable):
    code = "busy"
    title = "Somebody else is changing the same thing; try again"


class AlreadyRunning(Unavailable):
    code = "already_running"
    title = "Another one is running already"


class ConfigurationInvalid(Error):
    """The settings, keys or files that the program starts with are not usable.

    `where` names the origin (`config.toml:12`), `hint` what to try.
    """

    code = "configuration_invalid"
    title = "The configuration is not usable"

    def __init__(self, detail: str, *, where: str = "", hint: str = "") -> None:
        super().__init__(detail)
        self.where = where
        self.hint = hint
