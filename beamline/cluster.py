"""Dask as a scheduler: worker processes on this machine, or those of a cluster.

Chunks are sent as module-level functions with plain arguments; a worker reads the raw file itself and stores
the shard itself, so that next to nothing travels, and the folders must be the same for all. Only this process
writes the journal. A worker that is killed (by the system, for its memory) costs the chunk it was at: that
chunk is tried again, as often as ``distributed.scheduler.allowed-failures`` says, and then once more alone,
so that nobody else is lost with it; if that fails too, it is reported by name.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Any, TypeVar

from beamline import __version__
from beamline.errors import ConfigError, DataFileError, RedoxlightError
from beamline.recipe import single_threaded_libraries, threads_of_libraries

if TYPE_CHECKING:
    from distributed import Client, Future, LocalCluster

T = TypeVar("T")
R = TypeVar("R")


class Dask:
    """Several at a time, in other processes; they are started, or the cluster is joined, on first use.

    Parameters
    ----------
    where
        Number of workers on this machine, or the address of a cluster ("tcp://host:8786").
    """

    def __init__(self, where: int | str) -> None:
        self._where = where
        self._client: Client | None = None
        self._cluster: LocalCluster | None = None

    def map(
        self, function: Callable[[T], R], items: Sequence[T]
    ) -> Iterator[tuple[int, R | RedoxlightError]]:
        """Yield results as they get done; an item that takes its worker down again and again is an error."""
        if not items:
            return
        from distributed import KilledWorker, as_completed

        client = self._connected()
        futures = {client.submit(function, item, pure=False): i for i, item in enumerate(items)}
        lost = []
        try:
            for future in as_completed(list(futures), loop=client.loop):
                try:
                    result = self._result(future)
                except KilledWorker:
                    lost.append(futures[future])
                    continue
                finally:
                    future.release()
                yield futures[future], result
            for index in lost:  # it may have been at the wrong place only, beside one that kills
                try:
                    result = self._result(client.submit(function, items[index], pure=False))
                except KilledWorker:
                    remedy = "it may need more memory than there is; look at it alone with --scheduler serial"
                    yield index, DataFileError("worker", "was killed every time it was tried", remedy)
                else:
                    yield index, result
        finally:
            client.cancel(list(futures))

    def close(self) -> None:
        """End the workers that were started; those of a cluster go on."""
        if self._client:
            self._client.close()
        if self._cluster:
            self._cluster.close()
        self._client = self._cluster = None

    def _result(self, future: Future) -> Any:
        try:
            return future.result()
        except (CancelledError, OSError) as error:
            raise ConfigError(
                f"scheduler {self._where}", f"is gone ({error})", "the same command goes on from there"
            ) from error

    def _connected(self) -> Client:
        if self._client is None:
            from distributed import Client, LocalCluster

            if isinstance(self._where, int):
                self._cluster = LocalCluster(
                    n_workers=self._where,
                    threads_per_worker=1,
                    processes=True,
                    dashboard_address="127.0.0.1:0",
                    silence_logs=logging.CRITICAL,
                    env=threads_of_libraries(),
                )
                self._client = Client(self._cluster, set_as_default=False)
            else:
                self._client = _joined(self._where)
        return self._client


def _joined(address: str) -> Client:
    """Join a cluster whose workers have the same redoxlight, and hold their libraries to one thread.

    Raises
    ------
    ConfigError
        There is no cluster, it has no workers, or they have another version of redoxlight or none.
    """
    from distributed import Client

    name = f"scheduler {address}"
    try:
        client = Client(address, timeout=10, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ConfigError(name, f"cannot be reached ({error})", "is dask scheduler running there?") from error
    try:
        client.run(single_threaded_libraries)
        versions = client.run(_version)
    except Exception as error:
        client.close()
        raise ConfigError(
            name, f"has workers that cannot run redoxlight ({error})", f"install {__version__} there"
        ) from error
    others = {str(version) for version in versions.values()} - {__version__}
    if others or not versions:
        client.close()
        if not versions:
            raise ConfigError(name, "has no workers", "start some: dask worker")
        raise ConfigError(
            name, f"has workers with redoxlight {', '.join(sorted(others))}", f"install {__version__} there"
        )
    return client


def _version() -> str:
    return __version__
