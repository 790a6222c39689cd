"""mRIXS of a scan of 41 frames of 2048 x 2048 pixels beside brixs, a real scan, and one frame more."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xarray as xr

import beamline
import rixs
from beamline import provenance
from benchmarks.timing import Row, times
from calibration import dark, gain
from rixs import simulate
from rixs.chain import measure_curvature

FRAMES, SIZE = 41, 2048
INSTRUMENT = replace(simulate.FINE, rows=SIZE, columns=SIZE, tilt=2.5, bow=6.0, cosmics=40.0)
REAL = "rixs/als_bl801_irixs/irixs/2024-7-5/CCD Scan 17174"
STRIPS = 32
"""Strips of rows brixs aligns; it refuses more than 100 rows."""


def rows(bandwidth: float, repeats: int) -> Iterator[Row]:
    """Yield the lines of the table; `bandwidth` in bytes/s."""
    with tempfile.TemporaryDirectory() as folder:
        path = write_stack(Path(folder))
        count = max(1, repeats // 5)
        yield Row(
            f"map of {FRAMES} frames of {SIZE} x {SIZE} from a file: dark, spikes, curvature, errors, axes",
            times(lambda: reduce_stack(path), count),
            "brixs, without dark, spikes and errors",
            times(lambda: brixs_map(path), count),
            1e3 * 2 * FRAMES * SIZE**2 / bandwidth,
        )
        yield _one_more(path, repeats)
    data = os.environ.get("REDOXLIGHT_DATA")
    if data:
        yield _real_scan(Path(data) / REAL, repeats)


def write_stack(folder: Path) -> Path:
    """Simulate the scan and its darks into one HDF5 file, frame by frame; return it."""
    path = folder / "stack.h5"
    energies = np.linspace(527.0, 535.0, FRAMES)
    shape = (FRAMES, SIZE, SIZE)
    with h5py.File(path, "w") as file:
        counts = file.create_dataset("counts", shape, np.uint16, chunks=(1, SIZE, SIZE))
        flux = np.zeros(FRAMES)
        for i, energy in enumerate(energies):
            frame = simulate.scan(1.0, i, np.array([energy]), INSTRUMENT, flux=6e7)
            counts[i] = np.clip(frame["counts"].values[0], 0, 65535).astype(np.uint16)
            flux[i] = float(frame["i0"].values[0])
        file["excitation_energy"], file["i0"] = energies, flux
        darks = simulate.darks(INSTRUMENT, 5)["counts"].values
        file["darks"] = np.clip(darks, 0, 65535).astype(np.uint16)
    return path


def open_stack(path: Path) -> tuple[xr.Dataset, xr.Dataset]:
    """Return scan and darks of `write_stack`, opened lazily."""
    stack = xr.open_dataset(path, engine="h5netcdf", phony_dims="sort")
    frames, y, x = stack["counts"].dims
    names = {frames: "frame", y: "y", x: "x"}
    scan = stack[["counts"]].rename(names)
    scan["counts"].attrs["units"] = "ADU"
    coords = {"excitation_energy": "eV", "i0": "count"}
    scan = scan.assign_coords(
        {
            name: ("frame", stack[name].values, {"units": unit, "long_name": name})
            for name, unit in coords.items()
        }
    )
    darks = stack[["darks"]].rename(dict(zip(stack["darks"].dims, ("frame", "y", "x"), strict=True)))
    darks = darks.rename(darks="counts")
    # Data that came from a file are known by its hash, which is taken once.
    scan, darks = (provenance.record_read(ds.assign_attrs(kind="images"), {}, [path]) for ds in (scan, darks))
    return scan, darks


def reduce_stack(path: Path) -> xr.Dataset:
    """Make the map of the stack, everything calibrated from it."""
    scan, darks = open_stack(path)
    return rixs.reduce(scan, dark=dark.calibrate(darks))


def brixs_map(path: Path) -> Any:
    """Make a map of the stack with brixs: curvature by cross-correlation, rows rolled, columns summed."""
    import brixs

    with warnings.catch_warnings(), h5py.File(path) as file:
        warnings.simplefilter("ignore")
        stack = file["counts"]
        total = np.zeros((SIZE, SIZE))
        for i in range(FRAMES):
            total += stack[i]
        strips = brixs.Image(total).binning(nrows=STRIPS, ncols=SIZE)
        polynomial = strips.calculate_horizontal_shift_curvature(deg=2, mode="cc", xlimits=[]).popt
        spectra = brixs.Spectra()
        for i in range(FRAMES):
            image = brixs.Image(np.asarray(stack[i], float))
            spectra.append(
                image.set_horizontal_shift_via_polyval(polynomial).integrated_columns_vs_x_centers()
            )
        return spectra.stack_spectra_as_columns()


def _one_more(path: Path, repeats: int) -> Row:
    scan, darks = open_stack(path)
    offset = dark.calibrate(darks)
    detector = gain.calibrate(scan, offset)
    bent = measure_curvature(scan, detector, offset)
    before = rixs.extract(scan.isel(frame=slice(0, FRAMES - 1)), bent, detector, offset)
    new = scan.isel(frame=slice(FRAMES - 1, None))
    return Row(
        f"one frame of {SIZE} x {SIZE} more: read, dark, spikes, straightened, appended",
        times(lambda: rixs.extend(before, new, bent, detector, offset), repeats),
        "all frames again",
        times(lambda: rixs.extract(scan, bent, detector, offset), 1),
    )


def _real_scan(folder: Path, repeats: int) -> Row:
    scan: Any = beamline.read(folder)
    return Row(
        "map of a real scan, 48 frames of 64 x 2048, all calibrations from it",
        times(lambda: rixs.reduce(scan), max(1, repeats // 3)),
        "reading its files",
        times(lambda: beamline.read(folder), 1),
    )
