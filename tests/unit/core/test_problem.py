"""Every error of the tree as an HTTP answer."""

import json

import pytest

from novapulse.core import errors, problem
from novapulse.processes import features  # declares the features' errors

ASSIGNED = {
    errors.Malformed: 400,
    errors.Invalid: 422,
    errors.Unauthenticated: 401,
    errors.MfaRequired: 401,
    errors.Forbidden: 403,
    errors.StepUpRequired: 403,
    errors.NotFound: 404,
    errors.MethodNotAllowed: 405,
    errors.Conflict: 409,
    errors.Gone: 410,
    errors.PreconditionFailed: 412,
    errors.VersionConflict: 412,
    errors.TooLarge: 413,
    errors.UnsupportedMediaType: 415,
    errors.TooManyRequests: 429,
    errors.Unavailable: 503,
    errors.StorageFull: 507,
}
# What no request can cause: the program does not start, or it is a bug.
NOT_FOR_HTTP = {"ConfigurationInvalid", "OutboundFailure"}
EXAMPLES: list[errors.Error] = [
    errors.MfaRequired("challenge"),
    errors.MethodNotAllowed(("GET", "HEAD")),
    errors.TooManyRequests(7, (("ratelimit", '"default";r=0;t=7'),)),
    errors.Unavailable(retry_after_seconds=3),
    errors.Invalid.field("labels[2]", "is too long"),
    errors.NotFound("There is no such task"),
]


def descendants(kind: type[errors.Error]) -> set[type[errors.Error]]:
    """The class and those below it that an HTTP request can meet: the command line's own do not."""
    below = [one for one in kind.__subclasses__() if not one.__module__.startswith("novapulse.cli")]
    return {kind} | {found for child in below for found in descendants(child)}


def rendered(error: BaseException) -> tuple[int, dict[bytes, bytes], dict[str, object], str]:
    status, headers, body, code = problem.render(error, "req-1")
    assert len(headers) == len(dict(headers))
    return status, dict(headers), json.loads(body), code


@pytest.mark.parametrize("kind", ASSIGNED)
def test_each_class_of_the_tree_has_its_status(kind: type[errors.Error]) -> None:
    assert problem.status_of(kind.__new__(kind)) == ASSIGNED[kind]


def test_every_class_of_the_program_has_a_status() -> None:
    assert features.ROUTES
    missing = {
        kind.__name__
        for kind in descendants(errors.Error) - {errors.Error}
        if not {parent.__name__ for parent in kind.__mro__} & NOT_FOR_HTTP
        and problem.status_of(kind.__new__(kind)) == 500
    }
    assert not missing


def test_every_class_of_the_program_has_a_word_and_a_title_of_its_own_kind() -> None:
    for kind in descendants(errors.Error):
        assert kind.code.replace("_", "").isalnum(), kind
        assert kind.code == kind.code.lower(), kind
        assert kind.title, kind


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_a_problem_has_the_members_that_clients_rely_on(error: errors.Error) -> None:
    status, headers, body, code = rendered(error)
    assert headers[b"content-type"] == b"application/problem+json"
    assert body["status"] == status == problem.status_of(error)
    assert body["code"] == code == error.code
    assert body["title"] == error.title
    assert body["detail"] == error.detail
    assert body["type"]
    assert body["requestId"] == "req-1"


def test_unacceptable_values_are_listed_with_their_paths() -> None:
    _, _, body, _ = rendered(errors.Invalid.field("labels[2]", "is too long"))
    assert body["errors"] == [{"path": "labels[2]", "message": "is too long"}]


@pytest.mark.parametrize("error", [errors.TooManyRequests(7), errors.Unavailable()])
def test_a_client_is_told_when_to_come_back(error: errors.Error) -> None:
    _, headers, body, _ = rendered(error)
    assert headers[b"retry-after"].decode() == str(body["retryAfter"])


def test_a_limited_client_sees_the_limit() -> None:
    _, headers, _, _ = rendered(EXAMPLES[2])
    assert headers[b"ratelimit"] == b'"default";r=0;t=7'


def test_who_is_not_signed_in_is_told_how_to() -> None:
    for error in (errors.Unauthenticated(), errors.MfaRequired("x")):
        assert rendered(error)[1][b"www-authenticate"].startswith(b"Bearer")


def test_a_second_factor_comes_with_its_challenge() -> None:
    assert rendered(errors.MfaRequired("c-1"))[2]["challengeToken"] == "c-1"


def test_other_methods_are_named() -> None:
    assert rendered(errors.MethodNotAllowed(("GET", "HEAD")))[1][b"allow"] == b"GET, HEAD"


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("password is hunter2"),
        KeyError("hunter2"),
        errors.ConfigurationInvalid("hunter2 is no key", where="/etc/hunter2", hint="hunter2"),
        errors.Error("hunter2"),
    ],
)
def test_a_bug_tells_the_client_nothing_but_the_request_id(error: Exception) -> None:
    status, headers, body, code = rendered(error)
    assert (status, code) == (500, "internal_error")
    assert body["requestId"] == "req-1"
    assert "hunter2" not in json.dumps(body) + str(headers)
    assert {"type", "title", "status", "detail", "code", "requestId"} == set(body)
