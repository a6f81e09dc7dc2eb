"""What a recovery passphrase closes, and every way in which it stays closed."""

import io

import pytest

from novapulse.backup import sealing
from novapulse.backup.model import BackupDamaged, WrongPassphrase
from novapulse.backup.sealing import Lock, OpeningFile, SealingFile
from novapulse.core.errors import Invalid

PASSPHRASE = b"correct horse battery"
CHUNK = 1 << 20
TAG = 16


@pytest.fixture(autouse=True)
def _cheap_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """A derivation that takes no third of a second."""
    monkeypatch.setattr(sealing, "_COST", 1 << 4)


def sealed(plain: bytes) -> bytes:
    out = io.BytesIO()
    file = SealingFile(out, Lock.new(PASSPHRASE))
    for begin in range(0, len(plain), 300_000):
        file.write(plain[begin : begin + 300_000])
    file.close()
    return out.getvalue()


def opened(data: bytes, passphrase: bytes | None = PASSPHRASE) -> bytes:
    file, pieces = OpeningFile(io.BytesIO(data), passphrase), []
    while piece := file.read(70_001):
        pieces.append(piece)
    return b"".join(pieces)


def split(data: bytes) -> tuple[bytes, list[bytes]]:
    """The head and the sealed chunks."""
    head, _, rest = data.partition(b"\n")
    size = CHUNK + TAG
    return head + b"\n", [rest[begin : begin + size] for begin in range(0, len(rest), size)]


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 3 * CHUNK + 7])
def test_what_was_sealed_opens_again(size: int):
    plain = bytes(index % 251 for index in range(size))
    data = sealed(plain)
    assert opened(data) == plain
    assert size < 100 or plain[:100] not in data


@pytest.mark.parametrize("passphrase", [b"correct horse batterx", b"", None])
def test_another_passphrase_is_told_apart_from_damage(passphrase: bytes | None):
    with pytest.raises(WrongPassphrase):
        opened(sealed(b"x"), passphrase)


@pytest.mark.parametrize("at", [0.5, 0.9, 1.0])
def test_a_flipped_byte_does_not_open(at: float):
    data = bytearray(sealed(bytes(CHUNK + 5)))
    data[int((len(data) - 1) * at)] ^= 1
    with pytest.raises(BackupDamaged):
        opened(bytes(data))


def test_chunks_can_not_be_cut_off_left_out_exchanged_or_added():
    head, chunks = split(sealed(bytes(3 * CHUNK + 9)))
    first, second, third, last = chunks
    for others in (
        [first, second, third],
        [first, third, last],
        [second, first, third, last],
        [*chunks, last],
        [first, second, third, last[:-1]],
        [],
    ):
        if not others:
            continue
        with pytest.raises(BackupDamaged):
            opened(head + b"".join(others))


def test_a_chunk_of_another_backup_does_not_fit():
    head, chunks = split(sealed(bytes(CHUNK + 1)))
    _, others = split(sealed(bytes(CHUNK + 1)))
    with pytest.raises(BackupDamaged):
        opened(head + others[0] + chunks[1])


@pytest.mark.parametrize(
    "recipe",
    [
        {"n": 1 << 30, "r": 8, "p": 1},
        {"n": 1 << 4, "r": 1 << 20, "p": 1},
        {"n": 1 << 4, "r": 8, "p": 1 << 20},
        {"n": 17, "r": 8, "p": 1},
        {"n": 0, "r": 8, "p": 1},
    ],
)
def test_a_file_can_not_make_us_work_without_end(recipe: dict[str, int]):
    with pytest.raises(BackupDamaged):
        Lock.matching(sealing.Recipe(salt=b"x" * 16, check="", **recipe), PASSPHRASE)


def test_a_short_passphrase_is_refused():
    with pytest.raises(Invalid):
        Lock.new(b"elevenchars")


def test_what_is_sealed_for_one_purpose_does_not_open_for_another():
    lock = Lock.new(PASSPHRASE)
    assert lock.open(lock.seal(b"x", "one"), "one") == b"x"
    with pytest.raises(BackupDamaged):
        lock.open(lock.seal(b"x", "one"), "other")
