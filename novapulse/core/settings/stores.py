"""The stores' addresses: `embedded`, or the URI of an external one.

Read with the standard library only, so that checking a configuration loads no
driver.
"""

import re
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlsplit

EMBEDDED = "embedded"
_MONGO = re.compile(
    r"mongodb(\+srv)?://((?P<user>[^@/]*)@)?[^/?@\s]+"
    r"(/(?P<database>[^/?@]*))?(\?(?P<query>[^\s]*))?"
)
_SENTINELS = re.compile(
    r"redis\+sentinel://((?P<user>[^:@/?\s]*)(:(?P<password>[^@/?\s]*))?@)?(?P<places>[^/?@\s]+)"
    r"/(?P<service>[^/?@\s]+)(/(?P<database>\d{1,5}))?(\?(?P<query>\S*))?"
)
_SENTINEL_OPTIONS = {"sentinel_username", "sentinel_password"}
_SENTINEL_PORT = 26_379
_PASSWORDLESS_MECHANISMS = ("MONGODB-X509", "MONGODB-AWS", "MONGODB-OIDC", "GSSAPI")
_DATABASE = re.compile(r"[A-Za-z0-9_-]{1,38}")
_MONGOS_OWN_DATABASES = ("admin", "local", "config")


@dataclass(frozen=True, slots=True)
class Sentinels:
    """Whom to ask where the master of `service` is, and how to sign in: there, and with them."""

    places: tuple[tuple[str, int], ...]
    service: str
    database: int
    username: str
    password: str = field(repr=False)
    own_username: str
    own_password: str = field(repr=False)


def sentinels_in(url: str) -> Sentinels | None:
    """None for the URL of a Redis itself; raises ValueError."""
    if not url.startswith("redis+sentinel:"):
        return None
    match = _SENTINELS.fullmatch(url)
    if match is None:
        raise ValueError("expected redis+sentinel://:PASSWORD@HOST:26379,HOST:26379/SERVICE")
    parts = [urlsplit(f"//{place}") for place in match["places"].split(",")]
    places = tuple((part.hostname or "", part.port or _SENTINEL_PORT) for part in parts)
    options = dict(_query(match["query"]))
    if not all(host for host, _ in places) or options.keys() - _SENTINEL_OPTIONS:
        raise ValueError("expected hosts, and sentinel_username or sentinel_password after a ?")
    return Sentinels(
        places=places,
        service=unquote(match["service"]),
        database=int(match["database"] or 0),
        username=unquote(match["user"] or ""),
        password=unquote(match["password"] or ""),
        own_username=options.get("sentinel_username", ""),
        own_password=options.get("sentinel_password", ""),
    )


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
    """`embedded`, or a redis://, rediss://, unix:// or redis+sentinel:// URL."""
    if text == EMBEDDED or sentinels_in(text):
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
