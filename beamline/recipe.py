"""A recipe: an ordered list of plain functions with their parameters, and who runs them.

A recipe has two parts. The steps of `each` go over every chunk of the input on their own (read a frame,
integrate it); what they give is put together by `gather`, and the steps of `then` see the whole (refine the
series). Chunks are fixed by the recipe and the files, never by the number of workers, so that every
scheduler gives the same bytes.

Work is made parallel by the scheduler alone: libraries that would start threads of their own underneath
(BLAS, OpenMP, numba) are held to one thread each by the command, see `single_threaded_libraries`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from beamline.errors import ConfigError, RedoxlightError

if TYPE_CHECKING:
    import xarray as xr

T = TypeVar("T")
R = TypeVar("R")

MOST_WORKERS = 1024


@dataclass(frozen=True)
class Step:
    """A function with its parameters; the data come first: ``function(data, **parameters)``."""

    function: Callable[..., Any]
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, data: Any) -> Any:
        """Apply the step to `data`."""
        return self.function(data, **self.parameters)


@dataclass(frozen=True)
class Recipe:
    """What is to be done with one measurement.

    Attributes
    ----------
    name
        Place of the result in the tree of results ("xrd/bccfe").
    files
        Raw files in the order of the measurement.
    read
        Keyword arguments of `beamline.read`.
    each
        Steps for every chunk: a file, or a range of `frames_per_chunk` frames of a file that holds many.
    gather
        ``(parts, names) -> whole`` puts the chunks together, in order; the names say which is which in an
        error (`beamline.readers.registry.concatenate`). None where the measurement is one chunk.
    then
        Steps for the whole, after `gather`.
    frames_per_chunk
        Longest range of frames that is read at once of a file that holds many.
    """

    name: str
    files: tuple[Path, ...]
    read: Mapping[str, Any] = field(default_factory=dict)
    each: tuple[Step, ...] = ()
    gather: Callable[[Sequence[Any], Sequence[str]], xr.Dataset | xr.DataTree] | None = None
    then: tuple[Step, ...] = ()
    frames_per_chunk: int = 64


class Scheduler(Protocol):
    """Runs a function over many inputs; results may come in any order, with the input's index.

    An exception of the function ends the iteration; what is not done by then is not begun. Where the work is
    done elsewhere, function and items must be such that they can be sent, and an error stands for the result
    of an item that could not be run.
    """

    def map(
        self, function: Callable[[T], R], items: Sequence[T]
    ) -> Iterator[tuple[int, R | RedoxlightError]]:
        """Yield ``(index, function(items[index]))`` for every item, as they get done."""

    def close(self) -> None:
        """Let go of what the scheduler holds; it may be used again."""


class Serial:
    """One after the other, in this thread."""

    def map(self, function: Callable[[T], R], items: Sequence[T]) -> Iterator[tuple[int, R]]:
        """Yield results in order."""
        return ((index, function(item)) for index, item in enumerate(items))

    def close(self) -> None:
        """Do nothing: there is nothing to let go of."""


@dataclass(frozen=True)
class Threads:
    """Several at a time, in threads of this process."""

    workers: int

    def map(self, function: Callable[[T], R], items: Sequence[T]) -> Iterator[tuple[int, R]]:
        """Yield results as they get done; leaving the loop early drops what has not begun."""
        with ThreadPoolExecutor(self.workers, thread_name_prefix="redoxlight") as pool:
            futures = {pool.submit(function, item): index for index, item in enumerate(items)}
            try:
                for future in as_completed(futures):
                    yield futures[future], future.result()
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def close(self) -> None:
        """Do nothing: the threads ended with the last result."""


def scheduler(name: str) -> Scheduler:
    """Return the scheduler of a name.

    Parameters
    ----------
    name
        "serial", "threads:<workers>", "dask:local:<workers>", or the address of a Dask cluster,
        "tcp://<host>:<port>".

    Raises
    ------
    ConfigError
        There is no such scheduler, or Dask is not installed.
    """
    if name == "serial":
        return Serial()
    kind, _, number = name.rpartition(":")
    workers = int(number) if number.isascii() and number.isdecimal() and len(number) < 6 else 0
    if kind == "threads" and 0 < workers <= MOST_WORKERS:
        return Threads(workers)
    is_local = kind == "dask:local" and 0 < workers <= MOST_WORKERS
    if is_local or (name.startswith("tcp://") and workers):
        if find_spec("distributed") is None:
            raise ConfigError("dask", "is not installed", "pip install 'redoxlight[dask]'")
        from beamline.cluster import Dask

        return Dask(workers if is_local else name)
    raise ConfigError(
        f"scheduler {name!r}",
        "does not exist",
        f"write serial, threads:<1 to {MOST_WORKERS}>, dask:local:<workers> or tcp://<host>:<port>",
    )


def nearby(runner: Scheduler) -> Scheduler:
    """Return who does what cannot be sent away: `runner` itself, or threads where it works elsewhere."""
    return runner if isinstance(runner, Serial | Threads) else Threads(min(8, os.cpu_count() or 1))


def single_threaded_libraries() -> None:
    """Hold BLAS, OpenMP and numba to one thread each, unless the environment says otherwise.

    They read the environment when they are loaded, so that this belongs at the start of a program. With more
    threads than one, sums may come in another order and differ in the last bit.
    """
    os.environ.update(threads_of_libraries())


def threads_of_libraries() -> dict[str, str]:
    """Return the variables that hold libraries to one thread, with what the environment says of them."""
    libraries = ("OMP", "OPENBLAS", "MKL", "NUMEXPR", "NUMBA")
    names = (*(f"{library}_NUM_THREADS" for library in libraries), "VECLIB_MAXIMUM_THREADS")
    return {name: os.environ.get(name, "1") for name in names}
