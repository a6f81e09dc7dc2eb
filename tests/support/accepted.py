"""Accepted work: written while things die, and looked for afterwards.

"Accepted" is an answered 201. The writers do what a careful client does: no
answer and 503 are tried again with the same Idempotency-Key.
"""

import http.client
import threading
import time
import uuid
from collections import Counter
from types import TracebackType
from typing import Any

import pytest

from tests.support.appliance import Appliance, Client, note
from tests.support.receiver import WebhookReceiver


class Writer:
    """Two threads that create tasks, one after the other; `accepted` are answered 201s."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._write) for _ in range(2)]
        self.accepted: dict[str, str] = {}  # title → id
        self.faults: list[str] = []

    def __enter__(self) -> "Writer":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _write(self) -> None:
        while not self._stopping.is_set():
            title = uuid.uuid4().hex
            while not self._is_settled(title) and not self._stopping.wait(0.05):
                pass
            self._stopping.wait(0.01)

    def _is_settled(self, title: str) -> bool:
        try:
            answer = self._client.post("/tasks", {"title": title}, key=title)
        except (OSError, http.client.HTTPException):
            return False
        if answer.status == 201:
            self.accepted[title] = answer.json()["id"]
        elif answer.status != 503:
            self.faults.append(f"{answer.status} {answer.body[:300]!r}")
        return answer.status != 503

    def wait_for_more(self, number: int, *, seconds: float) -> float:
        """How long it took until so many more were accepted."""
        asked, enough = time.monotonic(), len(self.accepted) + number
        while len(self.accepted) < enough:
            if time.monotonic() - asked > seconds:
                pytest.fail(f"{len(self.accepted)} of {enough} tasks accepted; {self.faults[:3]}")
            time.sleep(0.01)
        return time.monotonic() - asked


class Scene:
    """An appliance whose every task is told to a receiver."""

    def __init__(self, appliance: Appliance, receiver: WebhookReceiver) -> None:
        self.appliance = appliance
        self.receiver = receiver
        self.admin = appliance.found_company()
        self.admin.subscribe(receiver.url, "task.created")

    def check(self, writer: Writer) -> None:
        """Every accepted task exists once and was delivered at least once, always the same."""
        assert writer.faults == []
        for title, task_id in writer.accepted.items():
            assert self.admin.get(f"/tasks/{task_id}").must(200)["title"] == title
        titles = Counter(task["title"] for task in self.all_tasks())
        assert [title for title in writer.accepted if titles[title] != 1] == []
        self.wait_until_delivered(set(writer.accepted.values()))
        bodies: dict[str, bytes] = {}
        for request in self.receiver.requests:
            assert bodies.setdefault(request.headers["webhook-id"], request.body) == request.body
        events = {request.event["id"]: request.event for request in self.receiver.requests}
        assert len({event["sequence"] for event in events.values()}) == len(events)

    def all_tasks(self) -> list[dict[str, Any]]:
        tasks, cursor = [], ""
        while True:
            page = self.admin.get(f"/tasks?limit=200{cursor}").must(200)
            tasks += page["data"]
            if page["page"]["nextCursor"] is None:
                return tasks
            cursor = f"&cursor={page['page']['nextCursor']}"

    def wait_until_delivered(self, task_ids: set[str]) -> None:
        asked = time.monotonic()
        while left := task_ids - {r.event["data"]["task"]["id"] for r in self.receiver.requests}:
            if time.monotonic() - asked > 15:
                pytest.fail(f"{len(left)} of {len(task_ids)} were never delivered")
            time.sleep(0.05)
        note(f"all {len(task_ids)} delivered {time.monotonic() - asked:.1f} s after the last")
