"""Reading and integrating a frame of 2048 x 2048 pixels."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fabio
import numpy as np

import beamline
import xrd
from beamline import provenance
from benchmarks.timing import Row, times
from calibration.geometry import Geometry
from xrd.simulate import powder_frames, write_frames

BINS = 3000
GEOMETRY = Geometry(
    0.6, 0.2048, 0.2048, 0.005, -0.003, 0.0, 0.1173, (200e-6, 200e-6), (2048, 2048), 3, "CeO2"
)


def rows(bandwidth: float, repeats: int) -> Iterator[Row]:
    """Yield the lines of the table; `bandwidth` in bytes/s."""
    with tempfile.TemporaryDirectory() as folder:
        images, truth = powder_frames(GEOMETRY, gain=20.0)
        write_frames(folder, images, GEOMETRY, truth, "")
        path = Path(folder) / "raw" / "frame_00001.tif"
        yield _reading(path, repeats)
        frame = beamline.read(path)
    mask = np.hypot(*np.meshgrid(np.arange(2048) - 1024, np.arange(2048) - 1024)) < 60
    # Least traffic: the frame once (uint16), and the bin of every pixel (16 bits).
    limit = 1e3 * (2 + 2) * 2048**2 / bandwidth
    for splitting, name in (("none", "no"), ("bbox", "bbox")):
        yield _integrating(frame, mask, splitting, name, limit, repeats)


def _reading(path: Path, repeats: int) -> Row:
    def ours() -> None:
        provenance._file_hash.cache_clear()  # the hash of the file is part of the work
        beamline.read(path)

    return Row(
        "read a frame (TIFF, uint16), with its sha256",
        times(ours, repeats),
        "fabio, without a hash",
        times(lambda: fabio.open(str(path)).data, repeats),
    )


def _integrating(
    frame: Any, mask: np.ndarray[Any, Any], splitting: Any, name: str, limit: float, repeats: int
) -> Row:
    integrator = xrd.Integrator(GEOMETRY, bins=BINS, splitting=splitting, mask=mask, gain=20.0)
    theirs = GEOMETRY.to_pyfai()
    counts = frame["counts"].values[0]

    def anchor() -> None:
        theirs.integrate1d(
            counts,
            BINS,
            unit="2th_deg",
            method=(name, "csc", "cython"),
            mask=mask,
            polarization_factor=0.99,
            error_model="poisson",
        )

    return Row(
        f"integrate, {splitting} splitting, {BINS} bins, mask + solid angle + polarisation + errors",
        times(lambda: integrator(frame), repeats),
        f"pyFAI ({name}, csc, cython)",
        times(anchor, repeats),
        limit,
    )
