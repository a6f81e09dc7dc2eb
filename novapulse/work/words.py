"""Words of a title, as they are searched for: a beginning is enough, case and accents are not told.

The beginnings are kept with the task, so that a search is an exact look-up in
an index, in the order of the list. Nothing of a client's ever becomes a pattern.
"""

import re
import unicodedata

_WORD = re.compile(r"[^\W_]+")
# Beginnings of 2 to 6 letters are kept; one of more is looked for among those that share six.
SHORTEST, LONGEST = 2, 6


def words(text: str) -> list[str]:
    """Each word once, in order, folded."""
    decomposed = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    letters = "".join(one for one in decomposed if not unicodedata.combining(one))
    return list(dict.fromkeys(_WORD.findall(letters)))


def beginnings(text: str) -> list[str]:
    """What `text` is found by: its short words, and the first 2 to 6 letters of all."""
    found: set[str] = set()
    for word in words(text):
        found.update(word[:length] for length in range(SHORTEST, min(len(word), LONGEST) + 1))
        found.add(word[:LONGEST])
    return sorted(found)


def long_words(text: str) -> list[str]:
    """The words that their beginning does not tell apart."""
    return [word for word in words(text) if len(word) > LONGEST]
