import pytest

from novapulse.core.errors import Invalid
from novapulse.core.targets import is_literal, read_target


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("https://example.com/hooks?token=a%2Fb", "example.com", 443),
        ("HTTP://EXAMPLE.com:8080", "example.com", 8080),
        ("http://under_score.internal/", "under_score.internal", 80),
        ("http://münchen.example/", "xn--mnchen-3ya.example", 80),
        ("http://93.184.216.34/", "93.184.216.34", 80),
        ("http://[2606:4700::1111]:81/", "2606:4700::1111", 81),
        ("http://example.com./", "example.com.", 80),
    ],
)
def test_a_plain_url_is_read(text: str, host: str, port: int) -> None:
    url = read_target(text)
    assert (url.raw_host, url.port) == (host, port)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must start with"),
        ("example.com", "must start with"),
        ("//example.com/", "must start with"),
        ("ftp://example.com/", "must start with"),
        ("file:///etc/passwd", "must start with"),
        ("gopher://127.0.0.1:6379/_FLUSHALL", "must start with"),
        ("http:/127.0.0.1/", "must start with"),
        (" http://example.com/", "must start with"),
        ("http://", "is not a URL|host is missing"),
        ("http:///path", "host is missing"),
        ("http://:80/", "is not a URL"),
        ("http://user@example.com/", "user name"),
        ("http://user:secret@example.com/", "user name"),
        ("http://@example.com/", "user name"),
        ("http://example.com@127.0.0.1/", "user name"),
        ("http://example.com/#fragment", "fragment"),
        ("http://example.com#@127.0.0.1/", "fragment"),
        ("http://example.com:0/", "port"),
        ("http://example.com:65536/", "is not a URL"),
        ("http://example.com:http/", "is not a URL"),
        ("http://exa mple.com/", "spaces"),
        ("http://example.com/\r\nX-Evil: 1", "spaces"),
        ("http://example.com\\@127.0.0.1/", "spaces"),
        ("http://exa\tmple.com/", "spaces"),
        ("http://exam\x00ple.com/", "spaces"),
        ("http://a..b/", "valid name"),
        ("http://*.example.com/", "valid name"),
        ("http://127.0.0.1%00.example.com/", "valid name"),
        ("http://%31%32%37.0.0.1/", "valid name|as 192"),
        (f"http://{'a' * 64}.com/", "valid name"),
        (f"http://{'a.' * 130}com/", "valid name"),
        (f"http://example.com/{'a' * 2048}", "at most 2048"),
        ("http://2130706433/", "as 192"),
        ("http://0x7f000001/", "as 192"),
        ("http://0x7f.1/", "as 192"),
        ("http://0177.0.0.1/", "as 192"),
        ("http://127.1/", "as 192"),
        ("http://127.0.0.1./", "as 192"),
        ("http://example.1/", "as 192"),
        ("http://[v1.fe]/", "as 192"),
        ("http://[::1%25lo]/", "as 192"),
        ("http://[::1/", "is not a URL"),
    ],
)
def test_an_odd_url_is_refused_with_a_reason(text: str, message: str) -> None:
    with pytest.raises(Invalid, match=message) as refused:
        read_target(text)
    assert refused.value.errors[0].path == "url"


def test_plain_http_is_refused_where_only_https_is_allowed() -> None:
    with pytest.raises(Invalid, match="https://"):
        read_target("http://example.com/", https_only=True)
    assert read_target("https://example.com/", https_only=True).scheme == "https"


def test_an_address_is_told_from_a_name() -> None:
    assert is_literal("127.0.0.1")
    assert is_literal("::1")
    assert not is_literal("example.com")
    assert not is_literal("1.example.com")
