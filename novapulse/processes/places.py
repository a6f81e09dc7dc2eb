"""Where a process finds things, from the resolved settings: stores, secrets, sockets, identity."""

import secrets
from pathlib import Path

from novapulse.core.settings import Loaded, socket_dir
from novapulse.stores import addresses
from novapulse.stores.layout import MongoRole, StoreLayout

CONTROL_SOCKET = "control.sock"


def layout(loaded: Loaded) -> StoreLayout:
    return StoreLayout(
        state=loaded.paths.state,
        sockets=socket_dir(loaded.paths.run),
        database=loaded.settings.mongo.database,
    )


def mongo_uri(loaded: Loaded, role: MongoRole) -> str:
    """The external URI, or that of the embedded mongod's user for `role`."""
    mongo = loaded.settings.mongo
    return addresses.mongo_uri(layout(loaded), role) if mongo.is_embedded else mongo.uri


def redis_url(loaded: Loaded) -> str:
    redis = loaded.settings.redis
    return addresses.redis_url(layout(loaded)) if redis.is_embedded else redis.url


def secrets_directory(loaded: Loaded) -> Path:
    return layout(loaded).secrets


def data_key_file(loaded: Loaded) -> Path:
    """The keys that seal what the database must not be able to read."""
    return secrets_directory(loaded) / "data-keys.json"


def token_key_file(loaded: Loaded) -> Path:
    """The keys that sign access tokens, unless the environment gives one."""
    return secrets_directory(loaded) / "token-keys.json"


def refresh_key_file(loaded: Loaded) -> Path:
    """The key that proves refresh tokens."""
    return secrets_directory(loaded) / "refresh-key"


def setup_token_file(loaded: Loaded) -> Path:
    """There from the first start until the first company is founded."""
    return secrets_directory(loaded) / "setup-token"


def mail_spool(loaded: Loaded) -> Path:
    """Messages that have no mail server to go to."""
    return loaded.paths.state / "mail"


def backup_directory(loaded: Loaded) -> Path:
    return Path(loaded.settings.backup.directory or loaded.paths.state / "backups")


def control_socket(run: Path) -> Path:
    return socket_dir(run) / CONTROL_SOCKET


def appliance_id(loaded: Loaded) -> str:
    """This installation's name among those that share the stores; made on first use."""
    path = loaded.paths.state / "appliance-id"
    try:
        return path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        path.write_text(secrets.token_hex(6) + "\n", encoding="ascii")
        return path.read_text(encoding="ascii").strip()


def owner(loaded: Loaded, instance: str) -> str:
    """How a process signs leases: the appliance, then the incarnation."""
    return f"{appliance_id(loaded)}/{instance}"
