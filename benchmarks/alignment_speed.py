"""Aligning and reading a thousand scans; times are per thousand scans."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import beamline
import xas
from benchmarks.timing import Row, times
from xas import simulate
from xas.shifts import find_shifts

SCANS = 1000
SAMPLE = 25
"""Scans larch is timed with; it takes as long for each."""


def rows(bandwidth: float, repeats: int) -> Iterator[Row]:
    """Yield the lines of the table; `bandwidth` in bytes/s."""
    from larch import Group
    from larch.io import read_xdi
    from larch.xafs import energy_align, pre_edge

    rng = np.random.default_rng(0)
    scans = [simulate.scan(n, 3e-3, drift=float(rng.uniform(-6, 6)), label=f"s{n}") for n in range(SCANS)]
    axes = [ds["energy"].values for ds in scans]
    foils = [ds["mu_ref"].values for ds in scans]
    groups = [Group(energy=e.copy(), mu=m.copy()) for e, m in zip(axes[:SAMPLE], foils, strict=False)]
    for group in groups:
        pre_edge(group.energy, group.mu, group=group)

    def theirs() -> None:
        for group in groups[1:]:
            energy_align(group, groups[0], array="dmude", emin=15)

    anchor = _scaled(times(theirs, repeats), SCANS / (SAMPLE - 1))
    name = "larch energy_align, emin=15"
    yield Row(
        f"shifts of {SCANS} foils with errors", times(lambda: find_shifts(axes, foils), repeats), name, anchor
    )
    # Least traffic: every point of energy, foil and sample once in, foil and sample once out.
    points = sum(axis.size for axis in axes)
    yield Row(
        f"align {SCANS} scans: shifts, interpolation, noise, one Dataset",
        times(lambda: xas.align(scans), repeats),
        f"{name}, without interpolation",
        anchor,
        1e3 * 8 * 5 * points / bandwidth,
    )
    with tempfile.TemporaryDirectory() as folder:
        files = [_written(Path(folder) / f"s{n}.xdi", ds) for n, ds in enumerate(scans[: 4 * SAMPLE])]
        few = files[:SAMPLE]
        yield Row(
            f"read {SCANS} XDI files, with their sha256",
            _scaled(times(lambda: [_read(file) for file in files], repeats), SCANS / len(files)),
            "larch read_xdi",
            _scaled(times(lambda: [read_xdi(str(file)) for file in few], repeats), SCANS / len(few)),
        )


def _read(file: Path) -> Any:
    from beamline import provenance

    provenance._file_hash.cache_clear()  # the hash of the file is part of the work
    return beamline.read(file)


def _written(file: Path, ds: Any) -> Path:
    """Write a scan as XDI and return the file."""
    names = ("energy eV", "mutrans", "murefer")
    head = ["# XDI/1.0", *(f"# Column.{n}: {name}" for n, name in enumerate(names, 1))]
    head += ["# Element.symbol: Ni", "# Element.edge: K", "# ---", "# energy mutrans murefer"]
    table = zip(ds["energy"].values, ds["mu"].values, ds["mu_ref"].values, strict=True)
    file.write_text("\n".join([*head, *(f"{e:.4f} {m:.8f} {r:.8f}" for e, m, r in table)]) + "\n")
    return file


def _scaled(taken: tuple[float, float], factor: float) -> tuple[float, float]:
    return taken[0] * factor, taken[1] * factor
