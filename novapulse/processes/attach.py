"""The program's own MongoDB for a command: that of the running program, or one just for it."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from novapulse.core import errors
from novapulse.core.settings import Loaded
from novapulse.processes import places
from novapulse.stores.addresses import NeverStarted
from novapulse.stores.child import running_mongod
from novapulse.stores.find import find_store
from supervisor.lock import AlreadyRunning, InstanceLock


@contextmanager
def alone(loaded: Loaded) -> Iterator[None]:
    """Keep the program from running on this state directory meanwhile.

    Raises AlreadyRunning when it does.
    """
    make_directories(loaded)
    lock = InstanceLock(loaded.paths.state / "lock")
    try:
        lock.acquire()
    except AlreadyRunning as error:
        raise errors.AlreadyRunning(f"NovaPulse is running here: {error}") from error
    try:
        yield
    finally:
        lock.release()


def make_directories(loaded: Loaded) -> None:
    """Those that a first start makes. Raises ConfigurationInvalid."""
    for directory in (loaded.paths.state, loaded.paths.run, loaded.paths.log):
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            text = f"The directory {directory} can not be made: {error.strerror}"
            raise errors.ConfigurationInvalid(text, where=str(directory)) from error


def has_data(loaded: Loaded) -> bool:
    """Whether there can be anything in its MongoDB: an external one always may."""
    if not loaded.settings.mongo.is_embedded:
        return True
    return (places.layout(loaded).mongod_data / "WiredTiger").exists()


@contextmanager
def database_of_our_own(loaded: Loaded) -> Iterator[None]:
    """Its MongoDB, with `alone` around it: nobody else uses an embedded one."""
    if not loaded.settings.mongo.is_embedded:
        yield
        return
    program = find_store("mongod", loaded.settings.stores.mongod)
    log = loaded.paths.log / "mongod.log"
    with running_mongod(places.layout(loaded), program, log=log):
        yield


@contextmanager
def database(loaded: Loaded) -> Iterator[None]:
    """Its MongoDB, whether the program runs or not.

    Raises NeverStarted.
    """
    if not has_data(loaded):
        raise NeverStarted(loaded.paths.state)
    with ExitStack() as stack:
        try:
            stack.enter_context(alone(loaded))
        except errors.AlreadyRunning:
            pass  # it runs, and its database serves
        else:
            stack.enter_context(database_of_our_own(loaded))
        yield
