"""Lines of keys, over everything that TOML allows around them."""

import tomllib

from hypothesis import given
from hypothesis import strategies as st

from novapulse.core.settings.locate import line_of, locate_keys

SAMPLE = """\
top = 1

[server]   # [comment]
listen = "a # no = [comment]"
'quoted' = 'x = ['
"esc\\u0061ped" = 1
list = [
  "a", # ] not the end
  [1, 2],
]
after = 1.5
long = \"\"\"
[fake]
fake = 1 \\\"\"\"
\"\"\"\"\"
then.deep . deeper = {inline = [1], "x" = 2}

[ a . "b" ]
raw = '''
x = 1
''''
last = 2026-01-01T00:00:00Z
[[array]]
item = 1
"""


def test_every_statement_is_found_on_its_line() -> None:
    tomllib.loads(SAMPLE)
    assert locate_keys(SAMPLE) == {
        "top": 1,
        "server": 3,
        "server.listen": 4,
        "server.quoted": 5,
        "server.escaped": 6,
        "server.list": 7,
        "server.after": 11,
        "server.long": 12,
        "server.then.deep.deeper": 16,
        "a.b": 18,
        "a.b.raw": 19,
        "a.b.last": 22,
        "array": 23,
        "array.item": 24,
    }


def test_a_key_in_an_inline_table_stands_where_the_table_does() -> None:
    lines = locate_keys("\nqueues = {email = {attempts = 1}}\n")
    assert line_of(lines, "queues.email.attempts") == 2
    assert line_of(lines, "unheard.of") == 1


@given(st.lists(st.text(max_size=30), max_size=5), st.integers(0, 5))
def test_strings_of_any_content_never_shift_a_line(strings: list[str], blank: int) -> None:
    quoted = [
        "".join(f"\\U{ord(c):08x}" for c in s if not 0xD800 <= ord(c) <= 0xDFFF) for s in strings
    ]
    text = "".join(f'k{n} = "{s}"\n' for n, s in enumerate(quoted)) + "\n" * blank + "end = 1"
    tomllib.loads(text)
    assert locate_keys(text)["end"] == len(strings) + blank + 1


@given(st.text(alphabet="ab=[]{}.#'\"\\\n ,1", max_size=60))
def test_whatever_the_parser_accepts_has_lines_for_its_top_keys(text: str) -> None:
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    lines = locate_keys(text)
    last = text.count("\n") + 1
    for name in table:
        prefixes = [known for known in lines if known == name or known.startswith(name + ".")]
        assert prefixes
        assert all(1 <= lines[known] <= last for known in prefixes)
