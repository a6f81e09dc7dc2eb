"""The embedded stores' addresses, as the drivers want them. They hold passwords: never log one."""

from pathlib import Path
from urllib.parse import quote

from novapulse.core.errors import Unavailable
from novapulse.core.secretfiles import read_secret_file
from novapulse.stores.layout import MongoRole, StoreLayout
from novapulse.stores.redis import REDIS_USER, redis_password


class NeverStarted(Unavailable):
    """There are no stores to ask; `hint` says what makes some."""

    title = "NovaPulse never ran here"

    def __init__(self, state: Path) -> None:
        super().__init__(f"NovaPulse has not been started with {state} yet")
        self.where = str(state)
        self.hint = "novapulse run, with the same --root or --config, starts it"


def mongo_uri(layout: StoreLayout, role: MongoRole | None) -> str:
    """For the role's user, or for nobody; the database is left to the caller.

    Raises:
        NeverStarted: there are no users yet.
    """
    host = quote(str(layout.mongod_socket), safe="")
    if role is None:
        return f"mongodb://{host}/?directConnection=true"
    try:
        password = read_secret_file(layout.mongo_password_file(role)).decode().strip()
    except FileNotFoundError as error:
        raise NeverStarted(layout.state) from error
    login = f"{role.user}:{quote(password, safe='')}"
    return f"mongodb://{login}@{host}/?authSource=admin&directConnection=true"


def redis_url(layout: StoreLayout) -> str:
    """For redis-py: `unix://USER:PASSWORD@/path`."""
    password = quote(redis_password(layout), safe="")
    return f"unix://{REDIS_USER}:{password}@{quote(str(layout.redis_socket))}"
