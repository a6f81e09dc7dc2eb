"""Reading the URL that a person gave for us to call. Pure: names are not looked up here."""

import re
from functools import lru_cache
from ipaddress import ip_address

from yarl import URL

from novapulse.core.errors import Invalid

MAX_URL_CHARACTERS = 2_048

_START = re.compile(r"(?P<scheme>https?)://(?P<authority>[^/?#]*)", re.IGNORECASE)
_NAME = re.compile(r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*\.?")
_MAX_NAME_CHARACTERS = 254
# What the C library takes as an address: 2130706433, 0x7f.1, 0177.0.0.1.
# No public name ends in a number (WHATWG URL, "ends in a number").
_NUMBER_AT_END = re.compile(r"(.*\.)?(0x[0-9a-f]*|[0-9]+)\.?")


@lru_cache(maxsize=2_048)
def read_target(text: str, *, https_only: bool = False) -> URL:
    """An absolute http(s) URL whose host is a name or a plainly written address.

    Raises:
        Invalid: with a message for whoever typed it.
    """
    start = _START.match(text)
    if len(text) > MAX_URL_CHARACTERS:
        raise _unacceptable(f"at most {MAX_URL_CHARACTERS} characters")
    if start is None:
        raise _unacceptable("must start with https:// or http://")
    if https_only and start["scheme"].lower() != "https":
        raise _unacceptable("must start with https://")
    if not text.isprintable() or " " in text or "\\" in text:
        raise _unacceptable("must not contain spaces, backslashes or control characters")
    if "@" in start["authority"]:
        raise _unacceptable("must not contain a user name or password")
    if "#" in text:
        raise _unacceptable("must not contain a fragment (#…)")
    try:
        url = URL(text)
    except ValueError:
        raise _unacceptable("is not a URL") from None
    _check_host(url.raw_host or "", in_brackets="[" in start["authority"])
    if url.port == 0:
        raise _unacceptable("the port must be 1 to 65535")
    return url


def is_literal(host: str) -> bool:
    """Whether the host of a read target is an address, not a name."""
    return ":" in host or _NUMBER_AT_END.fullmatch(host) is not None


def _check_host(host: str, *, in_brackets: bool) -> None:
    if not host:
        raise _unacceptable("the host is missing")
    if in_brackets or is_literal(host):
        try:
            version = ip_address(host).version if "%" not in host else 0
        except ValueError:
            version = 0
        if version != (6 if in_brackets else 4):
            raise _unacceptable("write an address as 192.0.2.7 or [2001:db8::7]")
    elif len(host) > _MAX_NAME_CHARACTERS or _NAME.fullmatch(host) is None:
        raise _unacceptable("the host is not a valid name")


def _unacceptable(message: str) -> Invalid:
    return Invalid.field("url", message)
