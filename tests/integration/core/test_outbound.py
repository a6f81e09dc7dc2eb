"""Where outbound requests go. All that is ever connected to is the loopback."""

import contextlib
import re
import socket
from collections.abc import AsyncIterator
from ipaddress import ip_network
from pathlib import Path

import pytest
from aiohttp.abc import AbstractResolver

from novapulse.core.connector import NameResolver
from novapulse.core.errors import Invalid
from novapulse.core.exchange import OutboundAnswer, OutboundFailure, OutboundRequest
from novapulse.core.networks import AddressPolicy
from novapulse.core.outbound import OutboundClient, OutboundOptions
from tests.support import loops
from tests.support.receivers import OK, StubResolver, receiving, self_signed
from tests.support.spellings import FORBIDDEN_TARGETS

anyio_backend = loops.each_backend


@contextlib.asynccontextmanager
async def outbound(
    *allow: str,
    resolver: AbstractResolver | None = None,
    forbidden: tuple[tuple[str, int], ...] = (),
    **options: object,
) -> AsyncIterator[OutboundClient]:
    policy = AddressPolicy(tuple(ip_network(text) for text in allow), frozenset(forbidden))
    client = OutboundClient(policy, OutboundOptions(**options), resolver=resolver)
    try:
        yield client
    finally:
        await client.aclose()


async def post(
    client: OutboundClient, url: str, *, headers: dict[str, str] | None = None, method: str = "POST"
) -> OutboundAnswer:
    return await client.send(OutboundRequest(method, url, headers or {}, b'{"a":1}', 5.0))


async def failure(client: OutboundClient, url: str, **request: object) -> OutboundFailure:
    with pytest.raises(OutboundFailure) as failed:
        await post(client, url, **request)
    return failed.value


def everywhere() -> socket.socket:
    """A listener that any connect to this machine would reach, in either family."""
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", 0))


async def test_no_spelling_of_an_inside_address_is_ever_connected_to() -> None:
    assert len(FORBIDDEN_TARGETS) >= 60
    with everywhere() as canary:
        canary.setblocking(False)
        port = str(canary.getsockname()[1])
        async with outbound() as client:
            for target in FORBIDDEN_TARGETS:
                url = target.replace("PORT", port)
                refused = await failure(client, url)
                # Names are looked up; one that does not exist here is as good.
                assert refused.kind == "blocked" or (
                    refused.kind == "dns" and "localhost" in url
                ), f"{url}: {refused.kind} {refused.detail}"
                assert refused.peer_ip is None
        with pytest.raises(BlockingIOError):
            canary.accept()


async def test_an_inside_target_is_refused_with_a_friendly_message_when_it_is_entered() -> None:
    async with outbound() as client:
        for target in FORBIDDEN_TARGETS:
            if "localhost" not in target:
                with pytest.raises(Invalid, match="url: ") as refused:
                    await client.vet(target.replace("PORT", "8080"), resolve=False)
                assert refused.value.errors[0].path == "url"


async def test_a_public_target_is_accepted_when_it_is_entered() -> None:
    async with outbound(resolver=StubResolver(["93.184.216.34", "127.0.0.1"])) as client:
        await client.vet("https://hooks.example.com/x?token=1", resolve=True)
        await client.vet("http://93.184.216.34:8080/", resolve=True)
        await client.vet("http://[2606:4700::1111]/", resolve=False)


async def test_a_name_that_leads_only_to_inside_addresses_is_refused_when_it_is_entered() -> None:
    async with outbound(resolver=StubResolver(["10.0.0.1", "::1"])) as client:
        await client.vet("http://inside.example.com/", resolve=False)
        with pytest.raises(Invalid, match="leads to a private or reserved address"):
            await client.vet("http://inside.example.com/", resolve=True)


async def test_a_name_that_is_not_found_yet_may_be_entered() -> None:
    def lookup(*_: object, **__: object) -> list[tuple[object, ...]]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    async with outbound(resolver=NameResolver(3.0, lookup=lookup)) as client:
        await client.vet("http://later.example.com/", resolve=True)
        sent = await failure(client, "http://later.example.com/")
    assert (sent.kind, sent.peer_ip) == ("dns", None)


async def test_https_only_refuses_plain_http_on_entering_and_on_sending() -> None:
    async with receiving() as control, outbound("127.0.0.1/32", https_only=True) as client:
        with pytest.raises(Invalid, match="https://"):
            await client.vet("http://example.com/", resolve=False)
        assert (await failure(client, control.url())).kind == "blocked"
    assert control.connections == 0


async def test_a_name_that_changes_its_mind_after_vetting_is_not_followed_inside() -> None:
    async with receiving() as canary:
        rebinding = StubResolver(["93.184.216.34"], ["127.0.0.1"])
        async with outbound(resolver=rebinding) as client:
            url = canary.url("rebind.example.com")
            await client.vet(url, resolve=True)
            refused = await failure(client, url)
        assert refused.kind == "blocked"
        assert rebinding.asked == ["rebind.example.com"] * 2
    assert canary.connections == 0


async def test_each_new_connect_is_vetted_even_after_a_good_one() -> None:
    """The first lookup leads to an allowed address, the second to a forbidden one."""
    closing = OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    rebinding = StubResolver(["127.0.0.2"], ["127.0.0.1"])
    async with (
        receiving(closing, host="127.0.0.2") as control,
        # A lookup is remembered per port for a while, and the canary has another port.
        receiving() as canary,
        outbound("127.0.0.2/32", resolver=rebinding) as client,
    ):
        answer = await post(client, control.url("rebind.example.com"))
        refused = await failure(client, canary.url("rebind.example.com"))
    assert (answer.status, answer.peer_ip) == (200, "127.0.0.2")
    assert refused.kind == "blocked"
    assert (control.connections, canary.connections) == (1, 0)


async def test_of_several_addresses_only_the_allowed_ones_are_connected_to() -> None:
    async with receiving(host="127.0.0.2") as control:
        mixed = StubResolver(["127.0.0.1", "10.0.0.1", "::1", "127.0.0.2"])
        async with outbound("127.0.0.2/32", resolver=mixed) as client:
            answer = await post(client, control.url("mixed.example.com"))
        assert answer.peer_ip == "127.0.0.2"
    assert control.connections == 1


@pytest.mark.parametrize("answer", [["localhost"], ["127.1"], ["::1%lo"], ["0x7f.1"], [""]])
async def test_a_resolver_that_gives_no_addresses_leads_nowhere(answer: list[str]) -> None:
    async with receiving() as canary:
        everything = ("127.0.0.0/8", "::1/128", "0.0.0.0/0", "::/0")
        async with outbound(*everything, resolver=StubResolver(answer)) as client:
            assert (await failure(client, canary.url("odd.example.com"))).kind == "blocked"
    assert canary.connections == 0


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_an_answer_and_not_followed(status: int) -> None:
    async with receiving() as canary:
        head = f"HTTP/1.1 {status} Moved\r\nLocation: {canary.url()}\r\nContent-Length: 0\r\n\r\n"
        async with receiving(head.encode()) as control, outbound("127.0.0.1/32") as client:
            answer = await post(client, control.url())
            again = await post(client, control.url(), method="GET")
        assert (answer.status, again.status) == (status, status)
        assert answer.headers["location"] == canary.url()
    assert (len(control.requests), canary.connections) == (2, 0)


async def test_an_allowed_network_opens_what_it_names_and_nothing_beside_it() -> None:
    async with receiving(host="127.0.0.2") as control, receiving(host="127.0.0.3") as canary:
        async with outbound("127.0.0.2/32") as client:
            answer = await post(client, control.url("127.0.0.2"))
            for url in (
                canary.url("127.0.0.3"),
                canary.url("127.0.0.1"),
                canary.url("[::ffff:127.0.0.3]"),
                "http://10.0.0.1/",
            ):
                assert (await failure(client, url)).kind == "blocked"
            mapped = await post(client, control.url("[::ffff:127.0.0.2]"))
        assert (answer.status, mapped.status) == (200, 200)
    assert (len(control.requests), canary.connections) == (2, 0)


async def test_our_own_socket_stays_closed_in_an_allowed_network() -> None:
    async with (
        receiving() as ours,
        receiving() as control,
        outbound("127.0.0.0/8", forbidden=(("127.0.0.1", ours.port),)) as client,
    ):
        assert (await post(client, control.url())).status == 200
        assert (await failure(client, ours.url())).kind == "blocked"
        with pytest.raises(Invalid, match="an address of this program"):
            await client.vet(ours.url(), resolve=False)
    assert ours.connections == 0


async def test_a_socket_of_ours_at_every_address_is_closed_at_each_address_of_the_machine() -> None:
    own_ips = own_addresses()
    with everywhere() as ours:
        ours.setblocking(False)
        port = ours.getsockname()[1]
        allow = ("127.0.0.0/8", "::1/128", *own_ips)
        async with outbound(*allow, forbidden=(("0.0.0.0", port),)) as client:
            for ip in ("127.0.0.1", "127.4.4.4", "::1", *own_ips):
                host = f"[{ip}]" if ":" in ip else ip
                assert (await failure(client, f"http://{host}:{port}/")).kind == "blocked"
        with pytest.raises(BlockingIOError):
            ours.accept()


def own_addresses() -> list[str]:
    """Addresses of this machine beside the loopback, without asking anybody."""
    found = []
    for family, far_away in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        with socket.socket(family, socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError):
            probe.connect((far_away, 9))
            found.append(probe.getsockname()[0])
    return found


async def test_a_request_says_who_we_are_and_asks_for_nothing_compressed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    setting_cookie = OK.replace(b"\r\n\r\n", b"\r\nSet-Cookie: a=1; Path=/\r\n\r\n")
    async with receiving() as environment_proxy, receiving(setting_cookie) as control:
        monkeypatch.setenv("http_proxy", environment_proxy.url())
        monkeypatch.setenv("HTTP_PROXY", environment_proxy.url())
        async with outbound("127.0.0.1/32") as client:
            await post(client, control.url(path="/x?y=1"), headers={"X-Own": "1"})
            await post(client, control.url(path="/x?y=1"), headers={"X-Own": "1"})
    assert environment_proxy.connections == 0
    assert control.connections == 1
    request = control.requests[1]
    assert request.startswith(b"POST /x?y=1 HTTP/1.1\r\n")
    assert request.endswith(b'\r\n\r\n{"a":1}')
    assert b"\r\nAccept-Encoding: identity\r\n" in request
    assert re.search(rb"\r\nUser-Agent: NovaPulse-Webhooks/[0-9.]+\r\n", request)
    assert b"\r\nX-Own: 1\r\n" in request
    assert b"cookie" not in request.lower()


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "other.example.com"},
        {"Transfer-Encoding": "chunked"},
        {"content-length": "1"},
        {"Connection": "upgrade"},
        {"Accept-Encoding": "gzip"},
        {"X-Split": "a\r\nX-Injected: 1"},
        {"X-Split\r\nX-Injected": "1"},
        {"X-Null": "a\x00b"},
    ],
)
async def test_a_header_that_would_change_the_request_itself_is_not_sent(
    headers: dict[str, str],
) -> None:
    async with receiving() as control, outbound("127.0.0.1/32") as client:
        assert (await failure(client, control.url(), headers=headers)).kind == "blocked"
    assert control.requests == []


async def test_a_receiver_with_a_trusted_certificate_is_reached_over_tls(tmp_path: Path) -> None:
    tls, certificate = self_signed(tmp_path, name="hooks.example.com")
    async with (
        receiving(tls=tls) as control,
        outbound(
            "127.0.0.1/32", ca_file=str(certificate), resolver=StubResolver(["127.0.0.1"])
        ) as client,
    ):
        answer = await post(client, control.url("hooks.example.com", scheme="https"))
        pooled = await post(client, control.url("hooks.example.com", scheme="https"))
        wrong_name = await failure(client, control.url("other.example.com", scheme="https"))
    assert (answer.status, answer.body, answer.peer_ip) == (200, b"ok", "127.0.0.1")
    assert answer.timings.tls_ms > 0
    assert answer.timings.connect_ms > 0
    assert (pooled.timings.tls_ms, pooled.timings.connect_ms, pooled.timings.dns_ms) == (0, 0, 0)
    assert pooled.peer_ip == "127.0.0.1"
    assert wrong_name.kind == "tls"


async def test_the_parts_of_the_time_add_up() -> None:
    async with receiving() as control, outbound("127.0.0.1/32") as client:
        times = (await post(client, control.url())).timings
    parts = times.dns_ms + times.connect_ms + times.tls_ms + times.first_byte_ms
    assert 0 < times.first_byte_ms <= parts <= times.total_ms + 0.01


async def test_behind_an_egress_proxy_only_the_proxy_is_connected_to() -> None:
    async with receiving() as proxy, receiving() as canary:
        async with outbound(egress_proxy=proxy.url()) as client:
            answer = await post(client, "http://hooks.example.com/x")
            for url in (canary.url(), canary.url("localhost"), "http://169.254.169.254/"):
                assert (await failure(client, url)).kind == "blocked"
        assert answer.status == 200
        assert proxy.requests[0].startswith(b"POST http://hooks.example.com/x HTTP/1.1\r\n")
    assert canary.connections == 0


async def test_a_proxy_that_is_away_is_told_from_a_receiver_that_is_away() -> None:
    async with receiving() as gone:
        pass
    async with outbound(egress_proxy=gone.url()) as client:
        assert (await failure(client, "http://hooks.example.com/")).kind == "proxy"
        assert (await failure(client, "https://hooks.example.com/")).kind == "proxy"
    refusing = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"
    async with receiving(refusing) as proxy, outbound(egress_proxy=proxy.url()) as client:
        assert (await failure(client, "https://hooks.example.com/")).kind == "proxy"
    away = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n"
    async with receiving(away) as proxy, outbound(egress_proxy=proxy.url()) as client:
        assert (await failure(client, "https://hooks.example.com/")).kind == "connect"


def test_the_canary_would_have_noticed() -> None:
    with everywhere() as canary:
        port = canary.getsockname()[1]
        for host in ("127.0.0.1", "127.0.0.2"):
            socket.create_connection((host, port), timeout=1).close()
            canary.accept()[0].close()
