"""The stores' addresses: `embedded`, or the URI of an external one.

Read with the standard library only, so that checking a configuration loads no
driver.
"""

import re
from urllib.parse import parse_qsl, urlsplit

EMBEDDED = "embedded"
_MONGO = re.compile(
    r"mongodb(\+srv)?://((?P<user>[^@/]*)@)?[^/?@\s]+"
    r"(/(?P<database>[^/?@]*))?(\?(?P<query>[^\s]*))?"
)
_PASSWORDLESS_MECHANISMS = ("MONGODB-X509", "MONGODB-AWS", "MONGODB-OIDC", "GSSAPI")
_DATABASE = re.compile(r"[A-Za-z0-9_-]{1,38}")
_MONGOS_OWN_DATABASES = ("admin", "local", "config")


def check_mongo_uri(text: str) -> str:
    """`embedded`, or a URI whose write concern is not weaker than majority."""
    if text == EMBEDDED:
        return text
    match = _MONGO.fullmatch(text)
    if match is None:
        raise ValueError('expected "embedded" or a URI such as mongodb://USER:PASSWORD@HOST/')
    for name, value in _query(match["query"]):
        if name == "w" and value != "majority":
            raise ValueError(
                f"write concern w={value} is not majority: acknowledged writes could be lost"
            )
        if name in ("journal", "j") and value.lower() != "true":
            raise ValueError("journal=false in the URI: acknowledged writes could be lost")
    return text


def check_redis_url(text: str) -> str:
    """`embedded`, or a redis://, rediss:// or unix:// URL."""
    if text == EMBEDDED:
        return text
    wanted = 'expected "embedded" or a URL such as redis://:PASSWORD@HOST:6379/0'
    try:
        url = urlsplit(text)
        has_place = bool(url.path) if url.scheme == "unix" else bool(url.hostname)
        is_usable = url.scheme in ("redis", "rediss", "unix") and has_place and url.port != 0
    except ValueError:
        raise ValueError(wanted) from None
    if not is_usable or re.search(r"\s", text):
        raise ValueError(wanted)
    return text


def check_database(text: str) -> str:
    """A database name that every MongoDB takes and that is not one of its own."""
    if _DATABASE.fullmatch(text) is None:
        raise ValueError("expected 1 to 38 letters, digits, - or _")
    if text in _MONGOS_OWN_DATABASES:
        raise ValueError(f"{text} is one of MongoDB's own databases")
    return text


def mongo_authenticates(uri: str) -> bool:
    """Whether the program proves who it is to this MongoDB."""
    match = _MONGO.fullmatch(uri)
    if match is None:
        return False
    mechanisms = [value for name, value in _query(match["query"]) if name == "authmechanism"]
    return bool(match["user"]) or any(m in _PASSWORDLESS_MECHANISMS for m in mechanisms)


def redis_authenticates(url: str) -> bool:
    """Whether the program gives this Redis a password."""
    parts = urlsplit(url)
    return bool(parts.password) or any(name == "password" for name, _ in _query(parts.query))


def database_in(uri: str) -> str:
    """The database that a MongoDB URI names, or ""."""
    match = _MONGO.fullmatch(uri)
    return (match["database"] or "") if match else ""


def _query(text: str | None) -> list[tuple[str, str]]:
    return [(name.lower(), value) for name, value in parse_qsl(text or "", keep_blank_values=True)]
