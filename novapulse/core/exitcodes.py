"""Exit codes, by the nearest class in the error tree: for the command line and for children."""

from novapulse.core import errors

OK = 0
DEGRADED = 1  # the answer is "no"
BUG = 70
UNAVAILABLE = 69
CONFIGURATION = 78

EXIT_CODES: dict[type[errors.Error], int] = {
    errors.Malformed: 65,
    errors.Invalid: 65,
    errors.Conflict: 65,
    errors.NotFound: 66,
    errors.Unavailable: UNAVAILABLE,
    errors.StorageFull: UNAVAILABLE,
    errors.AlreadyRunning: 75,
    errors.TooManyRequests: 75,
    errors.Unauthenticated: 77,
    errors.Forbidden: 77,
    errors.ConfigurationInvalid: CONFIGURATION,
}


def exit_code_of(error: errors.Error) -> int:
    """70, a bug, for what has no class of its own here."""
    for kind in type(error).__mro__:
        if kind in EXIT_CODES:
            return EXIT_CODES[kind]
    return BUG
