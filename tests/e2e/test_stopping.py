"""SIGTERM while clients are at work, told once: who was asked answers, nobody stays behind."""

import http.client
import json
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.support.appliance import (
    OPEN_CONFIG,
    Appliance,
    Client,
    appliance_in_temporary_root,
    note,
)
from tests.support.receiver import WebhookReceiver, webhook_receiver

pytestmark = pytest.mark.slow
LEAST_ANSWERS = 20


class KeepAliveClient(threading.Thread):
    """Asks on one connection without a pause, GET and POST in turn, until it is to close.

    With `reconnects` it goes on with a new connection until that is refused.
    `faults` are requests that went out and came back with no answer, or with a
    part of one.
    """

    def __init__(self, client: Client, address: str, *, reconnects: bool) -> None:
        super().__init__()
        self._address = address
        self._headers = {**client.headers, "Content-Type": "application/json"}
        self._reconnects = reconnects
        self.statuses: Counter[int] = Counter()
        self.task_ids: list[str] = []
        self.faults: list[str] = []
        self.was_asked_to_close = False

    def run(self) -> None:
        while self._use_one_connection() and self._reconnects:
            pass

    def _use_one_connection(self) -> bool:
        """Until the server asks to close it; False when it ends otherwise."""
        connection = http.client.HTTPConnection(self._address, timeout=15)
        try:
            connection.connect()
        except OSError:
            return False
        answers = 0
        try:
            while self._ask(connection, is_get=answers % 2 == 0):
                answers += 1
        except (OSError, http.client.HTTPException) as error:
            self.faults.append(f"{error!r} after {answers} answers on its connection")
            return False
        finally:
            connection.close()
        return True

    def _ask(self, connection: http.client.HTTPConnection, *, is_get: bool) -> bool:
        if is_get:
            connection.request("GET", "/api/v1/tasks?limit=20", headers=self._headers)
        else:
            body = json.dumps({"title": "under load"})
            connection.request("POST", "/api/v1/tasks", body, self._headers)
        with connection.getresponse() as response:
            content = response.read()
        self.statuses[response.status] += 1
        if response.status == 201:
            self.task_ids.append(json.loads(content)["id"])
        self.was_asked_to_close = response.getheader("Connection", "") == "close"
        return not self.was_asked_to_close


@dataclass(frozen=True)
class Stop:
    """A stop while eight clients work, one uploads slowly, one is idle and a receiver failed."""

    appliance: Appliance
    receiver: WebhookReceiver
    admin: Client
    retried_task_id: str
    staying: list[KeepAliveClient]
    reconnecting: list[KeepAliveClient]
    upload: bytes
    code: int
    seconds: float
    left: set[int]


@pytest.fixture(scope="module")
def stop() -> Iterator[Stop]:
    with appliance_in_temporary_root(OPEN_CONFIG) as one, webhook_receiver() as receiver:
        one.start()
        admin = one.found_company()
        admin.subscribe(receiver.url, "task.created")
        receiver.answer_next(503)
        retried = admin.create_task("try again")["id"]
        receiver.wait_for(bool, seconds=5)
        staying = [KeepAliveClient(admin, one.address, reconnects=False) for _ in range(4)]
        reconnecting = [KeepAliveClient(admin, one.address, reconnects=True) for _ in range(4)]
        for client in (*staying, *reconnecting):
            client.start()
        host, port = one.address.split(":")
        where = (host, int(port))
        with (
            socket.create_connection(where, timeout=15) as uploading,
            socket.create_connection(where) as _idle,
        ):
            head, body = slow_request(admin, one.address)
            uploading.sendall(head + body[:5])
            wait_until_at_work(staying)
            asked = time.monotonic()
            one.signal(signal.SIGTERM)
            time.sleep(2)  # longer than idle connections are kept open
            uploading.sendall(body[5:])
            with uploading.makefile("rb") as answer:
                upload = answer.read()
            code = one.wait()
            seconds = time.monotonic() - asked
        left = one.live_pids()
        for client in (*staying, *reconnecting):
            client.join()
        note(f"exit {code} after {seconds:.1f} s under load")
        yield Stop(
            appliance=one,
            receiver=receiver,
            admin=admin,
            retried_task_id=retried,
            staying=staying,
            reconnecting=reconnecting,
            upload=upload,
            code=code,
            seconds=seconds,
            left=left,
        )


def wait_until_at_work(clients: list[KeepAliveClient]) -> None:
    """Each has asked a few times by then, however slow the machine is."""
    deadline = time.monotonic() + 60
    while min(sum(client.statuses.values()) for client in clients) <= LEAST_ANSWERS:
        assert time.monotonic() < deadline, [client.statuses for client in clients]
        time.sleep(0.05)


def slow_request(client: Client, address: str) -> tuple[bytes, bytes]:
    """Head and body of a request that is sent by hand."""
    body = json.dumps({"title": "slow but sure"}).encode()
    head = (
        f"POST /api/v1/tasks HTTP/1.1\r\nHost: {address}\r\n"
        f"Authorization: {client.headers['Authorization']}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode(), body


def test_a_stop_under_load_is_complete_within_ten_seconds(stop: Stop):
    assert stop.code == 0
    assert stop.seconds <= 10
    assert stop.left == set()


def test_every_request_on_an_open_connection_is_answered(stop: Stop):
    assert [fault for client in stop.staying for fault in client.faults] == []
    assert all(client.was_asked_to_close for client in stop.staying)
    statuses = sum((client.statuses for client in stop.staying), Counter[int]())
    assert set(statuses) == {200, 201}
    assert min(statuses.values()) > LEAST_ANSWERS


def test_a_new_connection_during_a_stop_is_answered_or_refused(stop: Stop):
    assert [fault for client in stop.reconnecting for fault in client.faults] == []
    statuses = sum((client.statuses for client in stop.reconnecting), Counter[int]())
    assert set(statuses) == {200, 201}


def test_a_request_whose_body_was_still_coming_is_finished(stop: Stop):
    assert stop.upload.startswith(b"HTTP/1.1 201 ")
    assert b"\r\nconnection: close\r\n" in stop.upload.lower()


def test_everything_that_was_answered_is_there_after_the_next_start(stop: Stop):
    """And told to the receiver, the one that failed before the stop too."""
    created = {stop.retried_task_id, json.loads(stop.upload.partition(b"\r\n\r\n")[2])["id"]}
    for client in (*stop.staying, *stop.reconnecting):
        created.update(client.task_ids)
    stop.appliance.start()
    assert "setup token" not in stop.appliance.ready_line
    for task_id in created:
        stop.admin.get(f"/tasks/{task_id}").must(200)
    requests = stop.receiver.wait_for(
        lambda got: {one.event["data"]["task"]["id"] for one in got[1:]} >= created, seconds=20
    )
    first, *again = [
        one for one in requests if one.event["data"]["task"]["id"] == stop.retried_task_id
    ]
    assert again[0].at - first.at >= 5
    assert [one.headers["x-novapulse-attempt"] for one in (first, *again)] == ["1", "2"]
