"""Whose rights this process has: what root named may be closed to the user that it became."""

import os
import pwd


def acting_user() -> str:
    """The name of the user whose rights count, or the number of one without an account."""
    number = os.geteuid()
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)
