"""Archives that are the same bytes whenever and wherever the same files are packed.

Names are sorted, owners are root, times are the commit's, and modes are one of two.
"""

import hashlib
import io
import lzma
import struct
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

_BLOCK_BYTES = 24 << 20
# The content of a file of so many bytes begins a block: archives that share it share its work.
_BIG_BYTES = 4 << 20
_THREADS = 2
PRESET = 6
_AR_MAGIC = b"!<arch>\n"
END_OF_TAR = bytes(2 * tarfile.BLOCKSIZE)


def tar_of(
    tree: Path, *, prefix: str, time: int, only: Iterable[Path] | None = None
) -> list[bytes]:
    """The files below `tree` as the pieces of a tar without its end mark.

    `only` chooses some of them, with the directories that they are in; else it is all.
    """
    chosen = sorted(tree.rglob("*") if only is None else _with_parents(only, tree))
    buffer = io.BytesIO()
    cuts = [0]
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for path in chosen:
            entry = _entry(path, name=f"{prefix}{path.relative_to(tree)}", time=time)
            if not entry.isreg():
                archive.addfile(entry)
                continue
            with path.open("rb") as content:
                archive.addfile(entry, content)
            if entry.size >= _BIG_BYTES:
                padded = -(-entry.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
                cuts += [archive.offset - padded, archive.offset]
        cuts.append(archive.offset)
    whole = buffer.getvalue()
    return [whole[start:end] for start, end in pairwise(cuts) if end > start]


def _with_parents(files: Iterable[Path], tree: Path) -> set[Path]:
    found = set()
    for file in files:
        found.add(file)
        found |= {parent for parent in file.parents if tree in parent.parents}
    return found


def _entry(path: Path, *, name: str, time: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.mtime = time
    entry.uname = entry.gname = "root"
    if path.is_symlink():
        entry.type = tarfile.SYMTYPE
        entry.linkname = str(path.readlink())
    elif path.is_dir():
        entry.type = tarfile.DIRTYPE
        entry.mode = 0o755
    else:
        entry.size = path.stat().st_size
        entry.mode = 0o755 if path.stat().st_mode & 0o100 else 0o644
    return entry


class Compressor:
    """Writes one xz stream of many blocks (xz's file format, 1.1): dpkg reads only one stream.

    Blocks are made by threads and kept in `cache` by their content; neither changes a byte.
    """

    def __init__(self, cache: Path, *, preset: int = PRESET) -> None:
        self._cache = cache
        self._preset = preset
        cache.mkdir(parents=True, exist_ok=True)

    def xz(self, pieces: Iterable[bytes]) -> bytes:
        contents = [
            piece[at : at + _BLOCK_BYTES]
            for piece in pieces
            for at in range(0, len(piece), _BLOCK_BYTES)
        ]
        with ThreadPoolExecutor(_THREADS) as pool:
            streams = list(pool.map(self._stream, contents))
        blocks = [stream[_HEADER : -_HEADER - _index_size(stream)] for stream in streams]
        records = b"".join(map(_index_record, streams))
        index = b"\0" + _number(len(streams)) + records
        index += bytes(-len(index) % 4)
        index += struct.pack("<I", zlib.crc32(index))
        backward = struct.pack("<I", len(index) // 4 - 1) + streams[0][6:8]
        footer = struct.pack("<I", zlib.crc32(backward)) + backward + b"YZ"
        return b"".join([streams[0][:_HEADER], *blocks, index, footer])

    def _stream(self, content: bytes) -> bytes:
        """A stream of one block."""
        kept = self._cache / f"{hashlib.sha256(content).hexdigest()}-{self._preset}.xz"
        if kept.is_file():
            return kept.read_bytes()
        stream = lzma.compress(content, preset=self._preset)
        partial = kept.with_suffix(".partial")
        partial.write_bytes(stream)
        partial.rename(kept)
        return stream


# The sizes of a stream's header and of its footer.
_HEADER = 12


def _index_size(stream: bytes) -> int:
    return int((struct.unpack("<I", stream[-8:-4])[0] + 1) * 4)


def _index_record(stream: bytes) -> bytes:
    """The sizes of the stream's only block: after the indicator and the number 1, two numbers."""
    index = stream[-_HEADER - _index_size(stream) : -_HEADER]
    end = 2
    for _ in range(2):
        while index[end] & 0x80:
            end += 1
        end += 1
    return index[2:end]


def _number(value: int) -> bytes:
    """Seven bits a byte, the lowest first."""
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])


def ar(members: Iterable[tuple[str, bytes]], *, time: int) -> bytes:
    """A Unix archive, which a .deb is one of (deb(5))."""
    return _AR_MAGIC + b"".join(_ar_members(members, time))


def _ar_members(members: Iterable[tuple[str, bytes]], time: int) -> Iterator[bytes]:
    for name, content in members:
        yield f"{name:<16}{time:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n".encode()
        yield content + b"\n" * (len(content) % 2)
