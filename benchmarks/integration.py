"""Reading and integrating frames of 2048 x 2048 pixels."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fabio
import numpy as np
import tifffile
import xarray as xr

import beamline
import xrd
from beamline import provenance
from beamline.readers.registry import concatenate
from benchmarks.timing import Row, race, times
from calibration.geometry import Geometry
from xrd.simulate import powder_frames, write_frames

BINS = 3000
GEOMETRY = Geometry(
    0.6, 0.2048, 0.2048, 0.005, -0.003, 0.0, 0.1173, (200e-6, 200e-6), (2048, 2048), 3, "CeO2"
)
MASK = np.hypot(*np.meshgrid(np.arange(2048) - 1024, np.arange(2048) - 1024)) < 60
PIXELS = 2048**2
BATCH = 8
FILES = 16
DONE = f"{BINS} bins, mask + solid angle + polarisation + errors"


def rows(bandwidth: float, repeats: int) -> Iterator[Row]:
    """Yield the lines of the table; `bandwidth` in bytes/s."""
    with tempfile.TemporaryDirectory() as folder:
        images, truth = powder_frames(GEOMETRY, gain=20.0)
        write_frames(folder, images, GEOMETRY, truth, "")
        path = Path(folder) / "raw" / "frame_00001.tif"
        yield _reading(path, repeats)
        frame: Any = beamline.read(path)
        for splitting, name, shared in (("none", "no", 0.0), ("bbox", "bbox", 3.65)):
            # Least traffic per frame: the frame (uint16) and the bin of every pixel (16 bits), or where
            # pixels are shared the first bin (32), their number (16) and the weights (32 each).
            bytes_per_pixel = 2 + (6 + 4 * shared if shared else 2)
            yield from _integrating(frame, splitting, name, bytes_per_pixel, bandwidth, repeats)
        yield _clipping(frame, bandwidth, repeats)
        yield from _first_calls(path)
        with _all_cores():
            yield _two_threads(frame, repeats)
            yield _files(path, Path(folder) / "series", repeats)


def _reading(path: Path, repeats: int) -> Row:
    def ours() -> None:
        provenance._file_hash.cache_clear()  # the hash of the file is part of the work
        beamline.read(path)

    own, fabios = race(repeats, ours, lambda: fabio.open(str(path)).data)
    return Row("read a frame (TIFF, uint16), with its sha256", own, "fabio, without a hash", fabios)


def _integrating(
    frame: xr.Dataset, splitting: Any, name: str, bytes_per_pixel: float, bandwidth: float, repeats: int
) -> Iterator[Row]:
    integrator = xrd.Integrator(GEOMETRY, bins=BINS, splitting=splitting, mask=MASK, gain=20.0)
    theirs = GEOMETRY.to_pyfai()
    counts = frame["counts"].values[0]
    batch = frame.isel(frame=[0] * BATCH)

    def anchor() -> None:
        theirs.integrate1d(
            counts,
            BINS,
            unit="2th_deg",
            method=(name, "csc", "cython"),
            mask=MASK,
            polarization_factor=0.99,
            error_model="poisson",
        )

    one, eight, other = race(repeats, lambda: integrator(frame), lambda: integrator(batch), anchor)
    anchor_name = f"pyFAI ({name}, csc, cython)"
    limit = 1e3 * bytes_per_pixel * PIXELS / bandwidth
    yield Row(f"integrate, {splitting} splitting, frame by frame, {DONE}", one, anchor_name, other, limit)
    # The map of the bins need come in only once for several frames.
    limit = 1e3 * (2 + (bytes_per_pixel - 2) / BATCH) * PIXELS / bandwidth
    each = (eight[0] / BATCH, eight[1] / BATCH)
    yield Row(f"the same, {BATCH} frames at a time", each, anchor_name, other, limit)


def _clipping(frame: xr.Dataset, bandwidth: float, repeats: int) -> Row:
    integrator = xrd.Integrator(GEOMETRY, bins=BINS, mask=MASK, gain=20.0, clip=5.0)
    theirs = GEOMETRY.to_pyfai()
    counts = frame["counts"].values[0]

    def anchor() -> None:
        theirs.sigma_clip_ng(
            counts,
            BINS,
            unit="2th_deg",
            method=("no", "csr", "cython"),
            mask=MASK,
            polarization_factor=0.99,
            error_model="azimuthal",
            max_iter=5,
            thres=5,
        )

    own, other = race(max(repeats // 3, 3), lambda: integrator(frame), anchor)
    # The frame, the slot of every pixel, the sorted signal written and read, the normalisations.
    limit = 1e3 * (2 + 4 + 4 + 4 + 4) * PIXELS / bandwidth
    return Row(
        f"integrate, clipped at 5 sigma, {DONE}", own, "pyFAI sigma_clip_ng (no, csr, cython)", other, limit
    )


_FIRST = """
import time
import numpy as np, beamline, xrd
from benchmarks.integration import BINS, GEOMETRY, MASK
frame = beamline.read({path!r})
start = time.perf_counter()
{call}
print(1e3 * (time.perf_counter() - start))
"""
_OURS = "xrd.Integrator(GEOMETRY, bins=BINS, splitting={name!r}, mask=MASK, gain=20.0)(frame)"
_THEIRS = (
    "GEOMETRY.to_pyfai().integrate1d(frame['counts'].values[0], BINS, unit='2th_deg', mask=MASK, "
    "method=({name!r}, 'csc', 'cython'), polarization_factor=0.99, error_model='poisson')"
)


def _first_calls(path: Path) -> Iterator[Row]:
    """Yield the first frame of a new process, with the compiled loops on disk and without."""

    def first(call: str, cache: str | None = None) -> float:
        code = _FIRST.format(path=str(path), call=call)
        environment = {**os.environ, **({"NUMBA_CACHE_DIR": cache} if cache else {})}
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
        )
        return float(done.stdout)

    def thrice(call: str) -> tuple[float, float]:
        found = sorted(first(call) for _ in range(3))
        return found[0], found[1]

    for splitting, name in (("none", "no"), ("bbox", "bbox")):
        own, other = thrice(_OURS.format(name=splitting)), thrice(_THEIRS.format(name=name))
        anchor_name = f"pyFAI ({name}, csc, cython)"
        yield Row(f"first frame of a process, {splitting} splitting", own, anchor_name, other)
        with tempfile.TemporaryDirectory() as cache:
            cold = first(_OURS.format(name=splitting), cache)
        yield Row("the same, nothing compiled yet", (cold, cold), anchor_name, other)


@contextlib.contextmanager
def _all_cores() -> Iterator[None]:
    """Let two threads run: the process was held to one core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, range(os.cpu_count() or 1))
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _two_threads(frame: xr.Dataset, repeats: int) -> Row:
    integrator = xrd.Integrator(GEOMETRY, bins=BINS, splitting="bbox", mask=MASK, gain=20.0)
    batches = [frame.isel(frame=[0] * BATCH)] * 4
    number = BATCH * len(batches)

    def in_threads(threads: int) -> None:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(integrator, batches))

    two, one = race(max(repeats // 3, 3), lambda: in_threads(2), lambda: in_threads(1))
    return Row(
        f"integrate, bbox splitting, {BATCH} frames at a time in 2 threads",
        (two[0] / number, two[1] / number),
        "the same in 1 thread",
        (one[0] / number, one[1] / number),
    )


def _files(path: Path, folder: Path, repeats: int) -> Row:
    """Time files that are read, hashed, integrated and stored, against files that are only read."""
    folder.mkdir()
    paths = [folder / f"{index:03d}.tif" for index in range(FILES)]
    for copy in paths:
        shutil.copyfile(path, copy)
    integrator = xrd.Integrator(GEOMETRY, bins=BINS, mask=MASK, gain=20.0)

    def ours() -> None:
        provenance._file_hash.cache_clear()
        patterns = [p for p in xrd.stream(paths, integrator) if isinstance(p, xr.Dataset)]
        beamline.save(concatenate(patterns, [str(p) for p in paths]), folder / "out.nc")

    def by_fabio() -> None:
        for one in paths:
            _ = fabio.open(str(one)).data

    def by_tifffile() -> None:
        for one in paths:
            tifffile.imread(one)

    turns = max(repeats // 5, 3)
    own, fabios, tifffiles = (
        (best / FILES, median / FILES) for best, median in race(turns, ours, by_fabio, by_tifffile)
    )
    content = path.read_bytes()
    hashing = times(lambda: hashlib.sha256(content), turns)[0]
    name, fastest = min((("fabio", fabios), ("tifffile", tifffiles)), key=lambda item: item[1])
    return Row(
        f"{FILES} files to stored patterns in 2 threads: read, sha256, integrate, store "
        "(the limit is the sha256 alone)",
        own,
        f"{name}, reading alone",
        fastest,
        hashing / 2,
    )
