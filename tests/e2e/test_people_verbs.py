"""`novapulse user`, `company` and `token`, on a running program."""

import json
import time
from typing import Any

import pytest

from tests.support.appliance import Appliance, Client, SharedAppliance


@pytest.fixture
def appliance(shared_appliance: SharedAppliance) -> Appliance:
    return shared_appliance.appliance


def said(appliance: Appliance, *words: str) -> str:
    done = appliance.cli(*words)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout.strip()


def listed(appliance: Appliance, what: str, *words: str) -> list[dict[str, Any]]:
    document = json.loads(said(appliance, what, "list", "--json", *words))
    assert document["schema"] == 1
    rows: list[dict[str, Any]] = document["users" if what == "user" else "companies"]
    return rows


def signs_in(appliance: Appliance, email: str, password: str) -> bool:
    body = {"email": email, "password": password}
    return Client(appliance).post("/auth/login", body).status == 200


def new_member(appliance: Appliance, admin: Client, email: str, *words: str) -> str:
    """A member of the shared company; the printed password."""
    company_id = admin.get("/company").must(200)["id"]
    return said(appliance, "user", "create", email, "--company", company_id, *words)


def test_an_account_made_on_the_command_line_signs_in_with_the_printed_password(
    shared_appliance: SharedAppliance,
) -> None:
    appliance, admin = shared_appliance.appliance, shared_appliance.admin
    email = "made@people.example"
    password = new_member(appliance, admin, email, "--role", "manager", "--name", "Made")
    assert signs_in(appliance, email, password)
    (row,) = [
        row for row in listed(appliance, "user", "--role", "manager") if row["email"] == email
    ]
    assert (row["name"], row["status"]) == ("Made", "active")
    assert email in said(appliance, "user", "list", "--company", row["companyId"])
    again = appliance.cli("user", "create", email, "--super-admin")
    assert (again.returncode, again.stdout) == (65, "")


@pytest.mark.parametrize("words", [[], ["--super-admin", "--company", "0" * 24]])
def test_an_account_is_an_operators_or_of_a_company(appliance: Appliance, words: list[str]) -> None:
    assert appliance.cli("user", "create", "x@people.example", *words).returncode == 2


def test_a_disabled_user_stays_out_until_enabled(shared_appliance: SharedAppliance) -> None:
    appliance = shared_appliance.appliance
    email = "out@people.example"
    password = new_member(appliance, shared_appliance.admin, email)
    assert appliance.cli("user", "disable", email).returncode == 2
    assert said(appliance, "user", "disable", email, "--dry-run") == f"would disable {email}"
    assert signs_in(appliance, email, password)
    said(appliance, "user", "disable", email, "--yes")
    assert not signs_in(appliance, email, password)
    said(appliance, "user", "enable", email)
    assert signs_in(appliance, email, password)


def test_the_last_administrator_and_unknown_people_are_told_apart(
    shared_appliance: SharedAppliance,
) -> None:
    appliance, admin = shared_appliance.appliance, shared_appliance.admin
    email = admin.get("/auth/me").must(200)["email"]
    done = appliance.cli("user", "disable", email, "--yes")
    assert done.returncode == 65
    assert "last active administrator" in done.stderr
    assert appliance.cli("user", "disable", "nobody@people.example", "--yes").returncode == 66


def test_somebody_locked_out_gets_in_again(shared_appliance: SharedAppliance) -> None:
    appliance = shared_appliance.appliance
    email = "lost@people.example"
    password = new_member(appliance, shared_appliance.admin, email)
    for _ in range(6):
        assert not signs_in(appliance, email, "not the password")
    assert not signs_in(appliance, email, password)
    said(appliance, "user", "unlock", email)
    assert signs_in(appliance, email, password)
    said(appliance, "user", "reset-mfa", email, "--yes")
    fresh = said(appliance, "user", "reset-password", email, "--yes")
    assert fresh not in ("", password)
    assert not signs_in(appliance, email, password)
    assert signs_in(appliance, email, fresh)


def test_a_suspended_company_is_out_and_comes_back(appliance: Appliance) -> None:
    root = said(appliance, "user", "create", "root@people.example", "--super-admin")
    login = {"email": "root@people.example", "password": root}
    token = Client(appliance).post("/auth/login", login).must(200)["accessToken"]
    company = Client(appliance, token=token).post("/companies", {"name": "Umbrella"}).must(201)
    member = "ann@umbrella.example"
    password = said(
        appliance, "user", "create", member, "--company", company["id"], "--role", "company_admin"
    )
    assert signs_in(appliance, member, password)
    would = said(appliance, "company", "suspend", company["id"], "--dry-run")
    assert would == f"would suspend Umbrella ({company['id']})"
    said(appliance, "company", "suspend", company["id"], "--yes")
    suspended = listed(appliance, "company", "--status", "suspended")
    assert company["id"] in [row["id"] for row in suspended]
    assert not signs_in(appliance, member, password)
    said(appliance, "company", "resume", company["id"])
    assert signs_in(appliance, member, password)


def test_a_token_from_the_command_line_works_until_its_owner_is_disabled(
    shared_appliance: SharedAppliance,
) -> None:
    appliance = shared_appliance.appliance
    email = "script@people.example"
    new_member(appliance, shared_appliance.admin, email)
    words = ("token", "create", email, "--name", "import", "--expires-in-days", "1")
    script = Client(appliance, token=said(appliance, *words, "--scope", "tasks:read"))
    assert script.get("/tasks").status == 200
    assert script.get("/auth/me").status == 403
    assert appliance.cli(*words, "--scope", "webhooks:write").returncode == 65
    said(appliance, "user", "disable", email, "--yes")
    deadline = time.monotonic() + 10
    while script.get("/tasks").status != 401:
        assert time.monotonic() < deadline, "still alive"
        time.sleep(0.2)


def test_the_last_operator_can_not_be_disabled(appliance: Appliance) -> None:
    said(appliance, "user", "create", "only@people.example", "--super-admin")
    active = [
        r["email"] for r in listed(appliance, "user", "--role", "super_admin", "--status", "active")
    ]
    for email in active[:-1]:
        said(appliance, "user", "disable", email, "--yes")
    done = appliance.cli("user", "disable", active[-1], "--yes")
    assert done.returncode == 65
    assert "last active operator" in done.stderr
