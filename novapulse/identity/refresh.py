"""Refresh tokens: opaque, rotating, known to the database by their hash only.

`session id . 256 secret bits . proof`. The proof tells a token that was issued
here from one that somebody made up: only a real one that comes again may end
its session. The successor is computed, so that a repeat gets the same answer.
"""

import base64
import hashlib
import hmac
import re
import secrets
from pathlib import Path

from novapulse.core.errors import ConfigurationInvalid
from novapulse.core.secretfiles import ensure_secret_file

_KEY_BYTES = 32
_SECRET_BYTES = 32
_PROOF_BYTES = 16
_SHAPE = re.compile(r"([0-9a-f]{24})\.[\w-]{43}\.([\w-]{22})", re.ASCII)


def load_refresh_key(path: Path) -> bytes:
    """The key in `path`, made on first use."""
    key = ensure_secret_file(path, lambda: secrets.token_bytes(_KEY_BYTES))
    if len(key) != _KEY_BYTES:
        raise ConfigurationInvalid(
            f"The refresh key does not have {_KEY_BYTES} bytes", where=str(path)
        )
    return key


class RefreshTokens:
    """Makes and checks them with the installation's refresh key."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def first(self, session_id: str) -> str:
        return self._proven(session_id, secrets.token_bytes(_SECRET_BYTES))

    def successor(self, token: str) -> str:
        """The one token that `token` is exchanged for."""
        return self._proven(token.partition(".")[0], self._mac(b"", token))

    def session_of(self, token: str) -> str | None:
        """The id of the session that the token was issued for; None for a made-up one."""
        found = _SHAPE.fullmatch(token)
        if found is None:
            return None
        head = token.rpartition(".")[0]
        fits = hmac.compare_digest(found[2], self._proof(head))
        return found[1] if fits else None

    def csrf_token(self, session_id: str) -> str:
        """What a page has to show beside the cookie of this session."""
        return _text(self._mac(b"csrf\0", session_id)[:_PROOF_BYTES])

    def _proven(self, session_id: str, secret: bytes) -> str:
        head = f"{session_id}.{_text(secret)}"
        return f"{head}.{self._proof(head)}"

    def _proof(self, head: str) -> str:
        return _text(self._mac(b"proof\0", head)[:_PROOF_BYTES])

    def _mac(self, purpose: bytes, text: str) -> bytes:
        return hmac.digest(self._key, purpose + text.encode(), "sha256")


def digest(token: str) -> str:
    """What the database keeps of a secret token."""
    return hashlib.sha256(token.encode()).hexdigest()


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")
