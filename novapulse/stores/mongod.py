"""mongod's start line and health question."""

import struct
from pathlib import Path

from novapulse.stores.find import clean_environment, find_libraries
from novapulse.stores.layout import StoreLayout
from novapulse.stores.process import StoreProcess

REPLICA_SET = "np"
_SMALLEST_OPLOG_MB = 990
# A crash loses what was written in so many milliseconds without asking for the journal.
# We always ask, and mongod then flushes at once: less waking up, the same latency.
_JOURNAL_MILLISECONDS = 500
# Ours take far less than a second; mongod looks for older ones in half that time.
_LONGEST_TRANSACTION_SECONDS = 6

_HEADER = struct.Struct("<iiii")
_OP_MSG = 2013
_BODY = b"\x10hello\0\x01\0\0\0\x02$db\0\x06\0\0\0admin\0\0"
_DOCUMENT = struct.pack("<i", len(_BODY) + 4) + _BODY
_MESSAGE = b"\0\0\0\0" + b"\0" + _DOCUMENT  # no flags, one section of kind 0
# The OP_MSG of {hello: 1, $db: "admin"}, by hand: whoever probes need not load the driver.
HELLO = _HEADER.pack(_HEADER.size + len(_MESSAGE), 1, 0, _OP_MSG) + _MESSAGE
_OK = b"\x01ok\0" + struct.pack("<d", 1.0)


def mongod_process(layout: StoreLayout, program: Path, *, cache_gb: float) -> StoreProcess:
    """One member of a replica set of one, on a unix socket alone, with users and no JavaScript."""
    argv = [
        str(program),
        *("--dbpath", str(layout.mongod_data)),
        *("--bind_ip", str(layout.mongod_socket)),
        # Without this one mongod also serves /tmp/mongodb-27017.sock, whoever had it before.
        "--nounixsocket",
        *("--filePermissions", "0700"),
        *("--replSet", REPLICA_SET),
        *("--keyFile", str(layout.mongod_key)),
        "--noscripting",
        *("--wiredTigerCacheSizeGB", f"{cache_gb:g}"),
        *("--oplogSize", str(_SMALLEST_OPLOG_MB)),
        *("--journalCommitInterval", str(_JOURNAL_MILLISECONDS)),
        "--quiet",
        # Its slow-query lines would carry people's data and tokens into the log.
        *("--slowOpSampleRate", "0"),
        *("--setParameter", "diagnosticDataCollectionEnabled=false"),
        # Old versions of rows are not kept for reads of the past: queues change their rows fast.
        *("--setParameter", "minSnapshotHistoryWindowInSeconds=0"),
        # mongod does not end the transaction of a process that was killed: what it had written,
        # the leader's lease for one, would be closed to everybody for the default's minute.
        *("--setParameter", f"transactionLifetimeLimitSeconds={_LONGEST_TRANSACTION_SECONDS}"),
    ]
    return StoreProcess(
        argv=tuple(argv),
        env=clean_environment(find_libraries(program)),
        cwd=layout.mongod_data,
        socket_path=layout.mongod_socket,
        probe_request=HELLO,
        probe_verdict=judge_hello,
    )


def judge_hello(answer: bytes) -> bool | None:
    """Whether the answer to HELLO is complete and says `ok: 1`."""
    if len(answer) < _HEADER.size:
        return None
    length, _, _, operation = _HEADER.unpack_from(answer)
    if operation != _OP_MSG:
        return False
    return None if len(answer) < length else _OK in answer
