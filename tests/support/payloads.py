"""A thousand webhook payloads, as odd as texts can be, the same ones in every run."""

import random
from typing import Any

from novapulse.core import wire
from novapulse.core.ids import derived_id

_ALPHABETS = (
    "abcXYZ019 _-.,:;/\\\"'<>&{}[]()%$#@!?*+=~^`|",
    "äöüßéñçøåÆŒł",
    "Привет мир",
    "日本語テキスト漢字",
    "العربية עברית",
    "😀🚀👩‍👩‍👧‍👦🏳️‍🌈𝒳𐍈",
    "\u2028\u2029\u00ad\u200b\u200f\ufeff\u00a0\ufffd",
    "\b\f\n\r\t\x01\x1f\x7f\x80\x9f",
    "</script><!--&amp;%00\\u0000",
)


def payloads(count: int = 1_000, *, seed: int = 20_261_123) -> list[bytes]:
    """Bodies as receivers get them, all different."""
    draw = random.Random(seed)
    return [_payload(draw, number) for number in range(count)]


def _payload(draw: random.Random, number: int) -> bytes:
    content = {
        "id": derived_id("evt", "evt_01m84kw5ez", str(number)),
        "event": draw.choice(["task.created", "task.updated", "user.created"]),
        "version": 1,
        "createdAt": "2026-11-23T16:29:53.501Z",
        "companyId": f"{draw.getrandbits(96):024x}",
        "sequence": number + 1,
        "data": {"task": {_key(draw): _value(draw, depth=0) for _ in range(draw.randint(0, 8))}},
    }
    return wire.encode(content)


def _value(draw: random.Random, *, depth: int) -> Any:
    kinds = ["text", "text", "integer", "boolean", "null", "time"]
    if depth < 3:
        kinds += ["list", "object"]
    match draw.choice(kinds):
        case "text":
            return _text(draw)
        case "integer":
            return draw.randint(-(2**53) + 1, 2**53 - 1)
        case "boolean":
            return draw.random() < 0.5
        case "time":
            return "2026-11-23T16:29:53.501Z"
        case "list":
            return [_value(draw, depth=depth + 1) for _ in range(draw.randint(0, 4))]
        case "object":
            count = draw.randint(0, 4)
            return {_key(draw): _value(draw, depth=depth + 1) for _ in range(count)}
    return None


def _key(draw: random.Random) -> str:
    """Never a number: JavaScript puts those first when it writes an object."""
    return "k" + "".join(draw.choices("abcdefgh_ÄЖ", k=draw.randint(1, 6)))


def _text(draw: random.Random) -> str:
    alphabet = "".join(draw.sample(_ALPHABETS, k=draw.randint(1, 3)))
    return "".join(draw.choices(alphabet, k=draw.choice((0, 1, 5, 40, 400))))
