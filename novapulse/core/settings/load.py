"""Loading: defaults < file < the predecessor's variables < NOVAPULSE__… < flags."""

import os
from collections.abc import Mapping
from pathlib import Path

from novapulse.core.settings.loaded import Loaded
from novapulse.core.settings.paths import find_paths
from novapulse.core.settings.problems import Problem, SettingsInvalid
from novapulse.core.settings.sections import Settings
from novapulse.core.settings.sources import (
    Draft,
    read_aliases,
    read_environment,
    read_file,
    read_flags,
)
from novapulse.core.settings.stores import database_in, mongo_authenticates, redis_authenticates
from novapulse.core.settings.tree import DECLARATIONS, DEFAULTS, with_values

_SHORTEST_JWT_SECRET = 32  # bytes


def load(
    *,
    root: str | Path | None = None,
    config: str | Path | None = None,
    environ: Mapping[str, str] = os.environ,
    overrides: Mapping[str, object] | None = None,
) -> Loaded:
    """Resolve all settings.

    `overrides` are flags by full key name, such as `{"server.listen": "127.0.0.1:0"}`.

    Raises:
        SettingsInvalid: with every problem that was found.
    """
    paths, must_exist = find_paths(root, config, environ)
    draft = Draft()
    read_file(draft, paths.config_file, must_exist=must_exist)
    read_aliases(draft, environ)
    read_environment(draft, environ)
    read_flags(draft, overrides or {})
    secret = _jwt_secret(draft, environ)
    settings = with_values(DEFAULTS, draft.values)
    if not draft.problems:
        _check_together(draft, settings)
    if draft.problems:
        raise SettingsInvalid(draft.problems)
    return Loaded(
        settings=settings,
        origins={name: draft.origins.get(name, "default") for name in DECLARATIONS},
        paths=paths,
        warnings=tuple(draft.warnings),
        jwt_access_secret=secret,
    )


def _jwt_secret(draft: Draft, environ: Mapping[str, str]) -> bytes | None:
    """The operator's own signing secret; the message never shows it."""
    if environ.get("JWT_REFRESH_SECRET"):
        draft.warnings.append(
            "environment JWT_REFRESH_SECRET: accepted and not used; refresh tokens are opaque"
        )
    text = environ.get("JWT_ACCESS_SECRET", "")
    secret = text.encode(errors="surrogateescape")
    if text and len(secret) < _SHORTEST_JWT_SECRET:
        detail = f"JWT_ACCESS_SECRET has {len(secret)} bytes, fewer than {_SHORTEST_JWT_SECRET}"
        hint = "openssl rand -base64 48 makes a good one; without it one is generated"
        draft.note(
            Problem("JWT_ACCESS_SECRET", detail, "environment JWT_ACCESS_SECRET", hint),
        )
    return secret or None


def _check_together(draft: Draft, settings: Settings) -> None:
    """What only several keys together can get wrong."""
    mongo, redis, webhooks = settings.mongo, settings.redis, settings.webhooks
    if not (mongo.is_embedded or mongo.allow_insecure or mongo_authenticates(mongo.uri)):
        _refuse(
            draft,
            "mongo.uri",
            why="an external MongoDB without authentication",
            hint="put a user into the URI, or set mongo.allow_insecure = true",
        )
    if not (redis.is_embedded or redis.allow_insecure or redis_authenticates(redis.url)):
        _refuse(
            draft,
            "redis.url",
            why="an external Redis without a password",
            hint="put a password into the URL, or set redis.allow_insecure = true",
        )
    if webhooks.max_in_flight_per_webhook > webhooks.max_in_flight:
        _refuse(
            draft,
            "webhooks.max_in_flight_per_webhook",
            why=f"more than webhooks.max_in_flight ({webhooks.max_in_flight})",
            hint="one webhook can not have more attempts under way than all together",
        )
    if settings.mail.host and not settings.mail.sender:
        _refuse(
            draft,
            "mail.host",
            why="a mail server without a sender",
            hint="set mail.from to an address that it sends mails of",
        )
    if bool(settings.server.tls_certificate_file) != bool(settings.server.tls_key_file):
        _refuse(
            draft,
            "server.tls_certificate_file",
            why="a certificate without its key, or a key without its certificate",
            hint="set server.tls_certificate_file and server.tls_key_file, or none of them",
        )
    named = database_in(mongo.uri)
    if named not in ("", "admin", mongo.database):
        draft.warnings.append(
            f"{draft.origins['mongo.uri']}: the database in the URI is only where the user is "
            f"known; the data goes to mongo.database = {mongo.database!r}"
        )


def _refuse(draft: Draft, name: str, *, why: str, hint: str) -> None:
    where = draft.origins.get(name, "default")
    draft.note(Problem(name, f"{name}: {why}", where, hint))
