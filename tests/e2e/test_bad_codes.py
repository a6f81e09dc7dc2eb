"""Bad codes at the doors of the running program: used up, of no shape, of another kind.

What a second factor does in all its states is tested in tests/integration/signin;
here each kind of bad code meets the real program once, with its exact answer.
"""

import time
from collections.abc import Iterator
from typing import Any

import pyotp
import pytest

from tests.support.appliance import (
    OPEN_CONFIG,
    PASSWORD,
    Answer,
    Appliance,
    Client,
    appliance_in_temporary_root,
)


class Holder:
    """Somebody with a second factor, in a company of their own."""

    def __init__(self, appliance: Appliance) -> None:
        self.appliance = appliance
        client = appliance.found_company(name="Codes")
        self.email = client.get("/auth/me").must(200)["email"]
        told = client.post("/auth/mfa/setup", {"password": PASSWORD}).must(200)
        self.recovery_codes: list[str] = told["recoveryCodes"]
        self.totp = pyotp.TOTP(told["secret"])
        self.step = int(time.time()) // 30
        self.first_code = self.code()
        client.post("/auth/mfa/verify", {"code": self.first_code}).must(200)

    def code(self, later: int = 0) -> str:
        """The code of the step of the beginning, or of one soon after; two steps off are taken."""
        return self.totp.generate_otp(self.step + later)

    def answer(self, code: Any) -> Answer:
        """What a new challenge answers to it."""
        login = {"email": self.email, "password": PASSWORD}
        challenge = Client(self.appliance).post("/auth/login", login).must(401)
        assert challenge["code"] == "mfa_required"
        proof = {"challengeToken": challenge["challengeToken"], "code": code}
        return Client(self.appliance).post("/auth/login/mfa", proof)


@pytest.fixture(scope="module")
def holder() -> Iterator[Holder]:
    with appliance_in_temporary_root(OPEN_CONFIG) as appliance:
        appliance.start()
        yield Holder(appliance)


def test_the_code_that_switched_it_on_is_used_up(holder: Holder) -> None:
    assert holder.answer(holder.first_code).must(401)["code"] == "bad_code"


def test_a_code_is_taken_once(holder: Holder) -> None:
    code = holder.code(later=1)
    holder.answer(code).must(200)
    assert holder.answer(code).must(401)["code"] == "bad_code"


def test_a_code_of_a_step_before_a_used_one_is_not_taken(holder: Holder) -> None:
    holder.answer(holder.code(later=2)).must(200)
    assert holder.answer(holder.code(later=1)).must(401)["code"] == "bad_code"


def test_a_recovery_code_is_taken_once_however_it_is_spelt(holder: Holder) -> None:
    code = holder.recovery_codes[0]
    holder.answer(code).must(200)
    for spelt in (code, code.replace("-", ""), code.upper()):
        assert holder.answer(spelt).must(401)["code"] == "bad_code"
    holder.answer(holder.recovery_codes[1]).must(200)  # the account is not delayed


NO_CODES = {
    "full-width digits": "１２３４５６",
    "Arabic digits": "٠١٢٣٤٥",
    "superscript digits": "²³¹²³¹",
    "one full-width digit": "12345６",
    "a space inside": "123 456",
    "a space before": " 123456",
    "a space after": "123456 ",
    "a line feed after": "123456\n",
    "an integer": 123_456,
    "a fraction": 123_456.0,
    "null": None,
    "true": True,
    "a list": ["123456"],
    "an operator": {"$ne": ""},
    "nothing": "",
    "five digits": "12345",
    "seven digits": "1234567",
    "a sign": "+12345",
    "half a recovery code": "aaaa-bbbb-cccc-dddd",
    "a recovery code of other letters": "-".join(["wxyz"] * 8),
}


@pytest.mark.parametrize("name", NO_CODES)
def test_what_is_no_code_is_unacceptable(holder: Holder, name: str) -> None:
    problem = holder.answer(NO_CODES[name]).must(422)
    assert problem["code"] == "invalid"
    assert [error["path"] for error in problem["errors"]] == ["code"]


CHALLENGES = {"made up": "x" * 43, "empty": "", "an operator": {"$ne": ""}, "a number": 1}


@pytest.mark.parametrize("name", CHALLENGES)
def test_what_is_no_challenge_is_none(holder: Holder, name: str) -> None:
    proof = {"challengeToken": CHALLENGES[name], "code": holder.code(later=2)}
    answer = Client(holder.appliance).post("/auth/login/mfa", proof)
    if isinstance(CHALLENGES[name], str):
        assert answer.must(401)["code"] == "bad_challenge"
    else:
        assert [error["path"] for error in answer.must(422)["errors"]] == ["challengeToken"]
