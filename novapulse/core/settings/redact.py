"""Values as they may be shown: passwords in URIs are starred out."""

import re

from novapulse.core.settings.declare import Declaration

# Greedy, up to the last @: a password that was not percent-encoded may hold / or @ itself.
_USERINFO = re.compile(r"(?<=://)\S*(?=@)")
_QUERY = re.compile(
    r"(?P<name>[?&][^=&]*(password|token|secret|authmechanismproperties)[^=&]*)=[^&#]*",
    re.IGNORECASE,
)


def shown(declaration: Declaration, value: object) -> object:
    """`value`, or for a secret key what of it is safe on a screen."""
    if not declaration.key.secret or not isinstance(value, str):
        return value
    return _QUERY.sub(r"\g<name>=***", _USERINFO.sub("***", value))
