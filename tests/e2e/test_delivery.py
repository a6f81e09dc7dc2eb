"""From a task in the API to a signed request at somebody else's server."""

import hashlib
import hmac
import json
import time

import pytest
from standardwebhooks.webhooks import Webhook as StandardWebhook

from tests.support.appliance import SharedAppliance, note
from tests.support.receiver import Received, WebhookReceiver


def events_of(requests: list[Received], event_type: str) -> list[Received]:
    return [one for one in requests if one.headers["x-novapulse-event"] == event_type]


def verify(request: Received, secret: str) -> None:
    """Both signatures, each as its own documentation has it."""
    plain = hmac.new(secret.encode(), request.body, hashlib.sha256).hexdigest()
    assert request.headers["x-novapulse-signature"] == f"sha256={plain}"
    StandardWebhook(secret).verify(request.body, request.headers)


def test_a_created_task_arrives_signed_within_a_second(
    shared_appliance: SharedAppliance, receiver: WebhookReceiver
):
    admin = shared_appliance.admin
    webhook = admin.subscribe(receiver.url, "task.created")
    task = admin.create_task("Löschen – “done” \u2028 </script>")
    answered = time.monotonic()
    (request,) = receiver.wait_for(bool, seconds=5)
    note(f"received {(request.at - answered) * 1000:.0f} ms after the 201")
    verify(request, webhook["secret"])
    event = request.event
    assert (event["event"], event["version"]) == ("task.created", 1)
    assert event["id"] == request.headers["webhook-id"]
    assert event["data"] == {"task": task}
    assert event["sequence"] >= 1
    assert request.headers["content-type"] == "application/json"
    assert request.headers["x-novapulse-webhook-id"] == webhook["id"]
    assert request.headers["x-novapulse-attempt"] == "1"
    assert abs(int(request.headers["webhook-timestamp"]) - time.time()) < 30
    # A receiver that parses and writes it again gets the same bytes.
    compact = json.dumps(event, ensure_ascii=False, separators=(",", ":"))
    assert compact.encode() == request.body


def test_a_change_is_told_with_the_fields_that_changed(
    shared_appliance: SharedAppliance, receiver: WebhookReceiver
):
    admin = shared_appliance.admin
    webhook = admin.subscribe(receiver.url, "task.updated")
    task = admin.create_task("change me")
    changed = admin.call("PATCH", f"/tasks/{task['id']}", body={"status": "done"}).must(200)
    (request,) = receiver.wait_for(bool, seconds=5)
    verify(request, webhook["secret"])
    assert request.event["data"]["task"] == changed
    assert set(request.event["data"]["changed"]) == {"status", "completedAt"}


def test_events_are_numbered_in_the_order_of_their_creation(
    shared_appliance: SharedAppliance, receiver: WebhookReceiver
):
    admin = shared_appliance.admin
    admin.subscribe(receiver.url, "task.created")
    tasks = [admin.create_task(f"number {n}")["id"] for n in range(20)]
    requests = receiver.wait_for(lambda got: len(got) >= len(tasks), seconds=10)
    numbers = {one.event["data"]["task"]["id"]: one.event["sequence"] for one in requests}
    in_order = [numbers[task] for task in tasks]
    assert in_order == sorted(set(in_order))


def test_a_failed_delivery_is_repeated_unchanged_and_every_attempt_is_logged(
    shared_appliance: SharedAppliance, receiver: WebhookReceiver
):
    admin = shared_appliance.admin
    receiver.answer_next(500)
    webhook = admin.subscribe(receiver.url, "task.created")
    admin.create_task("try twice")
    first, second = receiver.wait_for(lambda got: len(got) == 2, seconds=20)
    note(f"repeated after {second.at - first.at:.2f} s")
    assert second.at - first.at >= 5  # never early; a busy machine may be late
    verify(first, webhook["secret"])
    verify(second, webhook["secret"])
    assert first.body == second.body
    for name in ("webhook-id", "x-novapulse-delivery"):
        assert first.headers[name] == second.headers[name]
    attempts = [one.headers["x-novapulse-attempt"] for one in (first, second)]
    assert attempts == ["1", "2"]
    log = wait_for_log(shared_appliance, webhook["id"], rows=2)
    assert [(row["attempt"], row["status"], row["class"]) for row in log] == [
        (2, 200, "ok"),
        (1, 500, "transient"),
    ]
    assert {row["deliveryId"] for row in log} == {first.headers["x-novapulse-delivery"]}


def wait_for_log(shared: SharedAppliance, webhook_id: str, *, rows: int) -> list[dict[str, object]]:
    """An attempt is logged right after its answer, in batches."""
    deadline = time.monotonic() + 5
    while True:
        log = shared.admin.get(f"/webhooks/{webhook_id}/logs").must(200)["data"]
        if len(log) >= rows:
            return log
        if time.monotonic() > deadline:
            pytest.fail(f"the log has {log}")
        time.sleep(0.05)


def test_a_receiver_that_is_gone_gets_nothing_more(
    shared_appliance: SharedAppliance, receiver: WebhookReceiver
):
    admin = shared_appliance.admin
    receiver.answer_next(410)
    webhook = admin.subscribe(receiver.url, "task.created")
    admin.create_task("gone")
    receiver.wait_for(bool, seconds=5)
    (row,) = wait_for_log(shared_appliance, webhook["id"], rows=1)
    assert (row["status"], row["class"]) == (410, "gone")


def test_what_a_webhook_did_not_ask_for_is_not_sent(
    shared_appliance: SharedAppliance, receiver: WebhookReceiver
):
    admin = shared_appliance.admin
    admin.subscribe(receiver.url, "task.updated")
    admin.subscribe(f"{receiver.url}/all", "*")
    admin.create_task("of no interest")
    receiver.wait_for(bool, seconds=5)
    admin.create_task("nor this")
    requests = receiver.wait_for(lambda got: len(got) == 2, seconds=5)
    assert {one.path for one in requests} == {"/hook/all"}
    assert events_of(requests, "task.created") == requests


def test_a_deleted_webhook_gets_nothing(
    shared_appliance: SharedAppliance, receiver: WebhookReceiver
):
    admin = shared_appliance.admin
    webhook = admin.subscribe(f"{receiver.url}/deleted", "task.created")
    admin.subscribe(f"{receiver.url}/kept", "task.created")
    admin.call("DELETE", f"/webhooks/{webhook['id']}").must(204)
    admin.create_task("after")
    (request,) = receiver.wait_for(bool, seconds=5)
    assert request.path == "/hook/kept"
