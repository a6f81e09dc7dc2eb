"""Webhooks as those who run them meet them: secrets change, deliveries are held and replayed."""

import json
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook as StandardWebhook
from standardwebhooks.webhooks import WebhookVerificationError

from tests.support.appliance import PROGRAM, Client, SharedAppliance
from tests.support.receiver import Received, WebhookReceiver

# A dispatcher goes by what a webhook was at most a second ago.
NOTICED_SECONDS = 1.2


def accepts(secret: str, request: Received) -> bool:
    try:
        StandardWebhook(secret).verify(request.body, request.headers)
    except WebhookVerificationError:
        return False
    return True


def test_both_secrets_verify_during_the_overlap_and_only_the_new_one_after_it(
    shared_appliance: SharedAppliance, receiver: WebhookReceiver
):
    admin = shared_appliance.admin
    webhook = admin.subscribe(receiver.url, "task.created")
    path, former = f"/webhooks/{webhook['id']}", webhook["secret"]
    admin.create_task("before")
    (before,) = receiver.wait_for(bool, seconds=10)
    assert accepts(former, before)
    overlap = 4
    newest = admin.post(f"{path}/rotate-secret", {"overlapSeconds": overlap}).must(200)["secret"]
    rotated = time.monotonic()
    time.sleep(NOTICED_SECONDS)
    admin.create_task("during")
    during = receiver.wait_for(lambda got: len(got) == 2, seconds=10)[-1]
    assert accepts(former, during)
    assert accepts(newest, during)
    assert "x-novapulse-signature-previous" in during.headers
    time.sleep(max(0.0, rotated + overlap + 0.1 - time.monotonic()))
    first = admin.get(f"{path}/deliveries").must(200)["data"][-1]
    replayed = admin.post(f"/webhooks/deliveries/{first['id']}/replay", None).must(202)
    after = receiver.wait_for(lambda got: len(got) == 3, seconds=10)[-1]
    assert (accepts(former, after), accepts(newest, after)) == (False, True)
    assert "x-novapulse-signature-previous" not in after.headers
    # The replay is the same event, byte for byte, by another delivery and at another time.
    assert after.body == before.body
    assert after.headers["webhook-id"] == before.headers["webhook-id"]
    assert after.headers["x-novapulse-delivery"] == replayed["id"] != first["id"]
    assert after.headers["webhook-timestamp"] > before.headers["webhook-timestamp"]


def test_what_happens_during_a_pause_arrives_after_it(
    shared_appliance: SharedAppliance, receiver: WebhookReceiver
):
    admin = shared_appliance.admin
    webhook = admin.subscribe(f"{receiver.url}/held", "task.created")
    admin.subscribe(f"{receiver.url}/other", "task.created")
    path = f"/webhooks/{webhook['id']}"
    admin.post(f"{path}/pause", None).must(200)
    time.sleep(NOTICED_SECONDS)
    task = admin.create_task("held back")
    receiver.wait_for(bool, seconds=10)
    (delivery,) = admin.get(f"{path}/deliveries?state=held").must(200)["data"]
    assert [one.path for one in receiver.requests] == ["/hook/other"]
    admin.post(f"{path}/resume", None).must(200)
    held = receiver.wait_for(lambda got: len(got) == 2, seconds=20)[-1]
    assert held.path == "/hook/held"
    assert held.event["data"]["task"]["id"] == task["id"]
    assert held.headers["x-novapulse-delivery"] == delivery["id"]


def verb(shared: SharedAppliance, *words: str) -> tuple[int, Any]:
    """Exit code and document of `novapulse webhook …`."""
    done = shared.appliance.cli("webhook", *words, "--json")
    return done.returncode, json.loads(done.stdout)


def of(admin: Client) -> str:
    return str(admin.get("/company").must(200)["id"])


def test_the_verbs_list_test_and_replay(
    shared_appliance: SharedAppliance, receiver: WebhookReceiver
):
    admin = shared_appliance.admin
    webhook = admin.subscribe(receiver.url, "task.created")
    code, listed = verb(shared_appliance, "list", "--company", of(admin))
    assert (code, listed["schema"]) == (0, 1)
    (mine,) = [one for one in listed["webhooks"] if one["id"] == webhook["id"]]
    assert (mine["companyId"], mine["state"]) == (of(admin), "active")
    assert webhook["secret"] not in json.dumps(listed)
    code, tested = verb(shared_appliance, "test", webhook["id"])
    assert (code, tested["ok"], tested["attempt"]["trigger"]) == (0, True, "test")
    admin.create_task("once")
    receiver.wait_for(lambda got: len(got) == 2, seconds=10)
    _, found = verb(shared_appliance, "deliveries", webhook["id"], "--event", "task.created")
    (delivery,) = found["deliveries"]
    code, again = verb(shared_appliance, "replay", delivery["id"])
    assert (code, again["delivery"]["eventId"]) == (0, delivery["eventId"])
    receiver.wait_for(lambda got: len(got) == 3, seconds=10)
    since = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(time.time() - 60))
    code, begun = verb(shared_appliance, "recover", webhook["id"], "--since", since)
    assert (code, begun["recovery"]["jobId"][:4]) == (0, "job_")
    (event,) = admin.get(f"/audit?resource={again['delivery']['id']}").must(200)["data"]
    assert (event["action"], event["actor"]["via"]) == ("delivery.replayed", "cli")


def test_a_verb_on_what_is_not_there_exits_66(shared_appliance: SharedAppliance):
    for words in (["deliveries", "0" * 24], ["replay", f"dlv_{'0' * 26}"]):
        code, problem = verb(shared_appliance, *words)
        assert (code, problem["code"]) == (66, "not_found"), words


def test_a_test_that_fails_exits_1(shared_appliance: SharedAppliance, receiver: WebhookReceiver):
    receiver.answer_next(500)
    webhook = shared_appliance.admin.subscribe(receiver.url, "task.created")
    done = shared_appliance.appliance.cli("webhook", "test", webhook["id"])
    assert done.returncode == 1
    assert done.stdout.startswith("transient: answered 500")


def test_listen_receives_verifies_and_keeps_what_verify_reads(
    shared_appliance: SharedAppliance, tmp_path: Path
):
    admin = shared_appliance.admin
    secret, kept = tmp_path / "secret", tmp_path / "kept"
    secret.write_text("")
    arguments = ["--count", "2", "--seconds", "40", "--save", str(kept), "--json"]
    with subprocess.Popen(
        [PROGRAM, "webhook", "listen", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as listening:
        assert listening.stdout is not None
        try:
            url = json.loads(listening.stdout.readline())["listening"]
            webhook = admin.subscribe(url, "task.created")
            secret.write_text(webhook["secret"])
            admin.create_task("for the listener")
            arrival = json.loads(listening.stdout.readline())
            admin.post(f"/webhooks/{webhook['id']}/test", None).must(200)
            assert listening.wait(20) == 0
        finally:
            listening.kill()
    assert arrival["headers"]["x-novapulse-event"] == "task.created"
    assert arrival["verdict"] is None
    first, second = sorted(kept.iterdir())
    assert verify(first, secret) == (0, {"schema": 1, "ok": True, "verdict": "good"})
    assert verify(second, secret)[0] == 0
    first.write_bytes(first.read_bytes() + b" ")
    assert verify(first, secret) == (1, {"schema": 1, "ok": False, "verdict": "wrong"})


def verify(request: Path, secret: Path) -> tuple[int, Any]:
    done = subprocess.run(
        [PROGRAM, "webhook", "verify", str(request), "--secret-file", str(secret), "--json"],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    return done.returncode, json.loads(done.stdout)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ([], "name a --secret-file"),
        (["--secret-file", "SECRET"], "no empty line"),
        (["--secret-file", "BAD"], "a signing secret is whsec_"),
    ],
)
def test_a_wrong_use_of_verify_exits_2(words: list[str], text: str, tmp_path: Path):
    (tmp_path / "good").write_text("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    (tmp_path / "bad").write_text("s3cret")
    names = {"SECRET": str(tmp_path / "good"), "BAD": str(tmp_path / "bad")}
    done = subprocess.run(
        [PROGRAM, "webhook", "verify", *(names.get(word, word) for word in words)],
        input="no headers",
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.returncode == 2
    assert text in done.stderr
    assert "s3cret" not in done.stderr
