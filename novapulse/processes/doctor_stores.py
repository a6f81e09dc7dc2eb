"""What the doctor looks at in the stores: their programs, and what they say while they run."""

import re
import shutil
import subprocess
from collections.abc import Awaitable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from novapulse.core.context import Runtime
from novapulse.core.errors import Error
from novapulse.core.migrate import drift
from novapulse.core.mongo import measured
from novapulse.core.settings import Loaded
from novapulse.processes.features import INDEXES
from novapulse.processes.finding import Finding, bad, ok, skipped, warn
from novapulse.processes.runtime import open_runtime
from novapulse.stores.find import (
    Program,
    StoreUnusable,
    check_runs,
    clean_environment,
    find_libraries,
    find_store,
)
from novapulse.stores.layout import MongoRole

_LDD_SECONDS = 10.0
_MOST_DRIFT_SECONDS = 2.0
_OLDEST_MONGODB, _OLDEST_REDIS = (6, 0), (6, 2)


def programs(loaded: Loaded) -> Iterator[Finding]:
    """The embedded stores' programs: there, new enough, with all their libraries."""
    settings = loaded.settings
    if settings.redis.is_embedded:
        yield _program("redis-server", settings.stores.redis_server)
    if settings.mongo.is_embedded:
        yield _program("mongod", settings.stores.mongod)
        with suppress(StoreUnusable):
            # Also of one that does not start: the loader names the first that is missing only.
            yield _libraries(find_store("mongod", settings.stores.mongod))


def _program(name: Program, configured: str) -> Finding:
    try:
        path = find_store(name, configured)
        return ok(name, f"version {check_runs(path, name)} at {path}")
    except StoreUnusable as error:
        return bad(name, error.detail, cause=error.where, fix=error.hint)


def _libraries(program: Path) -> Finding:
    ldd = shutil.which("ldd")
    if ldd is None:
        return skipped("libraries of mongod", "there is no ldd on this machine")
    done = subprocess.run(
        [ldd, str(program)],
        env=clean_environment(find_libraries(program)),
        capture_output=True,
        text=True,
        timeout=_LDD_SECONDS,
        check=False,
    )
    missing = re.findall(r"^\s*(\S+) => not found", done.stdout, re.MULTILINE)
    if missing:
        found = f"mongod lacks {', '.join(missing)}"
        fix = "apt-get install libcurl4 libssl3, or use the package that brings the stores"
        return bad("libraries of mongod", found, cause="they are not installed", fix=fix)
    return ok("libraries of mongod", "all there")


async def running(loaded: Loaded) -> list[Finding]:
    """What the running stores say; `loaded` is what runs."""
    async with open_runtime(loaded, role=MongoRole.API) as runtime:
        try:
            hello = await _admin(runtime, "hello")
        except Error as error:
            fix = "novapulse status; novapulse logs mongod, or the log of the external one"
            findings = [bad("MongoDB", "does not answer", cause=error.detail, fix=fix)]
        else:
            findings = [
                await _mongo_version(runtime),
                _replica_set(hello),
                _drift(hello),
                await _write_concern(runtime, loaded),
                await _indexes(runtime),
            ]
        return [*findings, *_redis(await runtime.cache.info())]


def _admin(runtime: Runtime, command: str) -> Awaitable[dict[str, Any]]:
    return measured("admin", command, runtime.db.client.admin.command(command))


async def _mongo_version(runtime: Runtime) -> Finding:
    version = str((await _admin(runtime, "buildInfo"))["version"])
    return _version("MongoDB", version, _OLDEST_MONGODB)


def _version(name: str, version: str, oldest: tuple[int, int]) -> Finding:
    numbers = tuple(int(part) for part in version.split(".")[:2])
    if numbers < oldest:
        wanted = ".".join(map(str, oldest))
        return bad(name, f"version {version}", cause="too old", fix=f"upgrade it to {wanted}")
    return ok(name, f"version {version}")


def _replica_set(hello: dict[str, Any]) -> Finding:
    name = "replica set"
    if "setName" not in hello:
        cause = "MongoDB runs alone; transactions need a replica set, also one of one member"
        fix = "start mongod with --replSet, then rs.initiate()"
        return bad(name, "there is none", cause=cause, fix=fix)
    if not hello.get("isWritablePrimary"):
        cause = "too few members see one another, or an election is under way"
        return bad(name, f"{hello['setName']} has no primary", cause=cause, fix="rs.status()")
    return ok(name, f"{hello['setName']}, {len(hello.get('hosts', ()))} members with data")


def _drift(hello: dict[str, Any]) -> Finding:
    theirs = hello["localTime"].replace(tzinfo=UTC)
    seconds = abs((datetime.now(UTC) - theirs).total_seconds())
    if seconds > _MOST_DRIFT_SECONDS:
        found = f"MongoDB's clock is {seconds:.0f} s away from ours"
        fix = "timedatectl set-ntp true, on both machines"
        return bad("clocks", found, cause="one of them is not synchronized", fix=fix)
    return ok("clocks", "MongoDB's clock and ours agree")


async def _write_concern(runtime: Runtime, loaded: Loaded) -> Finding:
    name = "write concern"
    if loaded.settings.mongo.is_embedded:
        return ok(name, "every write waits for the journal of the majority")
    try:
        default = await _admin(runtime, "getDefaultRWConcern")
    except Exception as error:  # the user may not ask: no reason to fail
        return skipped(name, f"could not be asked: {type(error).__name__}")
    w = default.get("defaultWriteConcern", {}).get("w", "majority")
    if w != "majority":
        cause = "what other programs write there can be lost; NovaPulse asks for majority itself"
        fix = 'db.adminCommand({setDefaultRWConcern: 1, defaultWriteConcern: {w: "majority"}})'
        return warn(name, f"the default is w={w}", cause=cause, fix=fix)
    return ok(name, "majority")


async def _indexes(runtime: Runtime) -> Finding:
    found = await drift(runtime.db, INDEXES)
    if found:
        named = ", ".join(f"{one.collection}.{one.index} {one.problem}" for one in found[:5])
        cause = "somebody changed them, or another version of the program declared others"
        fix = "novapulse migrate up builds ours; one that is not ours is yours to drop"
        return warn("indexes", named, cause=cause, fix=fix)
    return ok("indexes", "all as declared")


def _redis(info: dict[str, Any] | None) -> Iterator[Finding]:
    if info is None:
        fix = "novapulse status; novapulse logs redis, or the log of the external one"
        cause = "jobs start later and rate limits let everybody through without it"
        yield bad("Redis", "does not answer", cause=cause, fix=fix)
        return
    yield _version("Redis", str(info["redis_version"]), _OLDEST_REDIS)
    policy, limit = str(info.get("maxmemory_policy", "noeviction")), info.get("maxmemory", 0)
    if limit and policy != "noeviction":
        cause = "counters of rate limits may be thrown away, which lets more requests through"
        fix = "CONFIG SET maxmemory-policy noeviction, and the same in redis.conf"
        yield warn("Redis policy", policy, cause=cause, fix=fix)
    else:
        yield ok("Redis policy", policy)
