"""Garbage collection of the processes that work under load."""

import gc

_THRESHOLD = 10_000


def collect_seldom() -> None:
    """Leave what lives as long as the process out of every search for garbage.

    A page of rows or a batch of jobs makes thousands of objects, and hardly any of them in
    cycles.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_THRESHOLD)
