"""What we sign, judged by others: two libraries, openssl, Node, and a receiver of the old kind."""

import base64
import hashlib
import hmac
import json
import os
import shutil
import subprocess
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook as StandardWebhook

from novapulse.subscriptions.signing import new_secret, sign
from tests.support.payloads import payloads

GUIDE = Path(__file__).parents[3] / "docs" / "guides" / "receiving-webhooks.md"
BODIES = payloads()
needs_node = pytest.mark.skipif(
    shutil.which("node") is None, reason="NOT TESTED: this receiver needs node, which is not here"
)
needs_openssl = pytest.mark.skipif(
    shutil.which("openssl") is None, reason="NOT TESTED: this sample needs openssl, not here"
)


def signed(body: bytes, *live: str) -> dict[str, str]:
    event_id = json.loads(body)["id"]
    made = sign(live, event_id=event_id, timestamp=int(time.time()), body=body)
    return {name.lower(): value for name, value in made.items()}


@pytest.fixture(scope="module")
def secret() -> str:
    return new_secret()


@pytest.fixture(scope="module")
def deliveries(secret: str) -> list[tuple[bytes, dict[str, str]]]:
    """A thousand bodies with their headers."""
    return [(body, signed(body, secret)) for body in BODIES]


def fences(language: str) -> list[str]:
    """The code of the guide's blocks in one language."""
    parts = GUIDE.read_text().split("\n```")
    return [code for kind, _, code in (part.partition("\n") for part in parts) if kind == language]


def test_the_payloads_are_a_thousand_different_ones_and_not_only_ascii() -> None:
    assert len(set(BODIES)) == 1_000
    assert sum(not body.isascii() for body in BODIES) > 500


def test_standardwebhooks_accepts_all(
    secret: str, deliveries: list[tuple[bytes, dict[str, str]]]
) -> None:
    verifier = StandardWebhook(secret)
    for body, headers in deliveries:
        assert verifier.verify(body, headers) == json.loads(body)


def test_svix_accepts_all(secret: str, deliveries: list[tuple[bytes, dict[str, str]]]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the library's own imports
        svix = pytest.importorskip("svix.webhooks", reason="NOT TESTED: svix is not installed")
    verifier = svix.Webhook(secret)
    for body, headers in deliveries:
        verifier.verify(body, headers)
    with pytest.raises(svix.WebhookVerificationError):
        verifier.verify(BODIES[0] + b" ", deliveries[0][1])


OPENSSL_LOOP = """
set -u
n=0
while [ -f "$DIRECTORY/$n.body" ]; do
  BODY_FILE="$DIRECTORY/$n.body"
  . "$DIRECTORY/$n.headers"
  %s
  n=$((n + 1))
done
"""


@needs_openssl
@pytest.mark.parametrize("number", [0, 1], ids=["plain", "standard"])
def test_the_shell_sample_accepts_every_tenth(
    secret: str, deliveries: list[tuple[bytes, dict[str, str]]], number: int, tmp_path: Path
) -> None:
    """With openssl; a hundred of the thousand, because each costs a handful of processes.

    WEBHOOK_SIGNATURES=all takes them all.
    """
    step = 1 if os.environ.get("WEBHOOK_SIGNATURES") == "all" else 10
    chosen = deliveries[::step]
    for place, (body, headers) in enumerate(chosen):
        (tmp_path / f"{place}.body").write_bytes(body)
        (tmp_path / f"{place}.headers").write_text(
            f"SIGNATURE='{headers['x-novapulse-signature']}'\n"
            f"WEBHOOK_ID='{headers['webhook-id']}'\n"
            f"WEBHOOK_TIMESTAMP='{headers['webhook-timestamp']}'\n"
            f"WEBHOOK_SIGNATURE='{headers['webhook-signature']}'\n"
        )
    done = subprocess.run(
        ["sh", "-c", OPENSSL_LOOP % fences("sh")[number]],
        env={"PATH": os.environ["PATH"], "SECRET": secret, "DIRECTORY": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=55,
        check=False,
    )
    assert done.stderr == ""
    assert done.stdout.count("The signature is good") == len(chosen)


def run_node(program: str, given: Any) -> Any:
    done = subprocess.run(
        ["node", "-e", program],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def cases(secret: str, deliveries: list[tuple[bytes, dict[str, str]]]) -> Iterator[list[Any]]:
    for body, headers in deliveries:
        yield [secret, base64.b64encode(body).decode(), headers]


@needs_node
def test_the_guides_javascript_accepts_all(
    secret: str, deliveries: list[tuple[bytes, dict[str, str]]]
) -> None:
    (code,) = fences("js")
    driver = """
    const cases = JSON.parse(require("node:fs").readFileSync(0, "utf8"));
    console.log(JSON.stringify(cases.map(([secret, body, headers]) => {
      const raw = Buffer.from(body, "base64");
      return isSigned(secret, raw, headers) && isFreshAndSigned(secret, raw, headers);
    })));
    """
    assert run_node(code + driver, list(cases(secret, deliveries))) == [True] * len(deliveries)


# As a receiver was once told to do it: the body is parsed, and what is parsed is signed again.
CLASSIC_RECEIVER = """
const crypto = require('crypto');
const cases = JSON.parse(require("node:fs").readFileSync(0, "utf8"));
console.log(JSON.stringify(cases.map(([webhookSecret, body, headers]) => {
  const payload = JSON.parse(Buffer.from(body, "base64").toString("utf8"));
  const signature = crypto
    .createHmac('sha256', webhookSecret)
    .update(JSON.stringify(payload))
    .digest('hex');
  const expected = `sha256=${signature}`;
  return expected === headers['x-novapulse-signature'];
})));
"""


@needs_node
def test_a_receiver_that_writes_the_payload_again_accepts_all(
    secret: str, deliveries: list[tuple[bytes, dict[str, str]]]
) -> None:
    found = run_node(CLASSIC_RECEIVER, list(cases(secret, deliveries)))
    assert found == [True] * len(deliveries)


def test_while_two_secrets_overlap_each_accepts_all() -> None:
    newest, former, stranger = new_secret(), new_secret(), new_secret()
    for body in BODIES[:200]:
        headers = signed(body, newest, former)
        for secret in (newest, former):
            StandardWebhook(secret).verify(body, headers)
        with pytest.raises(Exception, match="No matching signature"):
            StandardWebhook(stranger).verify(body, headers)
        for name, secret in (("", newest), ("-previous", former)):
            digest = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
            assert headers[f"x-novapulse-signature{name}"] == f"sha256={digest}"
