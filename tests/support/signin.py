"""What people do to sign in: a browser with its cookies, an authenticator app, a mailbox."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import msgspec
import pyotp
import pytest

from novapulse.core.clock import system_clock
from novapulse.core.jobs.rows import open_payload
from tests.support.api import PASSWORD, Answer, Api, Person, open_api
from tests.support.stores import RunningStores


class MovingClock:
    """Stands still unless the test puts it forward: a slow machine changes nothing."""

    def __init__(self) -> None:
        self._now = system_clock()

    def __call__(self) -> datetime:
        return self._now

    def advance(self, **by: float) -> None:
        self._now += timedelta(**by)


@dataclass
class App:
    """An authenticator app by the same clock."""

    secret: str
    clock: MovingClock

    @property
    def step(self) -> int:
        return int(self.clock().timestamp()) // 30

    def code(self, offset: int = 0) -> str:
        return pyotp.TOTP(self.secret).generate_otp(self.step + offset)

    def wrong(self) -> str:
        """Six digits that fit none of the steps around."""
        near = {self.code(offset) for offset in range(-6, 7)}
        return next(code for code in map("{:06}".format, range(20)) if code not in near)


@dataclass
class Browser:
    """Keeps what Set-Cookie says and sends it where it belongs; reads the CSRF cookie."""

    api: Api
    cookies: dict[str, str] = field(default_factory=dict)

    def took(self, answer: Answer) -> Answer:
        self.cookies |= answer.cookies
        return answer

    async def login(self, email: str, password: str = PASSWORD) -> Answer:
        data = {"email": email, "password": password}
        return self.took(await self.api.client().post("/auth/login", data))

    async def refresh(self, **headers: str) -> Answer:
        return self.took(await self.refresh_with(self.cookies["novapulse_refresh"], **headers))

    async def refresh_with(self, token: str, **headers: str) -> Answer:
        csrf = {"x-csrf-token": self.cookies.get("novapulse_csrf", "")}
        cookie = {"cookie": f"theme=dark; novapulse_refresh={token}"}
        return await self.api.client(**csrf, **cookie, **headers).post("/auth/refresh")


async def set_up_mfa(person: Person, clock: MovingClock) -> tuple[App, list[str]]:
    """Switch the second factor on; the app and the recovery codes."""
    told = (await person.post("/auth/mfa/setup", {"password": PASSWORD})).json()
    app = App(told["secret"], clock)
    answer = await person.post("/auth/mfa/verify", {"code": app.code()})
    assert answer.status == 200, answer.body
    clock.advance(seconds=60)  # the step that was used is behind us
    return app, told["recoveryCodes"]


async def challenge(api: Api, person: Person) -> str:
    data = {"email": person.email, "password": PASSWORD}
    answer = await api.client().post("/auth/login", data)
    assert (answer.status, answer.code) == (401, "mfa_required"), answer.body
    return str(answer.json()["challengeToken"])


async def answer_challenge(api: Api, token: str, code: str) -> Answer:
    data = {"challengeToken": token, "code": code}
    return await api.client().post("/auth/login/mfa", data)


async def mails(api: Api, to: str) -> list[dict[str, Any]]:
    """The mails on their way to somebody, oldest first, as the mail server would get them."""
    jobs = await api.rows("jobs", kind="mail.send")
    opened = [
        open_payload(
            job["payload"], ("data", "text", "html"), keys=api.runtime.keys, job_id=job["_id"]
        )
        for job in jobs
    ]
    return [msgspec.to_builtins(mail) for mail in opened if mail["to"] == to]


@pytest.fixture(scope="module")
def clock() -> MovingClock:
    return MovingClock()


@pytest.fixture(scope="module")
async def api(
    stores: RunningStores, tmp_path_factory: pytest.TempPathFactory, clock: MovingClock
) -> AsyncIterator[Api]:
    """One application a module, whose clock its tests put forward."""
    async with open_api(stores, tmp_path_factory.mktemp("api"), clock=clock) as opened:
        yield opened
