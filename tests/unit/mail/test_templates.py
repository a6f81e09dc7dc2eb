"""Templates: what each needs is declared, and each says it as text and as HTML."""

import email
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP, default
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jinja2 import UndefinedError, meta

from novapulse.core.errors import Invalid
from novapulse.core.ids import new_id
from novapulse.mail.compose import Sender, compose, one_line, recipient, templates
from novapulse.mail.model import TEMPLATES, Message, check_payload

AT = datetime(2026, 11, 23, 15, 18, tzinfo=UTC)
SENDER = Sender.parse("NovaPulse <nova@example.com>")
# What the program gives besides the data, and what is in parts.html.
GIVEN = {"displayName", "subject", "button"}
HOSTILE = '"><script>alert(1)</script>\r\nBcc: eve@example.com'
SAMPLE: dict[str, Any] = {
    "name": "Ada & Co <ada>",
    "companyName": "Acme",
    "inviterName": "Bob",
    "role": "company_admin",
    "email": "ada@example.com",
    "link": "https://nova.example.com/i?a=1&b=2",
    "expiresAt": "2026-11-30T15:18:00.000Z",
    "minutes": 30,
    "left": 9,
    "device": "Firefox",
    "address": "192.0.2.1",
    "at": "2026-11-23T15:18:00.000Z",
    "actorName": "Bob",
    "taskTitle": "Ship <it>",
    "dueAt": "2026-11-30T15:18:00.000Z",
    "reportName": "tasks summary",
    "format": "csv",
    "url": "https://example.com/hook?a=1&b=2",
    "since": "2026-11-23T15:18:00.000Z",
    "answer": "503 Service Unavailable",
    "reason": "too_many_failures",
    "title": "The disk is nearly full",
    "text": "Make room.",
}
# What a template does without.
OPTIONAL = {"inviterName", "actorName", "dueAt", "format", "expiresAt", "since", "answer", "reason"}


class Text(HTMLParser):
    """What a person reads of an HTML document, and the links and tags in it."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.said: list[str] = []
        self.links: list[str] = []
        self.tags: set[str] = set()
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links += [value for name, value in attrs if name == "href" and value]

    def handle_data(self, data: str) -> None:
        self.said.append(data)


def data_of(template: str, **other: Any) -> dict[str, Any]:
    return {name: SAMPLE[name] for name in TEMPLATES[template]} | other


def made(template: str, data: dict[str, Any], company: str | None = "Acme") -> EmailMessage:
    """The mail as whoever gets it reads it."""
    message = Message(
        id=new_id("job"), to="ada@example.com", created_at=AT, template=template, data=data
    )
    written = compose(message, SENDER, company).as_bytes(policy=SMTP)
    return email.message_from_bytes(written, policy=default)


def parts(mail: EmailMessage) -> tuple[str, str]:
    bodies = [mail.get_body((kind,)) for kind in ("plain", "html")]
    assert all(bodies)
    text, html = (str(body.get_content()) for body in bodies if body is not None)
    return text.replace("\r\n", "\n"), html


@pytest.mark.parametrize("template", sorted(TEMPLATES))
def test_what_a_template_needs_is_declared(template: str) -> None:
    used: set[str] = set()
    for kind in ("txt", "html"):
        source, _, _ = templates().loader.get_source(templates(), f"{template}.{kind}")
        used |= meta.find_undeclared_variables(templates().parse(source))
    assert used - GIVEN == TEMPLATES[template]


def test_every_template_on_the_disk_is_declared() -> None:
    names = {name.partition(".")[0] for name in templates().list_templates()}
    assert names == set(TEMPLATES) | {"layout", "parts"}


@pytest.mark.parametrize("template", sorted(TEMPLATES))
def test_every_template_renders_as_text_and_as_html(template: str) -> None:
    mail = made(template, data_of(template))
    text, html = parts(mail)
    read = Text(html)
    for name in TEMPLATES[template] & {"name", "link", "taskTitle", "reportName", "url", "title"}:
        assert str(SAMPLE[name]) in text
        assert str(SAMPLE[name]) in "".join(read.said)
    assert mail["Subject"].strip()
    assert text.endswith("--\nAcme\n")
    assert read.links == ([SAMPLE["link"]] if "link" in TEMPLATES[template] else [])
    assert not {"script", "ada", "it"} & read.tags
    assert "2026-11-30T" not in text
    assert "{" not in text + "".join(read.said)


@pytest.mark.parametrize("template", sorted(TEMPLATES))
def test_a_template_does_without_what_may_be_unknown(template: str) -> None:
    unknown = OPTIONAL - ({"expiresAt"} if template == "invite" else set())
    mail = made(template, data_of(template, **dict.fromkeys(TEMPLATES[template] & unknown)))
    text, html = parts(mail)
    assert "None" not in text + html + mail["Subject"]


@pytest.mark.parametrize("template", sorted(TEMPLATES))
def test_no_data_gets_into_the_headers_or_becomes_html(template: str) -> None:
    harmless = set(made(template, data_of(template)).keys())
    mail = made(template, dict.fromkeys(TEMPLATES[template], HOSTILE), company=HOSTILE)
    assert set(mail.keys()) == harmless
    assert "\n" not in mail["Subject"]
    assert "script" not in Text(parts(mail)[1]).tags


@pytest.mark.parametrize("template", sorted(TEMPLATES))
def test_missing_data_is_an_error_when_the_mail_is_enqueued(template: str) -> None:
    for name in TEMPLATES[template]:
        data = data_of(template)
        del data[name]
        with pytest.raises(Invalid, match=f"also needs {name}") as refused:
            check_payload({"to": "ada@example.com", "template": template, "data": data})
        assert [error.path for error in refused.value.errors] == ["data"]


def test_a_variable_that_nobody_declared_is_an_error_and_not_an_empty_space() -> None:
    with pytest.raises(UndefinedError):
        templates().from_string("{{ nobody }}").render()


@settings(max_examples=50)
@example(name="Acme\r\nBcc: eve@example.com")
@example(name="Äcme, \u2028Inc. <eve@example.com>")
@given(name=st.text(st.characters(exclude_categories=["Cs"]), max_size=120))
def test_no_name_of_a_company_can_add_a_header_or_a_sender(name: str) -> None:
    mail = made("mfa_enabled", {"name": "Ada"}, company=name)
    (sender,) = mail["From"].addresses
    assert sender.addr_spec == "nova@example.com"
    # Python's mail package may break a long encoded name into words.
    shown = sender.display_name.replace(" ", "")
    assert shown == (one_line(name) or "NovaPulse").replace(" ", "")
    assert mail["Bcc"] is None


@pytest.mark.parametrize(
    ("to", "reaches"),
    [
        ("ada@example.com", "ada@example.com"),
        ("a,b@example.com", '"a,b"@example.com'),
        ('"a,b"@example.com', '"a,b"@example.com'),
        ("ada@exämple.com", "ada@xn--exmple-cua.com"),
        ("ada@[192.0.2.1]", "ada@[192.0.2.1]"),
    ],
)
def test_an_address_is_one_address(to: str, reaches: str) -> None:
    assert recipient(to).addr_spec == reaches


@pytest.mark.parametrize("domain", ["a>b", "a(b)", "a,b", "a;b", "a\\b"])
def test_a_domain_that_is_none_is_refused(domain: str) -> None:
    with pytest.raises(Invalid, match="no address that mails can be sent to"):
        recipient(f"ada@{domain}")
