"""The other peer, stock Huey with 8 threads. Usage: huey_worker.py load|work SOCKET JOBS"""

import json
import sys
import threading
import time

import redis
from huey import RedisHuey

_, VERB, SOCKET, JOBS = sys.argv
huey = RedisHuey(
    "bench",
    results=False,
    connection_pool=redis.ConnectionPool(
        connection_class=redis.UnixDomainSocketConnection, path=SOCKET
    ),
)
left = int(JOBS)
over = threading.Event()
lock = threading.Lock()


@huey.task()
def noop(x: str) -> None:
    global left  # noqa: PLW0603 - the whole script is one counter
    with lock:
        left -= 1
        if not left:
            over.set()


if VERB == "load":
    huey.flush()
    for _ in range(left):
        noop("y" * 200)
else:
    import logging

    logging.getLogger("huey").setLevel(logging.WARNING)
    consumer = huey.create_consumer(workers=8, periodic=False)
    started, cpu = time.perf_counter(), time.process_time()
    consumer.start()
    over.wait()
    seconds = time.perf_counter() - started
    print(json.dumps({"seconds": seconds, "cpuSeconds": time.process_time() - cpu}))
    consumer.stop(graceful=True)
