"""Rules of the house that the routes and modules themselves can be asked about."""

import ast
from pathlib import Path

import pytest

from novapulse.core.routing import Guard, Route
from novapulse.processes.features import ROUTES

ROOT = Path(__file__).resolve().parents[3] / "novapulse"

# Routes that ask for no credentials, and why.
PUBLIC = {
    "POST /auth/register": "who founds a company has no account yet",
    "POST /auth/login": "who signs in has no token yet",
    "POST /auth/login/mfa": "the challenge token is the credential",
    "POST /auth/refresh": "the refresh token is the credential",
    "POST /auth/password/forgot": "who forgot a password can not sign in",
    "POST /auth/password/reset": "the mailed token is the credential",
    "POST /auth/email/confirm": "the mailed token is the credential",
    "GET /invites/{invite}": "the invite's token is the credential",
    "POST /invites/{invite}/accept": "the invite's token is the credential",
    "GET /health/live": "probes have no credentials",
    "GET /health/ready": "probes have no credentials",
    "GET /openapi.json": "the description of the API is no secret",
    "GET /docs": "the documentation is no secret",
    "GET /docs/{name}": "parts of the documentation page",
}
# Routes that this machine may ask without credentials, and why.
LOCAL = {
    "GET /health": "probes of this machine see the details, others the status",
    "GET /metrics": "the scraper of this machine has no credentials",
}
# Routes that are not counted, and why.
UNLIMITED = {
    "GET /health": "probes come often",
    "GET /health/live": "probes come often",
    "GET /health/ready": "probes come often",
    "GET /metrics": "scrapers come often",
    "GET /docs/{name}": "parts of one page that is counted",
}
# Modules that open the door to rows of all companies, and why. A path that ends
# in a slash is a package.
UNBOUND = {
    "alerts/store.py": "alerts are the operator's, who are no company's users",
    "audit/store.py": "one leader seals every chain; the operator reads, verifies and exports all",
    "core/files.py": "the leader looks for files that nobody knows; each carries its company",
    "backup/store.py": "when backups were made is the installation's",
    "core/context.py": "a transaction writes jobs beside the company's rows",
    "core/jobs/": "the ledger claims jobs of every company; rows carry theirs",
    "core/leader.py": "the leader lease belongs to the installation",
    "core/migrate.py": "the schema belongs to the installation",
    "core/pump.py": "one leader pumps the events of all companies",
    "deliveries/service.py": "a test is logged as the dispatcher logs; the row carries its company",
    "deliveries/store.py": "one dispatcher delivers for all companies; rows carry theirs",
    "deliveries/sweeping.py": "the leader looks after the deliveries of all companies",
    "dispatch/": "one dispatcher delivers for all companies; rows carry theirs",
    "identity/": "signing in finds an account before there is a company",
    "invites/store.py": "an invite is found by its token before there is a company",
    "mail/store.py": "an address is refused by a mail server, whichever company writes to it",
    "migrations/": "a migration changes the rows of all companies; they keep theirs",
    "ops/keys.py": "sealed values of all companies are checked and sealed anew",
    "core/samekeys.py": "whose keys the installation has is no company's",
    "ops/queues.py": "the operator acts on the jobs of all companies; rows carry theirs",
    "processes/support_bundle.py": "not that door: a function of the standard library",
    "people/store.py": "operators manage companies; addresses and API tokens are found without one",
    "runs/store.py": "the leader looks after the runs of all companies; rows carry theirs",
    "schedules/store.py": "the leader starts what is due in all companies; rows carry theirs",
    "reports/store.py": "the leader sweeps the reports of all companies; rows carry theirs",
    "signin/store.py": "a mailed token is found before anybody signed in",
    "subscriptions/store.py": "the operator lists webhooks of all companies, finds one's company",
    "workflows/store.py": "the leader finds what events and the clock start, in all companies",
    "webhooks/store.py": "the operator finds a delivery's company",
}


def named(route: Route) -> str:
    return f"{route.method} {route.path}"


def modules() -> list[Path]:
    return sorted(ROOT.rglob("*.py"))


def attributes(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    return {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}


def calls(path: Path) -> set[str]:
    """Names of the methods that a module calls."""
    tree = ast.parse(path.read_text())
    found = (node.func for node in ast.walk(tree) if isinstance(node, ast.Call))
    return {function.attr for function in found if isinstance(function, ast.Attribute)}


@pytest.mark.parametrize("route", ROUTES, ids=named)
def test_every_route_names_its_scope_or_is_public_for_a_reason(route: Route) -> None:
    if route.scope is None:
        assert named(route) in PUBLIC
        assert route.guard is Guard.PUBLIC
    else:
        assert named(route) not in PUBLIC
        assert route.guard is not Guard.PUBLIC, "a scope that nobody asks for"


@pytest.mark.parametrize("route", ROUTES, ids=named)
def test_only_a_few_routes_are_open_to_this_machine(route: Route) -> None:
    is_open = route.guard in (Guard.LOCAL, Guard.OPTIONAL)
    assert is_open == (named(route) in LOCAL)


@pytest.mark.parametrize("route", ROUTES, ids=named)
def test_every_route_is_counted_unless_there_is_a_reason(route: Route) -> None:
    assert (route.limit is None) == (named(route) in UNLIMITED)


@pytest.mark.parametrize("route", ROUTES, ids=named)
def test_every_route_says_in_a_sentence_what_it_does(route: Route) -> None:
    sentence = (route.handler.__doc__ or "").strip().partition("\n")[0]
    assert sentence.endswith(".")
    assert len(sentence) <= 100


def test_no_two_routes_are_the_same() -> None:
    names = [named(route) for route in ROUTES]
    assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize("route", ROUTES, ids=named)
def test_what_changes_something_is_no_get(route: Route) -> None:
    assert route.method in ("GET", "POST", "PATCH", "DELETE")
    if route.method == "GET":
        assert route.body is None
    if "write" in str(route.scope):
        assert route.method != "GET"


@pytest.mark.parametrize("route", ROUTES, ids=named)
def test_a_body_refuses_what_it_does_not_know(route: Route) -> None:
    for kind in (route.body, route.query):
        if kind is not None:
            assert kind.__struct_config__.forbid_unknown_fields, kind


def test_the_door_to_all_companies_is_opened_by_few() -> None:
    opened = {
        str(path.relative_to(ROOT))
        for path in modules()
        if "platform" in calls(path) and path != ROOT / "core/mongo.py"
    }
    unexplained = {
        name
        for name in opened
        if not any(name == known or name.startswith(known) for known in UNBOUND)
    }
    assert not unexplained


def test_collections_themselves_are_touched_by_one_module() -> None:
    touched = {str(path.relative_to(ROOT)) for path in modules() if "raw" in attributes(path)}
    # A backup takes and brings whole collections, and looks into none of their rows.
    assert touched == {"core/mongo.py", "core/refill.py", "core/snapshot.py"}


def test_no_service_or_route_builds_a_session_of_another_company() -> None:
    # A session follows from the credentials: only the context, the keeper of
    # answers, and the authenticator that reads the operator's header make one.
    makers = {str(path.relative_to(ROOT)) for path in modules() if "tenant" in calls(path)}
    assert makers <= {
        *("core/mongo.py", "core/context.py", "core/idempotency.py"),
        "identity/credentials.py",
    }


def test_features_do_not_know_the_web() -> None:
    for path in modules():
        if path.parent.name in ("identity", "work", "webhooks") and path.stem in (
            *("service", "store", "model"),
        ):
            source = path.read_text()
            assert "starlette" not in source, path
            assert "core.http" not in source, path
            assert "core.routing" not in source, path
