"""The sections about people's accounts: passwords, tokens, sessions, the second factor."""

from typing import Annotated

from novapulse.core.settings.declare import Key, Reload, Section


class Auth(Section, frozen=True, kw_only=True):
    access_token_seconds: Annotated[
        int,
        Key(
            help="Lifetime of an access token.",
            reload=Reload.API,
            unit="seconds",
            minimum=60,
            maximum=86_400,
        ),
    ] = 900
    session_idle_seconds: Annotated[
        int,
        Key(
            help="A session that nobody refreshes for so long ends.",
            reload=Reload.API,
            unit="seconds",
            minimum=300,
            maximum=7_776_000,
        ),
    ] = 604_800
    session_seconds: Annotated[
        int,
        Key(
            help="The longest life of a session; after it people sign in again.",
            reload=Reload.API,
            unit="seconds",
            minimum=300,
            maximum=31_536_000,
        ),
    ] = 2_592_000
    sessions_per_user: Annotated[
        int,
        Key(
            help="Sessions that one user has at once; a further sign-in ends the oldest.",
            reload=Reload.API,
            unit="sessions",
            minimum=1,
            maximum=200,
        ),
    ] = 20
    argon2_memory_kib: Annotated[
        int,
        Key(
            help="Memory of one password hash; raising it rehashes at the next sign-in.",
            reload=Reload.API,
            unit="KiB",
            minimum=19_456,
            maximum=1_048_576,
        ),
    ] = 19_456
    argon2_time_cost: Annotated[
        int,
        Key(
            help="Passes of one password hash; raising it rehashes at the next sign-in.",
            reload=Reload.API,
            unit="passes",
            minimum=2,
            maximum=20,
        ),
    ] = 2


class Mfa(Section, frozen=True, kw_only=True):
    window: Annotated[
        int,
        Key(
            help="How many 30-second steps a code may be early or late.",
            reload=Reload.API,
            unit="steps",
            minimum=0,
            maximum=4,
        ),
    ] = 2
