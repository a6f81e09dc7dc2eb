"""An appliance that comes to a shared database brings the keys of the others, or does not start."""

from novapulse.core import samekeys
from novapulse.core.crypto import load_key_ring, read_key_file
from novapulse.core.mongo import Database
from novapulse.core.samekeys import OtherKeys
from novapulse.core.settings import Loaded
from novapulse.identity.refresh import load_refresh_key
from novapulse.identity.tokens import load_token_keys
from novapulse.processes import places


def marks(loaded: Loaded) -> dict[str, str]:
    """Of the keys in use here, by what they are for; they are made on the first start."""
    tokens = load_token_keys(places.token_key_file(loaded), given=loaded.jwt_access_secret)
    return {
        "data": samekeys.mark_of_ring(load_key_ring(places.data_key_file(loaded))),
        "tokens": samekeys.mark(tokens.current, tokens.keys[tokens.current]),
        "refresh": samekeys.mark("refresh", load_refresh_key(places.refresh_key_file(loaded))),
    }


async def require_same_keys(db: Database, loaded: Loaded) -> None:
    """Make what is missing of ours. Raises OtherKeys; an embedded database is shared with nobody.

    All of them, whatever roles run here: they may be copied to where the others do.
    """
    ours = marks(loaded)
    if loaded.settings.mongo.is_embedded:
        return
    theirs = await samekeys.noted(db, ours)
    files = {
        "data": places.data_key_file(loaded).name,
        "tokens": "JWT_ACCESS_SECRET"
        if loaded.jwt_access_secret is not None
        else places.token_key_file(loaded).name,
        "refresh": places.refresh_key_file(loaded).name,
    }
    other = [files[name] for name, mark in ours.items() if theirs.get(name, mark) != mark]
    if files["data"] in other and _is_rotating(loaded, theirs["data"]):
        other.remove(files["data"])
    if other:
        raise OtherKeys(
            f"Other appliances share this database, and their keys differ: {', '.join(other)}. "
            "Copy state/secrets of one of them, or make these the right ones: novapulse keys adopt",
            where=str(places.secrets_directory(loaded)),
        )


def _is_rotating(loaded: Loaded, theirs: str) -> bool:
    """A rotation that was interrupted before the new key was noted is ours to go on with."""
    path = places.data_key_file(loaded)
    return read_key_file(path).rotating_since is not None and samekeys.opens(
        load_key_ring(path), theirs
    )
