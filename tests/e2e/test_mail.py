"""Mail as the whole program sends it: to a real server with STARTTLS and a sign-in."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support import mailserver as support
from tests.support.appliance import (
    OPEN_CONFIG,
    Appliance,
    Client,
    appliance_in_temporary_root,
)
from tests.support.mailserver import (
    PASSWORD,
    Certificate,
    Letter,
    MailServer,
    mail_server_in_a_thread,
)

certificate = support.certificate
CONFIG = """
[mail]
host = "127.0.0.1"
port = {port}
ca_file = "{certificate}"
user = "nova"
password_file = "{password}"
from = "NovaPulse <nova@example.com>"

[queues.email]
backoff_seconds = 0.1
"""


@dataclass
class Post:
    """An appliance that is not started yet, and its mail server."""

    appliance: Appliance
    server: MailServer

    def letter(self, to: str, subject: str) -> Letter:
        """The one with this subject, once it has come."""

        def find() -> list[Letter]:
            return [
                one
                for one in self.server.letters
                if one.to == (to,) and str(one.mail["Subject"]).startswith(subject)
            ]

        self.appliance.wait_for(lambda: bool(find()), seconds=15)
        return find()[0]


@pytest.fixture
def post(certificate: Certificate, tmp_path: Path) -> Iterator[Post]:
    password = tmp_path / "smtp-password"
    password.write_text(PASSWORD + "\n")
    password.chmod(0o600)
    with mail_server_in_a_thread(certificate) as server:
        config = CONFIG.format(port=server.port, certificate=certificate.file, password=password)
        with appliance_in_temporary_root(OPEN_CONFIG + config) as appliance:
            yield Post(appliance, server)


def test_people_get_their_mails_and_notifications(post: Post):
    post.appliance.start()
    admin = post.appliance.found_company()
    welcome = post.letter("ada@acme.example", "Welcome")
    assert (welcome.is_encrypted, welcome.user) == (True, "nova")
    assert welcome.mail["From"].addresses[0].display_name == "Acme"

    company = admin.call("GET", "/company").must(200)
    created = post.appliance.cli("user", "create", "ben@acme.example", "--company", company["id"])
    assert created.returncode == 0, created.stderr
    login = {"email": "ben@acme.example", "password": created.stdout.split()[-1]}
    signed_in = admin.call("POST", "/auth/login", body=login).must(200)
    ben = Client(post.appliance, token=signed_in["accessToken"])
    task = {"title": "Ship it", "assigneeId": signed_in["user"]["id"]}
    admin.call("POST", "/tasks", body=task).must(201)
    assigned = post.letter("ben@acme.example", "You were assigned: Ship it")
    assert "Ada assigned you a task" in assigned.text
    assert ben.call("GET", "/notifications/unread-count").must(200) == {"count": 1}

    tried = post.server.verbs.count("RCPT")
    post.server.moods["RCPT"] = "550 5.1.1 nobody here"
    admin.call("POST", "/tasks", body={**task, "title": "Once more"}).must(201)
    post.appliance.wait_for(lambda: post.server.verbs.count("RCPT") > tried, seconds=15)

    def suppressed() -> list[str]:
        said = post.appliance.cli("mail", "suppressions", "list", "--json")
        return [one["address"] for one in json.loads(said.stdout)["suppressions"]]

    post.appliance.wait_for(lambda: suppressed() == ["ben@acme.example"], seconds=15)
    post.server.moods.clear()
    removed = post.appliance.cli("mail", "suppressions", "remove", "ben@acme.example")
    assert removed.stdout == "ben@acme.example is written to again\n"
    assert post.appliance.cli("queue", "retry", "email", "--yes").returncode == 0
    post.letter("ben@acme.example", "You were assigned: Once more")

    examined = post.appliance.cli("doctor", "--all")
    place = f"127.0.0.1:{post.server.port}"
    assert f"ok    mail server: {place} answers, TLSv1.3, signed in as nova" in examined.stdout
    scraped = admin.call("GET", "/metrics").body.decode()
    assert 'novapulse_mails_total{outcome="refused"} 1.0' in scraped


def test_a_test_message_says_what_the_server_answers(post: Post):
    """Without the program running."""
    sent = post.appliance.cli("mail", "test", "ada@example.com")
    assert (sent.returncode, sent.stderr) == (0, "")
    assert sent.stdout == f"127.0.0.1:{post.server.port} took it: 250 2.0.0 taken\n"
    (letter,) = post.server.letters
    assert letter.mail["Subject"] == "NovaPulse can send mail"

    post.server.moods["RCPT"] = "550 5.1.1 nobody here"
    refused = post.appliance.cli("mail", "test", "ada@example.com")
    assert refused.returncode == 1
    assert "at RCPT: 550 5.1.1 nobody here" in refused.stderr
    post.server.moods["RCPT"] = "450 4.2.0 later"
    assert post.appliance.cli("mail", "test", "ada@example.com").returncode == 69
    assert post.appliance.cli("mail", "test", "ada").returncode == 65

    post.server.moods["AUTH"] = "535 5.7.8 no"
    examined = post.appliance.cli("doctor")
    assert f"BAD   mail server: 127.0.0.1:{post.server.port} refuses us" in examined.stdout
    assert "at AUTH: 535 5.7.8 no" in examined.stdout


def test_a_test_message_without_a_server_is_spooled(appliance: Appliance):
    said = appliance.cli("mail", "test", "ada@example.com")
    assert said.returncode == 0, said.stderr
    message_id = said.stdout.split()[-1]
    assert said.stdout == f"no mail server is set: spooled as {message_id}\n"
    shown = appliance.cli("mail", "show", message_id).stdout
    assert "Subject: NovaPulse can send mail" in shown
