"""RFC 9457 problems: the one place where our errors become HTTP answers."""

from typing import Any

from novapulse.core import errors, wire

CONTENT_TYPE = b"application/problem+json"
Headers = list[tuple[bytes, bytes]]

STATUS: dict[type[errors.Error], int] = {
    errors.Malformed: 400,
    errors.Unauthenticated: 401,
    errors.Forbidden: 403,
    errors.NotFound: 404,
    errors.MethodNotAllowed: 405,
    errors.TooSlow: 408,
    errors.Conflict: 409,
    errors.Gone: 410,
    errors.PreconditionFailed: 412,
    errors.TooLarge: 413,
    errors.UnsupportedMediaType: 415,
    errors.RangeNotSatisfiable: 416,
    errors.Invalid: 422,
    errors.TooManyRequests: 429,
    errors.HeaderTooLarge: 431,
    errors.Unavailable: 503,
    errors.StorageFull: 507,
}
_BUG = {"code": "internal_error", "title": "This is a bug"}


def status_of(error: errors.Error) -> int:
    """The status of the nearest class in the tree; 500 for what has none."""
    for kind in type(error).__mro__:
        if kind in STATUS:
            return STATUS[kind]
    return 500


def render(error: BaseException, request_id: str) -> tuple[int, Headers, bytes, str]:
    """`(status, headers, body, code)`; of an unexpected error nothing leaks but the request id."""
    if not isinstance(error, errors.Error) or status_of(error) == 500:
        detail = "It is logged under the request id."
        body = {"type": "about:blank", "status": 500, "detail": detail, "requestId": request_id}
        return 500, [(b"content-type", CONTENT_TYPE)], wire.encode(body | _BUG), _BUG["code"]
    status = status_of(error)
    problem: dict[str, Any] = {
        "type": "about:blank",
        "title": error.title,
        "status": status,
        "detail": error.detail,
        "code": error.code,
        "requestId": request_id,
    }
    headers: Headers = [(b"content-type", CONTENT_TYPE)]
    _add_particulars(error, problem, headers)
    return status, headers, wire.encode(problem), error.code


def _add_particulars(error: errors.Error, problem: dict[str, Any], headers: Headers) -> None:
    """What some classes say beyond the common members."""
    match error:
        case errors.Invalid():
            problem["errors"] = [
                {"path": item.path, "message": item.message} for item in error.errors
            ]
        case errors.MfaRequired():
            problem["challengeToken"] = error.challenge_token
        case errors.RangeNotSatisfiable():
            headers.append((b"content-range", f"bytes */{error.size}".encode()))
        case errors.MethodNotAllowed():
            headers.append((b"allow", ", ".join(error.allowed).encode()))
        case errors.TooManyRequests() | errors.Unavailable():
            problem["retryAfter"] = error.retry_after_seconds
            headers.append((b"retry-after", str(error.retry_after_seconds).encode()))
    if isinstance(error, errors.TooManyRequests):
        headers.extend((name.encode(), value.encode()) for name, value in error.headers)
    if isinstance(error, errors.Unauthenticated):
        headers.append((b"www-authenticate", b'Bearer realm="novapulse"'))
