"""Passwords: argon2id on threads of its own, so that the event loop never waits."""

import asyncio
import os
from base64 import b64encode
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from argon2.low_level import ARGON2_VERSION

from novapulse.core.errors import Unavailable

_MAX_QUEUED = 64
T = TypeVar("T")


class Passwords:
    """`hash` and `verify`; at most one hash a core at a time and 64 waiting, then Unavailable."""

    def __init__(self, *, memory_kib: int, time_cost: int) -> None:
        self._hasher = PasswordHasher(time_cost=time_cost, memory_cost=memory_kib, parallelism=1)
        self._cores = os.cpu_count() or 1
        self._threads = ThreadPoolExecutor(self._cores, thread_name_prefix="argon2")
        self._pending = 0
        self._nobody = _fitting_nothing(self._hasher)

    async def hash(self, password: str) -> str:
        return await self._run(lambda: self._hasher.hash(password))

    async def verify(self, password_hash: str | None, password: str) -> bool:
        """Whether the password fits; for an unknown user (None) it takes as long and is False."""
        against = self._nobody if password_hash is None else password_hash
        fits = await self._run(lambda: self._verify(against, password))
        return fits and password_hash is not None

    def is_outdated(self, password_hash: str) -> bool:
        """Whether the settings ask for more work by now than this hash took."""
        return self._hasher.check_needs_rehash(password_hash)

    def _verify(self, password_hash: str, password: str) -> bool:
        try:
            return self._hasher.verify(password_hash, password)
        except (VerificationError, InvalidHashError):
            return False

    async def _run(self, call: Callable[[], T]) -> T:
        if self._pending >= self._cores + _MAX_QUEUED:
            raise Unavailable("Too many sign-ins at once; try again shortly")
        self._pending += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, call)
        finally:
            self._pending -= 1

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


def _fitting_nothing(hasher: PasswordHasher) -> str:
    """What looks like a hash of the hasher, and takes as long to try, but is of no password."""
    sizes = hasher.salt_len, hasher.hash_len
    salt, digest = (b64encode(os.urandom(size)).rstrip(b"=").decode() for size in sizes)
    work = f"m={hasher.memory_cost},t={hasher.time_cost},p={hasher.parallelism}"
    return f"$argon2id$v={ARGON2_VERSION}${work}${salt}${digest}"
