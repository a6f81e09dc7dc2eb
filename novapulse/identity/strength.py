"""Which new passwords are refused: the common ones, and those made of names that everybody knows.

No rules about kinds of characters. `common_passwords.txt` beside this file has
words and phrases; a password is refused when it is one of those or repeats it,
whatever digits and punctuation are around, when it is made of names that
everybody knows, or when it is one run over the keyboard or the alphabet.
"""

import re
import string
from functools import cache
from pathlib import Path

from novapulse.core.errors import Invalid

_LIST = Path(__file__).with_name("common_passwords.txt")
_PRODUCT = "novapulse"
_SHORTEST_NAME = 4
_FEWEST_CHARACTERS = 5
_LONGEST_REPEATED = 6
_RUNS = (
    *("abcdefghijklmnopqrstuvwxyz", "0123456789", "qwertyuiopasdfghjklzxcvbnm"),
    *("qwertzuiopasdfghjklyxcvbnm", "azertyuiopqsdfghjklmwxcvbn", "1qaz2wsx3edc4rfv5tgb6yhn7ujm"),
    "1q2w3e4r5t6y7u8i9o0p",
)
_LOOKALIKES = str.maketrans("013457@$!", "oleastasi")
_AROUND = string.digits + string.punctuation + " "
_NO_LETTER = re.compile(r"[\W\d_]+")


def check_new_password(
    password: str, *, email: str, company_name: str = "", path: str = "password"
) -> None:
    """Raises Invalid, about the field `path`, for a password that would be guessed first."""
    plain = password.casefold()
    if len(set(plain)) < _FEWEST_CHARACTERS or _is_run(plain):
        raise Invalid.field(path, "is a repetition or a run of neighbouring keys")
    given = (_PRODUCT, company_name, *company_name.split(), email.partition("@")[0])
    own = set(map(_letters, given))
    names = sorted((name for name in own if len(name) >= _SHORTEST_NAME), key=len, reverse=True)
    core = plain.strip(_AROUND).translate(_LOOKALIKES)
    for letters in {_letters(plain), _letters(core)} - {""}:
        rest = letters
        for name in names:
            rest = rest.replace(name, "")
        if rest != letters and (not rest or _is_common(rest)):
            raise Invalid.field(path, "is made of the name of the company, the product or your own")
        if _is_common(letters):
            raise Invalid.field(path, "is one of the most common passwords")


def _letters(text: str) -> str:
    return _NO_LETTER.sub("", text.casefold())


def _is_run(plain: str) -> bool:
    """Whether it goes along a run, forward or backward, and over again when that ends."""
    ways = (way * (len(plain) // len(way) + 2) for run in _RUNS for way in (run, run[::-1]))
    return any(plain in way for way in ways) or len(_unit(plain)) <= _LONGEST_REPEATED


def _is_common(letters: str) -> bool:
    return letters in _common() or _unit(letters) in _common()


def _unit(text: str) -> str:
    """What the text is a repetition of; the text itself when it is none."""
    return text[: (text + text).find(text, 1)]


@cache
def _common() -> frozenset[str]:
    lines = _LIST.read_text(encoding="utf-8").splitlines()
    words = " ".join(line for line in lines if not line.startswith("# ")).split()
    return frozenset(map(_letters, words))
