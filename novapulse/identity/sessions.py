"""From a request's credentials to a principal, with the session checked at most 5 s ago."""

import time
from collections import OrderedDict

from novapulse.core.errors import Unauthenticated
from novapulse.identity.model import Session
from novapulse.identity.store import AccountStore

CHECK_SECONDS = 5.0
_CAPACITY = 10_000


class SessionCache:
    """Which sessions were alive a moment ago; bounded, oldest out first."""

    def __init__(self, accounts: AccountStore) -> None:
        self._accounts = accounts
        self._seen: OrderedDict[str, tuple[float, Session]] = OrderedDict()

    async def get(self, session_id: str) -> Session:
        """The live session; raises Unauthenticated."""
        checked, session = self._seen.get(session_id, (0.0, None))
        if session is not None and time.monotonic() - checked < CHECK_SECONDS:
            return session
        self._seen.pop(session_id, None)
        found = await self._accounts.find_session(session_id)
        if found is None:
            raise Unauthenticated("The session has ended")
        self._seen[session_id] = (time.monotonic(), found)
        if len(self._seen) > _CAPACITY:
            self._seen.popitem(last=False)
        return found
