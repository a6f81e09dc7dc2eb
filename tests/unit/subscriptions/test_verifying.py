"""The receiver's end on the command line agrees with what is signed."""

import pytest

from novapulse.subscriptions.signing import new_secret, sign
from novapulse.subscriptions.verifying import Verdict, verify

SECRET, OTHER = new_secret(), new_secret()
BODY = '{"event":"task.created","data":"Ä"}'.encode()
NOW = 1_800_000_000


def signed(*live: str, at: int = NOW) -> dict[str, str]:
    made = sign(live, event_id="evt_1", timestamp=at, body=BODY)
    return {name.lower(): value for name, value in made.items()}


def test_what_was_signed_just_now_is_good() -> None:
    assert verify([SECRET], signed(SECRET), body=BODY, now=NOW + 299) is Verdict.GOOD
    assert verify([OTHER, SECRET], signed(SECRET), body=BODY, now=NOW) is Verdict.GOOD


def test_each_secret_of_an_overlap_verifies() -> None:
    for secret in (SECRET, OTHER):
        assert verify([secret], signed(SECRET, OTHER), body=BODY, now=NOW) is Verdict.GOOD


@pytest.mark.parametrize("kept", ["x-novapulse-signature", "webhook-signature"])
def test_one_of_the_two_signatures_is_enough(kept: str) -> None:
    dropped = {"x-novapulse-signature", "webhook-signature"} - {kept}
    headers = {name: value for name, value in signed(SECRET).items() if name not in dropped}
    assert verify([SECRET], headers, body=BODY, now=NOW) is Verdict.GOOD
    assert verify([SECRET], headers, body=BODY + b" ", now=NOW) is Verdict.WRONG


@pytest.mark.parametrize(
    "changed",
    [
        {"webhook-id": "evt_2"},
        {"webhook-timestamp": str(NOW + 1)},
        {"webhook-timestamp": ""},
        {"webhook-timestamp": "١٢٣"},
        {"webhook-timestamp": "9" * 400},
        {"webhook-signature": "v1,AAAA"},
        {"webhook-signature": "ä,ä"},
        {"x-novapulse-signature": "sha256=ä"},
    ],
)
def test_a_changed_header_is_noticed(changed: dict[str, str]) -> None:
    assert verify([SECRET], {**signed(SECRET), **changed}, body=BODY, now=NOW) is Verdict.WRONG


def test_another_secret_an_old_request_and_no_signature_are_told_apart() -> None:
    assert verify([OTHER], signed(SECRET), body=BODY, now=NOW) is Verdict.WRONG
    for now in (NOW - 301, NOW + 301):
        assert verify([SECRET], signed(SECRET), body=BODY, now=now) is Verdict.STALE
    old = NOW + 10**6
    assert (
        verify([SECRET], signed(SECRET), body=BODY, now=old, tolerance_seconds=None) is Verdict.GOOD
    )
    assert verify([SECRET], {}, body=BODY, now=NOW) is Verdict.UNSIGNED
