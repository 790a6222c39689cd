"""How times are taken: one thread on one core, the call repeated, best and median told."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Row:
    """One line of the table; times in ms per frame as (best, median).

    Attributes
    ----------
    task
        What is done.
    ours, anchor
        Times of redoxlight and of the tool it is compared with.
    anchor_name
        That tool and its setting.
    limit
        Time below which no program can be, in ms; None where none is known.
    """

    task: str
    ours: tuple[float, float]
    anchor_name: str
    anchor: tuple[float, float]
    limit: float | None = None

    def cells(self) -> list[str]:
        """Return the texts of the line."""
        return [
            self.task,
            f"{self.ours[0]:.1f} ({self.ours[1]:.1f})",
            self.anchor_name,
            f"{self.anchor[0]:.1f} ({self.anchor[1]:.1f})",
            f"{self.anchor[0] / self.ours[0]:.2f}",
            "" if self.limit is None else f"{self.limit:.1f}",
        ]


def pinned_to_one_core() -> str:
    """Hold the process to one core and its libraries to one thread; say so. Call it before numpy loads."""
    from beamline.recipe import single_threaded_libraries

    single_threaded_libraries()
    core = min(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {core})
    settings = sorted(f"{name}={value}" for name, value in os.environ.items() if "_NUM_THREADS" in name)
    return f"pinned to core {core}; {', '.join(settings)}"


def times(call: Callable[[], Any], repeats: int) -> tuple[float, float]:
    """Return best and median of the wall time in ms; one call before is not counted."""
    call()
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        taken.append(1e3 * (time.perf_counter() - start))
    return min(taken), statistics.median(taken)


def race(repeats: int, *calls: Callable[[], Any]) -> list[tuple[float, float]]:
    """Return best and median of the wall time in ms of each call.

    They take turns, so that what else the machine does hits all of them; one call before is not counted.
    """
    taken: list[list[float]] = [[] for _ in calls]
    for turn in range(repeats + 1):
        for call, found in zip(calls, taken, strict=True):
            start = time.perf_counter()
            call()
            if turn:
                found.append(1e3 * (time.perf_counter() - start))
    return [(min(found), statistics.median(found)) for found in taken]


def machine() -> str:
    """Return processor and number of cores."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                break
    return f"{name}, {os.cpu_count()} cores, Python {platform.python_version()}"


def versions(*packages: str) -> str:
    """Return the versions of installed packages."""
    found = []
    for package in packages:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            found.append(f"{package} not installed")
    return ", ".join(found)


def copy_bandwidth() -> float:
    """Return bytes moved per second (read and written) by copying an array larger than the caches."""
    import numpy as np

    source = np.ones(1 << 25)
    target = np.empty_like(source)
    best, _ = times(lambda: np.copyto(target, source), 7)
    return 2 * source.nbytes / (best / 1e3)
