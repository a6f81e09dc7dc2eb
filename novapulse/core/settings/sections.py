"""The sections of config.toml and their keys: what exists, its default and its meaning."""

from typing import Annotated, Literal

from novapulse.core.settings.accounts import Auth, Mfa
from novapulse.core.settings.addresses import (
    Address,
    check_http_url,
    check_listen,
    check_network,
)
from novapulse.core.settings.alerts import Alerts
from novapulse.core.settings.audit import Audit
from novapulse.core.settings.backup import Backup
from novapulse.core.settings.declare import About, Key, Reload, Section
from novapulse.core.settings.mail import Mail, Notifications
from novapulse.core.settings.paths import check_path
from novapulse.core.settings.queues import Queues, Webhooks
from novapulse.core.settings.rates import Rate
from novapulse.core.settings.reports import Reports
from novapulse.core.settings.stores import (
    EMBEDDED,
    check_database,
    check_mongo_uri,
    check_redis_url,
)
from novapulse.core.settings.tracing import Tracing
from novapulse.core.settings.workflows import Workflows


class Server(Section, frozen=True, kw_only=True):
    listen: Annotated[
        str,
        Key(
            help="Address of the API: HOST:PORT or [IPv6]:PORT; port 0 lets the system choose.",
            reload=Reload.REBIND,
            check=check_listen,
        ),
    ] = "127.0.0.1:5000"
    processes: Annotated[
        int,
        Key(
            help="API processes; about one a core.",
            reload=Reload.SLOTS,
            unit="processes",
            minimum=1,
            maximum=64,
        ),
    ] = 2
    public_url: Annotated[
        str,
        Key(
            help="The URL that people and mails use; empty means http(s):// and the listen "
            "address.",
            reload=Reload.BOTH,
            check=check_http_url,
        ),
    ] = ""
    tls_certificate_file: Annotated[
        str,
        Key(
            help="Path of the certificate and its chain (PEM): the API then speaks TLS itself.",
            reload=Reload.API,
            check=check_path,
        ),
    ] = ""
    tls_key_file: Annotated[
        str,
        Key(
            help="Path of the certificate's key (PEM, 0600, without a passphrase).",
            reload=Reload.API,
            check=check_path,
        ),
    ] = ""
    trusted_proxies: Annotated[
        tuple[str, ...],
        Key(
            help="Addresses or networks of reverse proxies whose X-Forwarded-For is believed.",
            reload=Reload.API,
            check=check_network,
        ),
    ] = ()
    max_body_bytes: Annotated[
        int,
        Key(
            help="The largest request body that is accepted.",
            reload=Reload.API,
            unit="bytes",
            minimum=1_024,
            maximum=16_777_216,
        ),
    ] = 1_048_576
    header_timeout_seconds: Annotated[
        float,
        Key(
            help="Longest wait for the header of a request that has begun.",
            reload=Reload.API,
            unit="seconds",
            minimum=0.5,
            maximum=120,
        ),
    ] = 10.0
    body_timeout_seconds: Annotated[
        float,
        Key(
            help="Longest wait for the body of a request after its header.",
            reload=Reload.API,
            unit="seconds",
            minimum=0.5,
            maximum=600,
        ),
    ] = 30.0
    stream_seconds: Annotated[
        float,
        Key(
            help="Longest time that one export or download may take.",
            reload=Reload.LIVE,
            unit="seconds",
            minimum=10,
            maximum=86_400,
        ),
    ] = 900.0
    drain_seconds: Annotated[
        float,
        Key(
            help="How long stopping API processes, and then consumers, may finish their work.",
            reload=Reload.CONSUMERS,
            unit="seconds",
            minimum=0.5,
            maximum=300,
        ),
    ] = 4.0

    @property
    def address(self) -> Address:
        return Address.parse(self.listen)

    @property
    def base_url(self) -> str:
        """`public_url`, or what the listen address makes of it; without a trailing slash."""
        scheme = "https" if self.has_tls else "http"
        return self.public_url or f"{scheme}://{self.listen}"

    @property
    def has_tls(self) -> bool:
        """Whether the API ends TLS itself."""
        return bool(self.tls_certificate_file)


class Mongo(Section, frozen=True, kw_only=True):
    uri: Annotated[
        str,
        Key(
            help='"embedded" runs our own mongod; a mongodb:// URI uses a replica set elsewhere.',
            reload=Reload.RESTART,
            check=check_mongo_uri,
            secret=True,
        ),
    ] = EMBEDDED
    database: Annotated[
        str,
        Key(
            help="Name of the database; the one in the URI only says where the user is known.",
            reload=Reload.RESTART,
            check=check_database,
        ),
    ] = "novapulse"
    timeout_seconds: Annotated[
        float,
        Key(
            help="Longest wait for one operation before the answer is 503.",
            reload=Reload.BOTH,
            unit="seconds",
            minimum=0.1,
            maximum=60,
        ),
    ] = 1.5
    max_pool_size: Annotated[
        int,
        Key(
            help="Most connections of one process.",
            reload=Reload.BOTH,
            unit="connections",
            minimum=1,
            maximum=500,
        ),
    ] = 50
    allow_insecure: Annotated[
        bool,
        Key(
            help="Accept an external MongoDB that asks for no authentication.",
            reload=Reload.BOTH,
        ),
    ] = False

    @property
    def is_embedded(self) -> bool:
        return self.uri == EMBEDDED


class Redis(Section, frozen=True, kw_only=True):
    url: Annotated[
        str,
        Key(
            help='"embedded" runs our own; else a redis://, rediss://, unix:// or '
            "redis+sentinel:// URL.",
            reload=Reload.RESTART,
            check=check_redis_url,
            secret=True,
        ),
    ] = EMBEDDED
    timeout_seconds: Annotated[
        float,
        Key(
            help="Longest wait for Redis; the program goes on without it after that.",
            reload=Reload.BOTH,
            unit="seconds",
            minimum=0.05,
            maximum=10,
        ),
    ] = 0.25
    allow_insecure: Annotated[
        bool,
        Key(
            help="Accept an external Redis that asks for no password.",
            reload=Reload.BOTH,
        ),
    ] = False

    @property
    def is_embedded(self) -> bool:
        return self.url == EMBEDDED


class Stores(Section, frozen=True, kw_only=True):
    mongod: Annotated[
        str,
        Key(
            help="Path of mongod; empty means PATH, then .stores/bin of the installation.",
            reload=Reload.RESTART,
            check=check_path,
        ),
    ] = ""
    redis_server: Annotated[
        str,
        Key(
            help="Path of redis-server; empty means PATH, then .stores/bin of the installation.",
            reload=Reload.RESTART,
            check=check_path,
        ),
    ] = ""
    mongod_cache_gb: Annotated[
        float,
        Key(
            help="Cache of the embedded mongod.",
            reload=Reload.RESTART,
            unit="GB",
            minimum=0.25,
            maximum=256,
        ),
    ] = 0.25


class Registration(Section, frozen=True, kw_only=True):
    mode: Annotated[
        Literal["closed", "open"],
        Key(
            help='Who may found a company: "closed" nobody without the operator, "open" everybody.',
            reload=Reload.API,
        ),
    ] = "closed"


class RateLimits(Section, frozen=True, kw_only=True):
    enabled: Annotated[
        bool,
        Key(help="Whether requests are limited at all.", reload=Reload.LIVE),
    ] = True
    general: Annotated[
        Rate,
        Key(help="Requests of one client to the API.", reload=Reload.LIVE),
    ] = Rate(100, 60)
    login: Annotated[
        Rate,
        Key(help="Sign-in attempts of one client.", reload=Reload.LIVE),
    ] = Rate(5, 60)
    register: Annotated[
        Rate,
        Key(help="Registrations of one client.", reload=Reload.LIVE),
    ] = Rate(5, 60)
    invites: Annotated[
        Rate,
        Key(help="Invites that one company's user may send.", reload=Reload.LIVE),
    ] = Rate(10, 60)
    exports: Annotated[
        Rate,
        Key(help="Exports of one client.", reload=Reload.LIVE),
    ] = Rate(100, 60)


class Logging(Section, frozen=True, kw_only=True):
    level: Annotated[
        Literal["debug", "info", "warning", "error"],
        Key(help="The least important lines that are written.", reload=Reload.LIVE),
    ] = "info"
    format: Annotated[
        Literal["auto", "json", "pretty"],
        Key(
            help='"json" one object a line, "pretty" for people, "auto" pretty on a terminal.',
            reload=Reload.BOTH,
        ),
    ] = "auto"


class Supervision(Section, frozen=True, kw_only=True):
    quarantine_exits: Annotated[
        int,
        Key(
            help="Early exits in a minute after which a process is tried once a minute only.",
            reload=Reload.LIVE,
            unit="exits",
            minimum=1,
            maximum=100,
        ),
    ] = 5
    start_seconds: Annotated[
        float,
        Key(
            help="How long a process may take to become ready before it is replaced.",
            reload=Reload.LIVE,
            unit="seconds",
            minimum=1,
            maximum=600,
        ),
    ] = 30.0
    max_requests: Annotated[
        int,
        Key(
            help="Requests after which an API process is replaced, up to 20 % more; 0 is never.",
            reload=Reload.LIVE,
            unit="requests",
            minimum=0,
            maximum=1_000_000_000,
        ),
    ] = 0
    max_rss_mb: Annotated[
        int,
        Key(
            help="Memory over which an API process or consumer is replaced, up to 20 % more; "
            "0 is never.",
            reload=Reload.LIVE,
            unit="MB",
            minimum=0,
            maximum=1_048_576,
        ),
    ] = 0


class Settings(Section, frozen=True, kw_only=True):
    """The whole tree; built once a process and passed by section."""

    server: Annotated[Server, About("The API and where it listens.")] = Server()
    mongo: Annotated[Mongo, About("MongoDB, which remembers everything.")] = Mongo()
    redis: Annotated[Redis, About("Redis, which wakes consumers and counts requests.")] = Redis()
    stores: Annotated[Stores, About("The stores that the program runs itself.")] = Stores()
    registration: Annotated[Registration, About("New companies.")] = Registration()
    rate_limits: Annotated[
        RateLimits, About("How much one client may ask: N/second, N/minute or N/hour.")
    ] = RateLimits()
    auth: Annotated[Auth, About("Passwords, tokens and sessions.")] = Auth()
    mfa: Annotated[Mfa, About("The second factor: codes of an authenticator app.")] = Mfa()
    queues: Annotated[Queues, About("Background jobs.")] = Queues()
    webhooks: Annotated[Webhooks, About("Outgoing webhooks.")] = Webhooks()
    workflows: Annotated[Workflows, About("Workflows and their runs.")] = Workflows()
    reports: Annotated[Reports, About("Reports.")] = Reports()
    audit: Annotated[Audit, About("The audit log.")] = Audit()
    logging: Annotated[Logging, About("Log lines.")] = Logging()
    supervisor: Annotated[Supervision, About("How the program watches its own processes.")] = (
        Supervision()
    )
    mail: Annotated[Mail, About("Outgoing mail.")] = Mail()
    notifications: Annotated[
        Notifications, About("What people are told in the API and the console.")
    ] = Notifications()
    tracing: Annotated[Tracing, About("Traces over OTLP/HTTP.")] = Tracing()
    alerts: Annotated[Alerts, About("Alerts that the program raises by itself.")] = Alerts()
    backup: Annotated[Backup, About("Backups.")] = Backup()
