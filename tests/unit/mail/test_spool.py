"""The spool: a file a message, private, the same file when its job is repeated."""

import email
import stat
from datetime import UTC, datetime
from email.policy import default
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from novapulse.core.errors import Invalid, NotFound
from novapulse.core.ids import new_id
from novapulse.mail.compose import Sender, compose
from novapulse.mail.model import Message, check_payload
from novapulse.mail.spool import Spool

AT = datetime(2026, 11, 23, 15, 18, tzinfo=UTC)
PLAIN = {"to": "ada@example.com", "subject": "Hello", "text": "you\n"}


def message(**fields: Any) -> Message:
    return Message(**{"id": new_id("job"), "created_at": AT, **fields})


def put(spool: Spool, one: Message) -> Path:
    return spool.put(one.id, compose(one, Sender()))


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "mail")


def test_a_message_is_a_mail_that_any_program_reads(spool: Spool) -> None:
    one = message(**{**PLAIN, "subject": "Grüße", "html": "<p>you</p>"})
    path = put(spool, one)
    read = email.message_from_bytes(path.read_bytes(), policy=default)
    assert (read["To"], read["Subject"]) == ("ada@example.com", "Grüße")
    assert read["Message-ID"] == f"<{one.id}@localhost>"
    assert read.get_body(("plain",)).get_content().strip() == "you"
    assert read.get_body(("html",)).get_content().strip() == "<p>you</p>"


def test_a_spooled_message_is_for_its_owner_only(spool: Spool) -> None:
    path = put(spool, message(**PLAIN))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_repeated_message_is_the_same_file(spool: Spool) -> None:
    one = message(**PLAIN)
    assert put(spool, one) == put(spool, one)
    assert [found.id for found in spool.list()] == [one.id]


def test_an_interrupted_write_is_no_message(spool: Spool) -> None:
    path = put(spool, message(**PLAIN))
    path.with_suffix(".4711.part").write_bytes(b"To: nob")
    assert len(spool.list()) == 1


def test_a_spool_that_was_never_used_is_empty(spool: Spool) -> None:
    assert spool.list() == []


@pytest.mark.parametrize(
    "name", ["", "../secret", "job_", "job_01m85a8xd6ak60qnd7hcpf38xr", "job_" + "z" * 27]
)
def test_what_is_not_in_the_spool_is_not_found(spool: Spool, name: str) -> None:
    with pytest.raises(NotFound):
        spool.read(name)


@pytest.mark.parametrize(
    ("payload", "path"),
    [
        ({**PLAIN, "to": "ada@example.com\r\nBcc: eve@example.com"}, "to"),
        ({**PLAIN, "to": ""}, "to"),
        ({**PLAIN, "subject": "Hello\nBcc: eve@example.com"}, "subject"),
        ({**PLAIN, "to": "ada@example.com, eve@example.com"}, "to"),
        ({**PLAIN, "to": "Ada <ada@example.com>"}, "to"),
        ({"to": "ada@example.com", "template": "no_such"}, "template"),
    ],
)
def test_what_could_never_be_sent_names_its_field(payload: dict[str, Any], path: str) -> None:
    with pytest.raises(Invalid) as refused:
        check_payload(payload)
    assert [error.path for error in refused.value.errors] == [path]


@pytest.mark.parametrize(
    "payload", [{"to": "a@example.com"}, {**PLAIN, "template": "welcome"}], ids=["none", "both"]
)
def test_a_message_has_a_template_or_a_subject(payload: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        check_payload(payload)


@example(subject="\x1eBcc: eve@example.com", text="")
@example(subject="a\u2028b", text="")
@given(subject=st.text(min_size=1), text=st.text())
def test_no_subject_and_no_text_can_add_a_header(
    tmp_path_factory: pytest.TempPathFactory, subject: str, text: str
) -> None:
    if "\0" in subject or subject.splitlines() != [subject]:
        with pytest.raises(Invalid):
            message(to="ada@example.com", subject=subject, text=text)
        return
    one = message(to="ada@example.com", subject=subject, text=text)
    path = put(Spool(tmp_path_factory.mktemp("mail")), one)
    read = email.message_from_bytes(path.read_bytes(), policy=default)
    assert {name.lower() for name in read.keys()} == {  # noqa: SIM118 - a message is no dict
        *("from", "to", "subject", "date", "message-id", "x-novapulse-at", "auto-submitted"),
        *("content-type", "content-transfer-encoding", "mime-version"),
    }
