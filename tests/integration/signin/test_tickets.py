"""What was begun before a password was set, or an account disabled, is worth nothing after it."""

import re
from collections.abc import Awaitable, Callable

import pytest

from novapulse.core.access import SYSTEM, Role
from novapulse.identity.model import Account
from novapulse.people import accounts, resets
from novapulse.people.model import NewAccount
from novapulse.signin import passwords
from tests.support.api import PASSWORD, Answer, Api, Person
from tests.support.signin import (
    App,
    Browser,
    MovingClock,
    answer_challenge,
    challenge,
    mails,
    set_up_mfa,
)

NEW = "another long sentence"


@pytest.fixture(autouse=True)
def answers_need_no_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "PACE_SECONDS", 0.0)


@pytest.fixture
async def ann(api: Api) -> Person:
    """Somebody whose company has another administrator."""
    admin = await api.found_company()
    return await api.add_member(str(admin.company_id))


async def account_of(api: Api, person: Person) -> Account:
    account = await api.identity.accounts.find(person.id)
    assert account is not None
    return account


async def mailed_token(api: Api, to: str) -> str:
    mail = (await mails(api, to))[-1]
    found = re.search(r"\?token=([\w-]+)", mail["text"] if "text" in mail else mail["data"]["link"])
    assert found is not None, mail
    return found[1]


async def ask_for_address(api: Api, person: Person, email: str) -> str:
    """As whoever got hold of the password does; the token of the link in the mail."""
    assert (await person.post("/auth/step-up", {"password": PASSWORD})).status == 204
    assert (await person.patch("/auth/me", {"email": email})).status == 202
    return await mailed_token(api, email)


async def confirm(api: Api, token: str) -> Answer:
    return await api.client().post("/auth/email/confirm", {"token": token})


async def forgot(api: Api, email: str) -> str:
    answer = await api.client().post("/auth/password/forgot", {"email": email})
    assert answer.status == 202
    return await mailed_token(api, email)


async def reset(api: Api, token: str) -> Answer:
    command = {"token": token, "password": NEW}
    return await api.client().post("/auth/password/reset", command)


async def forget_and_reset(api: Api, person: Person) -> None:
    assert (await reset(api, await forgot(api, person.email))).status == 204


async def change(api: Api, person: Person) -> None:
    command = {"currentPassword": PASSWORD, "newPassword": NEW}
    assert (await person.post("/auth/password/change", command)).status == 204


async def have_the_operator_reset(api: Api, person: Person) -> None:
    await resets.reset_password(api.context(SYSTEM), await account_of(api, person))


async def disable_for_a_while(api: Api, person: Person) -> None:
    await accounts.disable_account(api.context(SYSTEM), await account_of(api, person))
    await accounts.enable_account(api.context(SYSTEM), await account_of(api, person))


Deed = Callable[[Api, Person], Awaitable[None]]
DEEDS: tuple[Deed, ...] = (forget_and_reset, change, have_the_operator_reset, disable_for_a_while)


@pytest.mark.parametrize("deed", DEEDS)
async def test_a_pending_change_of_the_address_is_withdrawn(
    api: Api, ann: Person, deed: Deed
) -> None:
    token = await ask_for_address(api, ann, f"new-{ann.email}")
    await deed(api, ann)
    late = await confirm(api, token)
    assert (late.status, late.code) == (410, "link_gone")
    assert (await account_of(api, ann)).user.email == ann.email


@pytest.mark.parametrize("deed", DEEDS)
async def test_an_open_link_for_a_password_is_withdrawn(api: Api, ann: Person, deed: Deed) -> None:
    await forgot(api, ann.email)
    token = await mailed_token(api, ann.email)
    if deed is forget_and_reset:
        assert (await reset(api, token)).status == 204
    else:
        await deed(api, ann)
    late = await reset(api, token)
    assert (late.status, late.code) == (410, "link_gone")


@pytest.mark.parametrize("deed", DEEDS)
async def test_a_sign_in_with_the_old_password_ends_before_its_second_factor(
    api: Api, ann: Person, clock: MovingClock, deed: Deed
) -> None:
    app, _ = await set_up_mfa(ann, clock)
    token = await challenge(api, ann)
    await deed(api, ann)
    late = await answer_challenge(api, token, app.code())
    assert (late.status, late.code) == (401, "bad_challenge")


async def test_an_operators_are_withdrawn_too(api: Api) -> None:
    email = "root@tickets.example"
    command = NewAccount(email=email, name="Root", role=Role.SUPER_ADMIN)
    await api.add_operator()
    await accounts.create_account(api.context(SYSTEM), command)
    account = await api.identity.accounts.find_by_email(email)
    assert account is not None
    token = await forgot(api, email)
    await accounts.disable_account(api.context(SYSTEM), account)
    enabled = await api.identity.accounts.find_by_email(email)
    assert enabled is not None
    await accounts.enable_account(api.context(SYSTEM), enabled)
    assert (await reset(api, token)).code == "link_gone"


async def test_what_others_asked_for_stays(api: Api, ann: Person) -> None:
    other = await api.found_company()
    token = await ask_for_address(api, other, f"new-{other.email}")
    await forget_and_reset(api, ann)
    assert (await confirm(api, token)).status == 204


async def test_the_old_address_hears_that_another_was_asked_for(api: Api, ann: Person) -> None:
    await ask_for_address(api, ann, f"new-{ann.email}")
    mail = (await mails(api, ann.email))[-1]
    assert mail["subject"] == "Another e-mail address was asked for"
    assert "change your password: that withdraws it" in mail["text"]
    assert "token" not in mail["text"]


async def test_the_old_address_hears_the_same_of_one_that_has_an_account(
    api: Api, ann: Person
) -> None:
    other = await api.found_company()
    before = len(await mails(api, other.email))
    await ask_for_address(api, ann, f"new-{ann.email}")
    assert (await ann.patch("/auth/me", {"email": other.email.upper()})).status == 202
    first, second = (await mails(api, ann.email))[-2:]
    assert second == first
    assert len(await mails(api, other.email)) == before


async def test_ones_own_address_again_is_nothing_to_tell(api: Api, ann: Person) -> None:
    await ann.post("/auth/step-up", {"password": PASSWORD})
    before = await mails(api, ann.email)
    assert (await ann.patch("/auth/me", {"email": ann.email.upper()})).status == 202
    assert await mails(api, ann.email) == before


async def test_a_mailed_reset_does_not_help_guessing_the_second_factor(
    api: Api, ann: Person, clock: MovingClock
) -> None:
    app, _ = await set_up_mfa(ann, clock)
    await guess(api, ann, app, times=4, password=PASSWORD)
    await forget_and_reset(api, ann)
    await guess(api, ann, app, times=1, password=NEW)
    right = await answer_challenge(api, await new_challenge(api, ann, NEW), app.code())
    assert (right.status, right.code) == (401, "bad_code"), "the fifth failure delays"
    clock.advance(seconds=60)
    right = await answer_challenge(api, await new_challenge(api, ann, NEW), app.code())
    assert right.status == 200, right.body


async def test_the_operators_unlock_forgets_wrong_codes(
    api: Api, ann: Person, clock: MovingClock
) -> None:
    app, _ = await set_up_mfa(ann, clock)
    await guess(api, ann, app, times=5, password=PASSWORD)
    await resets.unlock(api.context(SYSTEM), await account_of(api, ann))
    right = await answer_challenge(api, await challenge(api, ann), app.code())
    assert right.status == 200, right.body


async def guess(api: Api, person: Person, app: App, *, times: int, password: str) -> None:
    token = await new_challenge(api, person, password)
    for _ in range(times):
        assert (await answer_challenge(api, token, app.wrong())).code == "bad_code"


async def new_challenge(api: Api, person: Person, password: str) -> str:
    answer = await Browser(api).login(person.email, password)
    assert answer.code == "mfa_required"
    return str(answer.json()["challengeToken"])
