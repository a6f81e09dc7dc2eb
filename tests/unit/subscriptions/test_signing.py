import base64
import hashlib
import hmac
import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from novapulse.subscriptions.signing import new_secret, sign

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BODY = b'{"test": 2432232314}'
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def signed(*live_secrets: str, body: bytes = BODY) -> dict[str, str]:
    return sign(
        live_secrets,
        event_id="msg_p5jXN8AQM9LWM0D4loKWxJek",
        timestamp=1_614_265_330,
        body=body,
    )


def test_the_vector_of_standard_webhooks_is_met() -> None:
    headers = signed(SECRET)
    assert headers["webhook-id"] == "msg_p5jXN8AQM9LWM0D4loKWxJek"
    assert headers["webhook-timestamp"] == "1614265330"
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_plain_signature_is_keyed_with_the_secret_as_it_is_shown() -> None:
    expected = hmac.new(SECRET.encode(), BODY, hashlib.sha256).hexdigest()
    assert signed(SECRET)["X-NovaPulse-Signature"] == f"sha256={expected}"


def test_a_new_secret_holds_32_bytes_and_is_never_the_same() -> None:
    secrets = {new_secret() for _ in range(100)}
    assert len(secrets) == 100
    for secret in secrets:
        assert secret.startswith("whsec_")
        assert len(base64.b64decode(secret.removeprefix("whsec_"), validate=True)) == 32


def test_one_secret_alone_has_no_previous_signature() -> None:
    assert "X-NovaPulse-Signature-Previous" not in signed(SECRET)


def test_every_live_secret_signs_while_they_overlap() -> None:
    newest, outgoing, oldest = new_secret(), new_secret(), new_secret()
    headers = signed(newest, outgoing, oldest)
    assert headers["X-NovaPulse-Signature"] == signed(newest)["X-NovaPulse-Signature"]
    assert headers["X-NovaPulse-Signature-Previous"] == signed(outgoing)["X-NovaPulse-Signature"]
    assert headers["webhook-signature"].split(" ") == [
        signed(secret)["webhook-signature"] for secret in (newest, outgoing, oldest)
    ]


def test_the_list_of_standard_signatures_holds_nothing_else() -> None:
    headers = signed(new_secret(), new_secret())
    for entry in headers["webhook-signature"].split(" "):
        version, signature = entry.split(",")
        assert version == "v1"
        assert len(base64.b64decode(signature, validate=True)) == 32


@given(payload=JSON_VALUES, others=st.integers(min_value=0, max_value=4), place=st.data())
def test_an_independent_verifier_accepts_every_payload_with_any_live_secret(
    payload: object, others: int, place: st.DataObject
) -> None:
    body = json.dumps(payload, ensure_ascii=False).encode("utf-8", "surrogatepass")
    try:
        body.decode()
    except UnicodeDecodeError:
        body = json.dumps(payload).encode()
    secrets = [new_secret() for _ in range(others + 1)]
    headers = sign(secrets, event_id="evt_1", timestamp=int(time.time()), body=body)
    secret = place.draw(st.sampled_from(secrets))
    Webhook(secret).verify(body, headers, json_parse=False)
    plain = hmac.new(secrets[0].encode(), body, hashlib.sha256).hexdigest()
    assert headers["X-NovaPulse-Signature"] == f"sha256={plain}"


def test_an_independent_verifier_refuses_another_body_time_or_secret() -> None:
    now = int(time.time())
    headers = sign([SECRET], event_id="evt_1", timestamp=now, body=BODY)
    Webhook(SECRET).verify(BODY, headers)
    for changed in (
        {"webhook-id": "evt_2"},
        {"webhook-timestamp": str(now - 1)},
        {"webhook-timestamp": str(now - 3_600)},
    ):
        with pytest.raises(WebhookVerificationError):
            Webhook(SECRET).verify(BODY, {**headers, **changed})
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(BODY + b" ", headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(new_secret()).verify(BODY, headers)


@pytest.mark.parametrize("broken", ["", "secret", "whsec_", "whsec_ä", "whsec_a", SECRET[6:]])
def test_a_broken_secret_is_an_error_that_does_not_show_it(broken: str) -> None:
    with pytest.raises(ValueError, match="a signing secret is") as refused:
        signed(broken)
    assert broken not in str(refused.value) or broken in ("", "secret", "whsec_")


def test_nothing_is_sent_unsigned() -> None:
    with pytest.raises(ValueError, match="at least one"):
        signed()
