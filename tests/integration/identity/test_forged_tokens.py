"""Tokens that were not issued, or not for this: one answer to all of them."""

import base64
import json
from collections.abc import Callable
from typing import Any

import jwt
import pytest

from novapulse.identity.tokens import TokenKeys
from tests.support.api import Api, Person

Claims = dict[str, Any]
OTHER_SECRET = b"x" * 48


def b64(value: Any) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


class Forger:
    """Knows what a good token looks like, and the real key for what only looks good."""

    def __init__(self, person: Person, keys: TokenKeys) -> None:
        self.good = person.token
        self.keys = keys
        self.claims: Claims = jwt.decode(person.token, options={"verify_signature": False})

    def signed(self, *, head: Claims | None = None, without: str = "", **changes: Any) -> str:
        """With the real key, but other claims or another header."""
        claims = {k: v for k, v in (self.claims | changes).items() if k != without}
        secret = self.keys.keys[self.keys.current]
        kid = {"kid": self.keys.current}
        return jwt.encode(claims, secret, algorithm="HS256", headers=kid | (head or {}))

    def with_key(self, secret: bytes, *, algorithm: str = "HS256", **head: Any) -> str:
        """With another key or algorithm, and whatever header claims it is a good one."""
        kid = {"kid": self.keys.current}
        return jwt.encode(self.claims, secret, algorithm=algorithm, headers=kid | head)

    def unsigned(self, algorithm: str, signature: str = "") -> str:
        head = {"alg": algorithm, "typ": "JWT", "kid": self.keys.current}
        return f"{b64(head)}.{b64(self.claims)}.{signature}"


def spliced(forger: Forger) -> str:
    """The good token's signature under an administrator's claims."""
    head, _, signature = forger.good.split(".")
    return f"{head}.{b64(forger.claims | {'role': 'super_admin'})}.{signature}"


FORGERIES: dict[str, Callable[[Forger], str]] = {
    "alg none": lambda f: f.unsigned("none"),
    "alg None with a signature": lambda f: f.unsigned("None", f.good.split(".")[2]),
    "alg empty": lambda f: f.unsigned(""),
    "no signature": lambda f: f.unsigned("HS256"),
    "another key": lambda f: f.with_key(OTHER_SECRET),
    "the empty key": lambda f: f.unsigned("HS256", b64(b"")),
    "HS384 with the real key": lambda f: f.with_key(f.keys.keys[f.keys.current], algorithm="HS384"),
    "unknown kid": lambda f: f.with_key(OTHER_SECRET, kid="mine"),
    "kid is a path": lambda f: f.with_key(b"\0" * 32, kid="../../dev/zero"),
    "kid is a list": lambda f: f"{b64({'alg': 'HS256', 'kid': ['a']})}.{b64(f.claims)}.c2ln",
    "no kid": lambda f: f"{b64({'alg': 'HS256', 'typ': 'JWT'})}.{b64(f.claims)}.c2ln",
    "own key in the header": lambda f: f.with_key(OTHER_SECRET, jwk={"kty": "oct", "k": "eA"}),
    "key address in the header": lambda f: f.with_key(OTHER_SECRET, jku="https://evil.example/k"),
    "expired": lambda f: f.signed(exp=f.claims["iat"] - 3600, iat=f.claims["iat"] - 7200),
    "not yet valid": lambda f: f.signed(nbf=f.claims["iat"] + 3600),
    "issued tomorrow": lambda f: f.signed(iat=f.claims["iat"] + 86_400),
    "for somebody else": lambda f: f.signed(aud="another-api"),
    "by somebody else": lambda f: f.signed(iss="evil"),
    "another kind": lambda f: f.signed(typ="refresh"),
    "kind is a list": lambda f: f.signed(typ=["access"]),
    "unknown role": lambda f: f.signed(role="root"),
    "subject is a number": lambda f: f.signed(sub=1),
    "session is an operator": lambda f: f.signed(sid={"$ne": None}),
    **{
        f"without {claim}": lambda f, claim=claim: f.signed(without=claim)
        for claim in ("exp", "iat", "nbf", "sub", "aud", "iss", "sid", "jti", "typ")
    },
    "spliced": spliced,
    "cut off": lambda f: f.good[:-1],
    "with something behind": lambda f: f.good + "x",
    "one part": lambda f: "garbage",
    "two parts": lambda f: "a.b",
    "four parts": lambda f: f.good + ".x",
    "dots": lambda f: "..",
    "not base64": lambda f: "ä.ö.ü",
    "payload is a list": lambda f: f"{f.good.split('.')[0]}.{b64([1])}.{f.good.split('.')[2]}",
    "deeply nested header": lambda f: f"{b64(b'[' * 9_000)}.e30.c2ln",
    "huge number in the header": lambda f: b64(b'{"alg":' + b"9" * 9_000 + b"}") + ".e30.c2ln",
}


@pytest.fixture(scope="module")
async def ada(api: Api) -> Person:
    return await api.found_company()


@pytest.fixture(scope="module")
async def expected(api: Api) -> tuple[int, bytes]:
    """The answer to a token that is nothing at all."""
    answer = await api.client(authorization="Bearer nonsense").get("/auth/me")
    return answer.status, answer.anonymous_body()


@pytest.mark.parametrize("name", FORGERIES)
async def test_a_forged_token_is_answered_like_every_other(
    api: Api, ada: Person, expected: tuple[int, bytes], name: str
) -> None:
    token = FORGERIES[name](Forger(ada, api.identity.keys))
    client = api.client(authorization=f"Bearer {token}".encode().decode("latin-1"))
    answer = await client.get("/auth/me")
    assert (answer.status, answer.anonymous_body()) == expected
    assert answer.status == 401
    assert "www-authenticate" in answer.headers


async def test_the_forgers_good_token_is_good(api: Api, ada: Person) -> None:
    forger = Forger(ada, api.identity.keys)
    for token in (forger.good, forger.signed()):
        assert (await api.client(authorization=f"Bearer {token}").get("/auth/me")).status == 200


async def test_what_a_token_claims_of_role_and_company_is_not_believed(
    api: Api, ada: Person
) -> None:
    # The session decides; a token with other claims is no more than its session.
    eve = await api.found_company()
    bob = await api.add_member(str(ada.company_id))
    forged = Forger(bob, api.identity.keys).signed(
        role="company_admin", cid=eve.company_id, sub=eve.id
    )
    told = (await api.client(authorization=f"Bearer {forged}").get("/auth/me")).json()
    assert "id" not in told or (told["id"], told["role"]) == (bob.id, "user")


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer ", "Basic YTpi", "Token x", "bearer", "Bearer  "]
)
async def test_another_scheme_is_no_credential(api: Api, header: str) -> None:
    answer = await api.client(authorization=header).get("/auth/me")
    assert (answer.status, answer.code) == (401, "unauthenticated")


async def test_the_scheme_may_be_written_in_any_case(api: Api, ada: Person) -> None:
    client = api.client(authorization=f"bEaReR {ada.token}")
    assert (await client.get("/auth/me")).status == 200


@pytest.mark.parametrize("place", ["access_token", "token", "authorization"])
async def test_a_token_in_the_query_is_no_credential(api: Api, ada: Person, place: str) -> None:
    assert (await api.client().get(f"/auth/me?{place}={ada.token}")).status == 401
