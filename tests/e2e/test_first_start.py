"""The first minutes with a new installation, told once and looked at from several sides."""

import json
import stat
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.appliance import (
    PASSWORD,
    Answer,
    Appliance,
    Client,
    appliance_in_temporary_root,
    note,
)

Done = subprocess.CompletedProcess[str]
FOUNDER = {
    "companyName": "Acme",
    "name": "Ada",
    "email": "ada@acme.example",
    "password": PASSWORD,
}


@dataclass(frozen=True)
class Story:
    """From an empty directory to a company, with the configuration that the program wrote."""

    appliance: Appliance
    start_seconds: float
    token_before: Done
    refused_before: Answer
    registered: Answer
    token_after: Done
    registered_again: Answer

    @property
    def admin(self) -> Client:
        return Client(self.appliance, token=self.registered.must(201)["accessToken"])


@pytest.fixture(scope="module")
def story() -> Iterator[Story]:
    with appliance_in_temporary_root() as one:
        asked = time.monotonic()
        one.start()
        start_seconds = time.monotonic() - asked
        token_before = one.cli("setup-token")
        anybody = Client(one)
        command = {**FOUNDER, "setupToken": token_before.stdout.strip()}
        second = {**command, "companyName": "Evil", "email": "eve@evil.example"}
        yield Story(
            appliance=one,
            start_seconds=start_seconds,
            token_before=token_before,
            refused_before=anybody.post("/auth/register", {**command, "setupToken": "guessed"}),
            registered=anybody.post("/auth/register", command),
            token_after=one.cli("setup-token"),
            registered_again=anybody.post("/auth/register", second),
        )


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_first_start_is_ready_within_ten_seconds(story: Story):
    note(f"ready after {story.start_seconds:.1f} s")
    assert story.start_seconds <= 10


def test_the_first_start_makes_its_directories_and_a_commented_configuration(story: Story):
    root = story.appliance.root
    assert sorted(entry.name for entry in root.iterdir()) == ["config.toml", "log", "run", "state"]
    assert (root / "config.toml").read_text().startswith("# ")
    assert {mode_of(root / name) for name in ("log", "run", "state")} == {0o700}


def test_only_the_owner_can_read_secrets(story: Story):
    secrets = story.appliance.root / "state" / "secrets"
    entries = list(secrets.rglob("*"))
    assert len(entries) >= 5
    assert mode_of(secrets) == 0o700
    assert {mode_of(one) for one in entries if one.is_file()} == {0o600}
    assert mode_of(story.appliance.root / "run" / "settings.json") == 0o600


def test_no_secret_is_on_a_command_line_or_in_a_log(story: Story):
    root = story.appliance.root
    shown = b"".join(path.read_bytes() for path in (root / "log").iterdir())
    for pid in story.appliance.live_pids():
        shown += Path(f"/proc/{pid}/cmdline").read_bytes()
    assert b"mongod" in shown
    assert story.registered.must(201)["accessToken"].encode() not in shown
    for path in (root / "state" / "secrets").rglob("*"):
        if path.is_file():
            for word in path.read_bytes().replace(b'"', b"\n").split():
                assert len(word) < 16 or word not in shown, path


def test_the_ready_line_has_the_address_and_the_setup_token(story: Story):
    line = story.appliance.ready_line
    assert "\n" not in line
    assert story.appliance.url.startswith("http://127.0.0.1:")
    assert story.token_before.stdout.strip() in line


def test_the_setup_token_is_printed_alone(story: Story):
    said = story.token_before
    assert (said.returncode, said.stderr) == (0, "")
    assert len(said.stdout.split()) == 1
    assert len(said.stdout.strip()) >= 32


def test_a_guessed_setup_token_founds_nothing(story: Story):
    assert story.refused_before.status == 403
    assert story.refused_before.json()["code"] == "setup_token"


def test_a_used_setup_token_is_gone(story: Story):
    story.registered.must(201)
    assert (story.token_after.returncode, story.token_after.stdout) == (66, "")
    assert story.token_after.stderr.startswith("error: ")


def test_a_second_company_is_refused_where_registration_is_closed(story: Story):
    assert story.registered_again.status == 403
    assert story.registered_again.headers["content-type"].startswith("application/problem+json")


def test_the_founder_administers_the_company(story: Story):
    me = story.admin.get("/auth/me").must(200)
    assert (me["role"], me["company"]["name"]) == ("company_admin", "Acme")


def test_receivers_on_this_machine_are_refused_unless_they_are_allowed(story: Story):
    for url in (
        "http://127.0.0.1:9/hook",
        "http://localhost:9/hook",
        "http://2130706433/hook",
        "http://[::ffff:127.0.0.1]/hook",
    ):
        answer = story.admin.post("/webhooks", {"url": url, "events": ["*"]})
        assert (answer.status, answer.json()["errors"][0]["path"]) == (422, "url"), url
    assert story.admin.get("/webhooks").must(200)["data"] == []


def test_status_is_one_document_of_a_known_shape(story: Story):
    said = story.appliance.cli("status", "--json")
    report: dict[str, Any] = json.loads(said.stdout)
    assert said.returncode == 0
    assert (report["schema"], report["state"]) == (1, "ready")
    assert report["url"] == story.appliance.url
    assert set(report["stores"]) == {"mongodb", "redis"}
    assert set(report["queues"]) == {"nova:email", "nova:webhook", "nova:workflow", "nova:report"}
    roles = [row["role"] for row in report["processes"]]
    assert {"redis", "mongod", "scheduler", "api", "consumer:webhook"} <= set(roles)
    assert roles.count("api") == 2
    for row in report["processes"]:
        if row["role"] != "migrate":
            assert row["state"] == "ready", row
            assert row["restarts"] == 0, row
            assert row["pid"] in story.appliance.live_pids()
            assert row["uptimeSeconds"] > 0, row
            assert row["rssBytes"] > 1_000_000, row


def test_an_operator_made_on_the_command_line_can_sign_in(story: Story):
    email = "root@operators.example"
    made = story.appliance.cli("user", "create", "--super-admin", email)
    assert (made.returncode, made.stderr) == (0, "")
    credentials = {"email": email, "password": made.stdout.strip()}
    signed_in = Client(story.appliance).post("/auth/login", credentials).must(200)
    assert signed_in["user"]["role"] == "super_admin"
    again = story.appliance.cli("user", "create", "--super-admin", email)
    assert (again.returncode, again.stdout) == (65, "")
