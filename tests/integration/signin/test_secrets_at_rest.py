"""Whoever reads the disk, Redis or the log finds nothing to sign in with."""

import base64

import pyotp
import pytest
from bson import json_util
from redis import Redis

from tests.support.api import PASSWORD, Api
from tests.support.signin import (
    App,
    Browser,
    MovingClock,
    answer_challenge,
    challenge,
    mails,
    set_up_mfa,
)
from tests.support.stores import RunningStores


async def test_no_collection_key_or_log_line_holds_a_secret(
    api: Api,
    stores: RunningStores,
    clock: MovingClock,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    ada = await api.found_company()
    browser = Browser(api)
    first = await browser.login(ada.email)
    again = await browser.refresh()
    once = {"idempotency-key": "set-up-once"}
    pending = (await ada.post("/auth/mfa/setup", {"password": PASSWORD}, headers=once)).json()
    app, codes = await set_up_mfa(ada, clock)
    token = await challenge(api, ada)
    await answer_challenge(api, token, codes[0])
    open_challenge = await challenge(api, ada)
    renewed = await ada.post("/auth/mfa/recovery-codes", {"password": PASSWORD, "code": app.code()})
    await api.client().post("/auth/password/forgot", {"email": ada.email})
    (link,) = [
        m["data"]["link"]
        for m in await mails(api, ada.email)
        if m.get("template") == "password_reset"
    ]
    clock.advance(seconds=60)
    await ada.post("/auth/step-up", {"password": PASSWORD, "code": app.code()})
    await ada.patch("/auth/me", {"email": "ada@rest.example"})
    (mail,) = await mails(api, "ada@rest.example")
    secrets = {
        "password": PASSWORD,
        "first refresh token": first.cookies["novapulse_refresh"],
        "second refresh token": again.cookies["novapulse_refresh"],
        "its secret part": again.cookies["novapulse_refresh"].split(".")[1],
        "access token": again.json()["accessToken"],
        "TOTP secret": app.secret,
        "pending TOTP secret": pending["secret"],
        "answered challenge": token,
        "open challenge": open_challenge,
        "reset token": link.partition("token=")[2],
        "e-mail token": mail["text"].partition("token=")[2].split()[0],
        **{f"recovery code {code}": code for code in [*codes, *renewed.json()["recoveryCodes"]]},
    }
    places = await dump(api, stores, logs=capfd.readouterr().out + caplog.text)
    for name, secret in secrets.items():
        for spelling in spellings(secret):
            for place, content in places.items():
                assert spelling not in content, f"{name} in {place}"
    assert "auth.signed_in" in places["logs"]
    assert ada.id in places["sessions"]


async def dump(api: Api, stores: RunningStores, *, logs: str) -> dict[str, str]:
    found = {name: json_util.dumps(await api.rows(name)) for name in await api.collections()}
    with Redis.from_url(stores.redis_url, decode_responses=True) as client:
        found["redis"] = " ".join(client.scan_iter(count=1_000))
    return {**found, "logs": logs}


def spellings(secret: str) -> set[str]:
    """As it is, without hyphens, and as binary values look in the dump."""
    plain = secret.replace("-", "")
    raw = {base64.b64encode(secret.encode()).decode(), base64.b64encode(plain.encode()).decode()}
    try:
        raw.add(pyotp.TOTP(secret).byte_secret().hex())
    except ValueError:
        pass
    return {secret, plain, *raw}


def test_the_app_of_these_tests_is_the_standards_own() -> None:
    assert App("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ", MovingClock()).code().isdigit()
