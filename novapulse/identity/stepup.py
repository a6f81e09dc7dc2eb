"""Step-up: what may only follow a password that was typed a moment ago."""

from datetime import timedelta

from novapulse.core.context import Context
from novapulse.core.errors import Forbidden, StepUpRequired
from novapulse.identity.sessions import SessionStore

LASTS = timedelta(minutes=5)


async def require(ctx: Context) -> None:
    """Raises StepUpRequired unless the session proved itself within the last 5 minutes.

    An API token never did. What comes from the command line or a job needs not.
    """
    if ctx.via != "api":
        return
    now = ctx.now()
    if ctx.principal.session_id is not None:
        # Not from the cache: the mark may have been made in another process just now.
        session = await SessionStore(ctx.runtime.db).find(ctx.principal.session_id, now)
        until = session and session.stepped_up_until
        if until and now < until:
            return
    raise StepUpRequired()


async def mark(ctx: Context) -> None:
    """Note that the caller's session proved itself now."""
    await SessionStore(ctx.runtime.db).step_up(current_session_id(ctx), ctx.now() + LASTS)


def current_session_id(ctx: Context) -> str:
    """The session that the request was made in; raises Forbidden for an API token."""
    if ctx.principal.session_id is None:
        raise Forbidden("An API token can not do this; sign in")
    return ctx.principal.session_id
