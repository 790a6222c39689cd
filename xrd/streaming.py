"""From files to patterns, several files at a time: reading, hashing and summing run without Python's lock.

A file is read, hashed and integrated in one thread, while the next is in another; no more files are in
memory than there are threads. Patterns come in the order of the files, whatever the threads do.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from beamline.errors import ConfigError, DataFileError, RedoxlightError
from beamline.readers.registry import read

if TYPE_CHECKING:
    import xarray as xr

    from xrd.integration import Integrator


def stream(
    paths: Sequence[str | os.PathLike[str]],
    integrator: Integrator,
    threads: int = 2,
    options: Mapping[str, Any] | None = None,
) -> Iterator[xr.Dataset | RedoxlightError]:
    """Yield the pattern of every file, or what is wrong with the file.

    Parameters
    ----------
    paths
        Files of images, each a frame or a stack of frames.
    integrator
        How they are integrated.
    threads
        Files worked on at a time. It makes no difference to the patterns.
    options
        Of `beamline.read`.

    Raises
    ------
    ConfigError
        What is wrong is wrong for every file.
    """
    if threads < 1:
        raise ConfigError("threads", f"is {threads}", "it is a number from 1")

    def pattern(path: str | os.PathLike[str]) -> xr.Dataset | RedoxlightError:
        try:
            images: Any = read(path, kind="images", **dict(options or {}))
            return integrator(images)
        except ConfigError:
            raise
        except RedoxlightError as error:
            named = os.path.basename(path) in str(error)
            return error if named else DataFileError(path, f"{error.subject}: {error.problem}", error.remedy)

    with ThreadPoolExecutor(threads, thread_name_prefix="integrate") as pool:
        waiting: deque[Future[xr.Dataset | RedoxlightError]] = deque()
        for path in paths:
            waiting.append(pool.submit(pattern, path))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
