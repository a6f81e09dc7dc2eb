"""Single questions about a running appliance, for probes: each answers ok or not, and why."""

import http.client
import json
import ssl
from typing import Any

from novapulse.core.settings import Paths
from novapulse.processes.status import ask_supervisor, read_running, read_status

_ANSWER_SECONDS = 5.0
Verdict = dict[str, Any]


def check_live(paths: Paths) -> Verdict:
    """Whether the supervisor's loop turns; raises Unavailable when nothing runs here."""
    answer = ask_supervisor(paths)
    return _verdict(True, f"runs as pid {answer['pid']}")


def check_ready(paths: Paths) -> Verdict:
    """Whether every process is ready and, where there is an API, it says so itself."""
    answer = ask_supervisor(paths)
    if answer["state"] != "ready":
        return _verdict(False, f"it is {answer['state']}")
    if not any(one["role"] == "api" for one in answer["processes"]):
        return _verdict(True, "every process is ready; no API runs here")
    # Where it listens, not where a proxy in front of it does.
    server = read_running(paths).settings.server
    address = server.address
    host = "127.0.0.1" if address.host == "0.0.0.0" else address.host  # noqa: S104 - compared, not bound
    return _ask_api(_connection(host, address.port, has_tls=server.has_tls), address.port)


def check_stores(paths: Paths) -> Verdict:
    """Whether both stores answer us."""
    stores = read_status(paths)["stores"]
    away = [f"{name}: {one.get('detail', one['status'])}" for name, one in stores.items()
            if one["status"] != "ok"]  # fmt: skip
    return _verdict(not away, "; ".join(away) or "MongoDB and Redis answer", stores=stores)


def _connection(host: str, port: int, *, has_tls: bool) -> http.client.HTTPConnection:
    """To ourselves: the certificate is of the public name, not of this address."""
    if not has_tls:
        return http.client.HTTPConnection(host, port, timeout=_ANSWER_SECONDS)
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return http.client.HTTPSConnection(host, port, timeout=_ANSWER_SECONDS, context=context)


def _ask_api(connection: http.client.HTTPConnection, port: int) -> Verdict:
    try:
        connection.request("GET", "/api/v1/health/ready")
        response = connection.getresponse()
        body = response.read()
    except (OSError, http.client.HTTPException) as error:
        return _verdict(False, f"the API does not answer on port {port}: {error}")
    finally:
        connection.close()
    if response.status == http.client.OK:
        return _verdict(True, f"the API on port {port} says that it is ready")
    return _verdict(False, _detail(body) or f"the API answers {response.status}")


def _detail(body: bytes) -> str:
    try:
        return str(json.loads(body).get("detail", ""))
    except (ValueError, AttributeError):
        return ""


def _verdict(is_ok: bool, detail: str, **facts: Any) -> Verdict:
    return {"ok": is_ok, "detail": detail, **facts}
