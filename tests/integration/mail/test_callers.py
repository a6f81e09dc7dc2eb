"""Everything that queues a mail today: each one is caused, and its mail can be composed."""

import re
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

import novapulse
from novapulse.core.access import SYSTEM, Role
from novapulse.core.clock import system_clock
from novapulse.core.ids import new_id
from novapulse.mail.compose import Sender, compose
from novapulse.mail.model import TEMPLATES, Message
from novapulse.people import resets
from tests.support import signin as support
from tests.support.api import PASSWORD, Api, Client, Person
from tests.support.signin import Browser, MovingClock, answer_challenge, challenge, set_up_mfa

api, clock = support.api, support.clock
NEW = "another correct horse battery"
# Queued by other means: see tests/integration/notifications, and the verb `mail test`.
ELSEWHERE = {"task_assigned", "report_ready", "webhook_failing", "webhook_disabled"}
BY_THE_VERB = {"system_alert"}
PLAIN = {
    "Another e-mail address was asked for",
    "One of your sessions was ended",
    "Confirm your new e-mail address",
    "Your e-mail address was changed",
}


async def mailed(api: Api, to: str) -> dict[str, EmailMessage]:
    """The mails to somebody, composed as the consumer does it; by template or subject."""
    found: dict[str, EmailMessage] = {}
    for payload in await support.mails(api, to):
        message = Message(id=new_id("job"), created_at=system_clock(), **payload)
        mail = compose(message, Sender(), "Acme")
        text = mail.get_body(("plain",))
        assert text is not None
        assert text.get_content().strip()
        if message.template is not None:
            assert mail.get_body(("html",)) is not None
        assert "None" not in mail.as_string()
        found[message.template or str(message.subject)] = mail
    return found


def link_in(mail: EmailMessage) -> str:
    body = mail.get_body(("plain",))
    assert body is not None
    return re.findall(r"https?://\S+", body.get_content())[0]


async def test_every_mail_of_an_accounts_life_can_be_composed(api: Api, clock: MovingClock) -> None:
    seen: dict[str, EmailMessage] = {}
    ada = await api.found_company()
    seen |= await _invite(api, ada)
    seen |= await _password(api, ada)
    seen |= await _second_factor(api, clock)
    seen |= await _address(api, ada)
    seen |= await _helped_by_the_operator(api)
    assert set(TEMPLATES) - ELSEWHERE - BY_THE_VERB <= set(seen)
    assert set(seen) - set(TEMPLATES) == PLAIN


async def _invite(api: Api, ada: Person) -> dict[str, EmailMessage]:
    to = f"{new_id('x')}@example.com"
    answer = await ada.post("/invites", {"email": to, "role": "manager"})
    assert answer.status == 201, answer.body
    seen = await mailed(api, to)
    token = link_in(seen["invite"]).rpartition("/")[2]
    accept = {"name": "Ben", "password": PASSWORD}
    assert (await api.client().post(f"/invites/{token}/accept", accept)).status == 201
    return {**seen, **await mailed(api, ada.email)}


async def _password(api: Api, ada: Person) -> dict[str, EmailMessage]:
    await api.client().post("/auth/password/forgot", {"email": ada.email})
    seen = await mailed(api, ada.email)
    token = link_in(seen["password_reset"]).rpartition("=")[2]
    reset = {"token": token, "password": NEW}
    assert (await api.client().post("/auth/password/reset", reset)).status == 204
    stranger = api.client(peer="198.51.100.9", **{"user-agent": "curl/8"})
    login = await stranger.post("/auth/login", {"email": ada.email, "password": NEW})
    assert login.status == 200, login.body
    return await mailed(api, ada.email)


async def _second_factor(api: Api, clock: MovingClock) -> dict[str, EmailMessage]:
    eve = await api.found_company()
    app, codes = await set_up_mfa(eve, clock)
    token = await challenge(api, eve)
    assert (await answer_challenge(api, token, codes[0])).status == 200
    clock.advance(seconds=60)
    off = {"password": PASSWORD, "code": app.code()}
    assert (await eve.post("/auth/mfa/disable", off)).status == 204
    return await mailed(api, eve.email)


async def _address(api: Api, ada: Person) -> dict[str, EmailMessage]:
    browser = Browser(api)
    login = await browser.login(ada.email, NEW)
    bearer: Client = api.client(authorization=f"Bearer {login.json()['accessToken']}")
    assert (await bearer.post("/auth/step-up", {"password": NEW})).status == 204
    to = f"{new_id('x')}@example.com"
    await bearer.patch("/auth/me", {"email": to})
    seen = await mailed(api, to)
    token = link_in(seen["Confirm your new e-mail address"]).rpartition("=")[2]
    assert (await api.client().post("/auth/email/confirm", {"token": token})).status == 204
    copy = browser.cookies["novapulse_refresh"]
    await browser.refresh()
    api_clock: Any = api.runtime.clock
    api_clock.advance(seconds=60)
    assert (await browser.refresh_with(copy)).status == 401
    return {**seen, **await mailed(api, ada.email), **await mailed(api, to)}


async def _helped_by_the_operator(api: Api) -> dict[str, EmailMessage]:
    ada = await api.found_company()
    ben = await api.add_member(str(ada.company_id), Role.USER)
    clock: Any = api.runtime.clock
    await set_up_mfa(ben, clock)
    account = await api.identity.accounts.find(ben.id)
    assert account is not None
    await resets.reset_mfa(api.context(SYSTEM), account)
    await resets.reset_password(api.context(SYSTEM), account)
    seen = await mailed(api, ben.email)
    assert {"mfa_disabled", "password_changed"} <= set(seen)
    return {**seen, **await mailed(api, ada.email)}


def _queued_templates() -> Iterator[str]:
    """Names of templates in the sources, outside of the package that has them."""
    package = Path(novapulse.__path__[0])
    for path in package.rglob("*.py"):
        if path.parent.name != "mail":
            yield from re.findall(r'"([a-z_]+)"', path.read_text())


@pytest.mark.parametrize("template", sorted(set(TEMPLATES) - BY_THE_VERB))
def test_every_template_has_somebody_who_sends_it(template: str) -> None:
    assert template in set(_queued_templates())
