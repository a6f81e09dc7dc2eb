"""Huey's consumer with an asyncio worker, on uvloop, in place of its blocking one.

The consumer keeps what Huey users know: one program a queue, its signals, its
main loop. SIGTERM drains (Huey's default would interrupt running tasks), and
SIGHUP is left alone: Huey would re-execute the program with the wrong arguments.
"""

import asyncio
import signal
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import uvloop
from huey.consumer import BaseProcess, Consumer, Worker

from novapulse.core.garbage import collect_seldom

Serve = Callable[[asyncio.Event], Coroutine[Any, Any, None]]


class LedgerWorker(BaseProcess):  # type: ignore[misc]  # huey has no types
    """Runs `serve` in an event loop of its own until Huey's stop flag is set."""

    process_name = "Worker"
    # Huey's own: they call the startup and shutdown hooks.
    initialize, shutdown = Worker.initialize, Worker.shutdown

    def __init__(self, huey: Any, stop_flag: Any, serve: Serve) -> None:
        super().__init__(huey, stop_flag)
        self._serve = serve
        self.failure: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None

    def loop(self, now: Any = None) -> None:
        """Called by Huey for as long as its stop flag is down; one call is the whole life."""
        try:
            uvloop.run(self._main())
        except BaseException as error:  # re-raised by the main thread: `raise_failure`
            self.failure = error
        finally:
            self.stop_flag.set()

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        if self.stop_flag.is_set():
            self._stopping.set()
        collect_seldom()
        await self._serve(self._stopping)

    def stop(self) -> None:
        """From another thread: begin to drain."""
        if self._loop is not None and self._stopping is not None and self._loop.is_running():
            self._loop.call_soon_threadsafe(self._stopping.set)


class IdleScheduler(BaseProcess):  # type: ignore[misc]  # huey has no types
    """The claim's own query promotes what is due: Huey's scheduler has nothing to move."""

    process_name = "Scheduler"

    def __init__(self, huey: Any, stop_flag: Any, *, interval: float, periodic: bool) -> None:
        super().__init__(huey, stop_flag)

    def loop(self, now: Any = None) -> None:
        self.stop_flag.wait()


class LedgerConsumer(Consumer):  # type: ignore[misc]  # huey has no types
    scheduler_class = IdleScheduler

    def __init__(self, huey: Any, serve: Serve, **options: Any) -> None:
        self._serve = serve
        super().__init__(huey, workers=1, periodic=False, graceful_signal="TERM", **options)
        self._signal_actions = {signal.SIGTERM: (False, True), signal.SIGINT: (False, True)}
        # Nothing is polled: a signal or the worker's end sets the flag.
        self._stop_flag_timeout = 60.0
        self._health_check = False

    def _create_worker(self) -> LedgerWorker:
        return LedgerWorker(self.huey, self.stop_flag, self._serve)

    def _handle_signal(self, signum: int, frame: Any) -> None:
        self._signum = signum
        self._restart, self._graceful = False, True
        # On a thread: the main one may be inside the flag's own lock.
        threading.Thread(target=self.stop_flag.set).start()

    def stop(self, graceful: bool = False) -> None:
        for worker, _ in self.worker_threads:
            worker.stop()
        super().stop(graceful=graceful)

    def raise_failure(self) -> None:
        """After `run`: raise what ended the worker, if it did not end by itself."""
        for worker, _ in self.worker_threads:
            if worker.failure is not None:
                raise worker.failure
