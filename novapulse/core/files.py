"""Files in MongoDB, laid out as GridFS says, each one company's own.

Any driver's GridFS and `mongofiles` read them. They are written here, not by the
driver's bucket: that one holds up to 48 MB of a file before it sends anything, and
has one deadline for all of it. A file shows once its last chunk is stored; chunks
without a file, and files that nobody knows, are for their feature to sweep.
"""

import hashlib
from collections.abc import AsyncGenerator, AsyncIterator
from datetime import datetime
from typing import Any

import msgspec

from novapulse.core.errors import NotFound
from novapulse.core.mongo import COMPANY, Binary, Database, Document, TenantSession

CHUNK_BYTES = 255 * 1024
_CHUNKS_A_WRITE = 4
_CHUNKS_A_READ = 4
_DELETED_AT_ONCE = 200


class StoredFile(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    size_bytes: int
    sha256: str


def indexes(bucket: str) -> dict[str, tuple[dict[str, Any], ...]]:
    """Those that GridFS has."""
    return {
        f"{bucket}.files": (
            {"name": "filename", "keys": [("filename", 1), ("uploadDate", 1)]},
            {"name": "company", "keys": [(COMPANY, 1), ("uploadDate", 1)]},
        ),
        f"{bucket}.chunks": (
            {"name": "chunk", "keys": [("files_id", 1), ("n", 1)], "unique": True},
        ),
    }


class FileStore:
    """One company's files in a bucket."""

    def __init__(self, session: TenantSession, bucket: str) -> None:
        self._files = session.rows(f"{bucket}.files")
        self._chunks = session.rows(f"{bucket}.chunks")

    async def write(
        self, file_id: str, pieces: AsyncIterator[bytes], *, name: str, now: datetime
    ) -> StoredFile:
        """Store the pieces as one file; holds about a megabyte of it."""
        digest, size, number = hashlib.sha256(), 0, 0
        kept = bytearray()
        async for piece in pieces:
            digest.update(piece)
            size += len(piece)
            kept += piece
            if len(kept) >= _CHUNKS_A_WRITE * CHUNK_BYTES:
                whole = len(kept) // CHUNK_BYTES
                await self._put(file_id, kept[: whole * CHUNK_BYTES], first=number)
                del kept[: whole * CHUNK_BYTES]
                number += whole
        if kept:
            await self._put(file_id, kept, first=number)
        stored = StoredFile(id=file_id, size_bytes=size, sha256=digest.hexdigest())
        document = {
            "_id": file_id,
            "length": size,
            "chunkSize": CHUNK_BYTES,
            "uploadDate": now,
            "filename": name,
            "metadata": {"sha256": stored.sha256},
        }
        await self._files.insert(document)
        return stored

    async def _put(self, file_id: str, data: bytearray, *, first: int) -> None:
        chunks = [
            {
                "files_id": file_id,
                "n": first + number,
                "data": Binary(bytes(data[at : at + CHUNK_BYTES])),
            }
            for number, at in enumerate(range(0, len(data), CHUNK_BYTES))
        ]
        await self._chunks.insert_many(chunks)

    async def read(self, file_id: str, start: int, end: int) -> AsyncGenerator[bytes, None]:
        """The bytes from `start` up to `end`; raises NotFound when some are not there."""
        number = start // CHUNK_BYTES
        while number * CHUNK_BYTES < end:
            where = {"files_id": file_id, "n": {"$gte": number}}
            found = await self._chunks.find(where, sort=(("n", 1),), limit=_CHUNKS_A_READ)
            if not found:
                raise NotFound("The file is not there any more")
            for chunk in found:
                offset = number * CHUNK_BYTES
                if chunk["n"] != number:
                    raise NotFound("A part of the file is not there any more")
                if offset < end:
                    yield bytes(chunk["data"])[max(0, start - offset) : end - offset]
                number += 1

    async def delete(self, file_id: str) -> None:
        """The file, or what there is of it; a repeat is harmless."""
        await self._files.delete_one({"_id": file_id})
        where: Document = {"files_id": file_id}
        while found := await self._chunks.find(
            where, limit=_DELETED_AT_ONCE, projection={"_id": 1}
        ):
            await self._chunks.delete_many({"_id": {"$in": [chunk["_id"] for chunk in found]}})


async def all_files(db: Database, bucket: str) -> list[tuple[str, str]]:
    """Company and id of every file in the bucket, whole or not."""
    # Sorted and grouped by the head of an index: one step a file, not one a chunk.
    by_file: list[Document] = [
        {"$sort": {"files_id": 1, "n": 1}},
        {"$group": {"_id": "$files_id", COMPANY: {"$first": f"${COMPANY}"}}},
    ]
    chunks = await db.platform(f"{bucket}.chunks").aggregate(by_file)
    files = await db.platform(f"{bucket}.files").aggregate([{"$project": {COMPANY: 1}}])
    return sorted({(row[COMPANY], row["_id"]) for row in [*chunks, *files]})
