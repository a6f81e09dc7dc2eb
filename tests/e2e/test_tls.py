"""TLS by the API itself and behind nginx, as the page on TLS has it."""

import http.client
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.support.appliance import (
    PASSWORD,
    Appliance,
    Client,
    appliance_in_temporary_root,
    note,
)
from tests.support.load import KeepAliveLoad
from tests.support.pair import wait_until_it_listens
from tests.support.replicas import free_port

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

_SAMPLE = Path(__file__).parents[2] / "packaging" / "proxies" / "nginx.conf"


class Site:
    """A certificate of 127.0.0.1 that signs itself, and who believes it."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(exist_ok=True)
        self.certificate, self.key = directory / "fullchain.pem", directory / "privkey.pem"

    def renew(self, *, writes_certificate: bool = True) -> int:
        """Write a new pair; its serial number."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(
                x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), False
            )
            .sign(key, hashes.SHA256())
        )
        self.key.touch(0o600)
        self.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        if writes_certificate:
            self.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        return certificate.serial_number

    def trusting(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.certificate)


def get(address: str, path: str, tls: ssl.SSLContext) -> http.client.HTTPResponse:
    connection = http.client.HTTPSConnection(address, timeout=10, context=tls)
    connection.request("GET", path)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer


def serial_at(address: str) -> int:
    host, _, port = address.rpartition(":")
    pem = ssl.get_server_certificate((host, int(port)), timeout=10)
    return x509.load_pem_x509_certificate(pem.encode()).serial_number


@pytest.fixture
def site(tmp_path: Path) -> Site:
    one = Site(tmp_path)
    one.renew()
    return one


@pytest.fixture
def secured(site: Site) -> Iterator[Appliance]:
    config = f'[server]\ntls_certificate_file = "{site.certificate}"\ntls_key_file = "{site.key}"\n'
    with appliance_in_temporary_root(config) as one:
        one.start()
        yield one


def test_the_api_speaks_tls_and_nothing_else(secured: Appliance, site: Site):
    assert secured.url.startswith("https://127.0.0.1:")
    answer = get(secured.address, "/api/v1/health/ready", site.trusting())
    assert (answer.status, answer.version) == (200, 11)
    assert secured.cli("check", "ready").returncode == 0
    assert secured.status()["url"] == secured.url
    plain = http.client.HTTPConnection(secured.address, timeout=10)
    plain.request("GET", "/api/v1/health/live")
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        plain.getresponse()
    plain.close()


def test_a_renewed_certificate_is_shown_without_a_lost_request(secured: Appliance, site: Site):
    before = serial_at(secured.address)
    renewed = site.renew()
    believing = ssl.create_default_context()
    believing.check_hostname, believing.verify_mode = False, ssl.CERT_NONE
    with KeepAliveLoad(
        secured.address, "/api/v1/health/live", headers={}, connections=8, tls=believing
    ) as load:
        load.wait_for_more(100)
        assert serial_at(secured.address) == before
        done = secured.cli("restart", "api")
        assert done.returncode == 0, done.stderr
        load.wait_for_more(100)
    note(load.summary())
    assert load.faults == []
    assert set(load.statuses) == {200}
    assert serial_at(secured.address) == renewed


def test_a_key_of_another_certificate_or_that_others_may_read_changes_nothing(
    secured: Appliance, site: Site
):
    before = serial_at(secured.address)
    site.renew(writes_certificate=False)
    assert secured.cli("restart", "api").returncode != 0
    assert serial_at(secured.address) == before
    site.renew()
    site.key.chmod(0o644)
    assert secured.cli("restart", "api").returncode != 0
    assert serial_at(secured.address) == before
    assert secured.cli("check", "ready").returncode == 0
    assert secured.stop() == 0
    secured.launch()
    assert secured.wait() == 78
    told = "".join(log.read_text() for log in (secured.root / "log").glob("api*.log"))
    assert "wider than 0600" in told


def test_a_client_that_never_shakes_hands_holds_up_nobody(secured: Appliance, site: Site):
    host, _, port = secured.address.rpartition(":")
    silent = [socket.create_connection((host, int(port)), timeout=10) for _ in range(20)]
    try:
        assert get(secured.address, "/api/v1/health/live", site.trusting()).status == 200
        began = time.monotonic()
        assert secured.stop() == 0
        note(f"stopped in {time.monotonic() - began:.1f} s with 20 silent connections")
        assert time.monotonic() - began < 10
    finally:
        for one in silent:
            one.close()


@contextmanager
def nginx_with_tls(appliance: Appliance, site: Site, directory: Path) -> Iterator[str]:
    """The sample with its lines for TLS, before one appliance; its address."""
    nginx = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if nginx is None:
        pytest.skip("NOT TESTED: TLS behind nginx, which is not installed here")
    address = f"127.0.0.1:{free_port()}"
    sample = _SAMPLE.read_text()
    for pattern, text in (
        (r"192\.0\.2\.11:5000", appliance.address),
        (r" *server 192\.0\.2\.12:5000.*\n", ""),
        (r"listen 80;", ""),
        (r"# listen 443 ssl;", f"listen {address} ssl;"),
        (r"# ssl_certificate     \S+;", f"ssl_certificate {site.certificate};"),
        (r"# ssl_certificate_key \S+;", f"ssl_certificate_key {site.key};"),
    ):
        sample, count = re.subn(pattern, text, sample)
        assert count == 1, pattern
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    places = "".join(f"{kind}_temp_path {directory / kind};\n" for kind in kinds)
    (directory / "nginx.conf").write_text(
        f"daemon off;\nmaster_process off;\npid {directory / 'pid'};\n"
        f"error_log {directory / 'error.log'};\nevents {{}}\n"
        f"http {{\naccess_log off;\n{places}{sample}\n}}\n"
    )
    command = [nginx, "-p", str(directory), "-c", str(directory / "nginx.conf")]
    proxy = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until_it_listens(address)
        assert proxy.poll() is None, (directory / "error.log").read_text()
        yield address
    finally:
        proxy.kill()
        proxy.wait()


def test_behind_nginx_cookies_are_secure_and_clients_have_their_own_address(
    site: Site, tmp_path: Path
):
    public = "https://novapulse.example.com"
    config = f'[server]\npublic_url = "{public}"\ntrusted_proxies = ["127.0.0.1"]\n'
    with appliance_in_temporary_root(config) as one:
        address = f"127.0.0.1:{free_port()}"
        one.start("--listen", address)
        one.url = f"http://{address}"
        with nginx_with_tls(one, site, tmp_path) as front:
            assert get(front, "/api/v1/health/ready", site.trusting()).status == 200
            # Another of the many addresses that this machine has.
            connection = http.client.HTTPSConnection(
                front, timeout=30, context=site.trusting(), source_address=("127.0.0.2", 0)
            )
            command = {
                "companyName": "Acme",
                "name": "Ada",
                "email": "ada@acme.example",
                "password": PASSWORD,
                "setupToken": one.cli("setup-token").stdout.strip(),
            }
            headers = {"Content-Type": "application/json"}
            connection.request("POST", "/api/v1/auth/register", json.dumps(command), headers)
            answer = connection.getresponse()
            signed_in = json.loads(answer.read())
            assert answer.status == 201, signed_in
            cookies = answer.headers.get_all("Set-Cookie")
            assert cookies is not None
            assert all("; Secure" in cookie for cookie in cookies)
            connection.close()
            sessions = Client(one, token=signed_in["accessToken"]).get("/auth/sessions").must(200)
            assert [session["ip"] for session in sessions["data"]] == ["127.0.0.2"]
