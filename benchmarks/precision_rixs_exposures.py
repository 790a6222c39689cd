"""mRIXS: real exposures above the O K edge, and a real map split in halves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import beamline
import rixs
from benchmarks.measures import Array, Measured, fit_gaussian
from calibration import gain
from calibration.curvature import Curvature
from calibration.gain import Gain

ALS = "rixs/als_bl801_irixs/irixs"
EXPOSURES = ("2024-3-28/CCD Scan 16497", "2024-3-28/CCD Scan 16498", "2024-3-28/CCD Scan 16500")
LINE = 610
"""Pixel of the O K alpha emission, by the published table of channels."""

BINS = (4, 16, 64)
"""Pixels summed where errors are tested: neighbours share the charge of photons, a sixth to either side."""


def exposures(data: Path) -> Iterator[Measured]:
    """Yield position and width of the O K alpha emission in every exposure."""
    for name in EXPOSURES:
        scan: Any = beamline.read(data / ALS / name)
        # One to three frames are too few to measure it: that of scan 17174 at 780 eV, scaled to 525 eV.
        detector = Gain(gain=105.0, read_noise=2.7, offset=1.0)
        spectra = rixs.extract(scan, Curvature.straight(scan.sizes["y"]), detector)
        for i in range(scan.sizes["frame"]):
            row = spectra.isel(frame=i)
            fit = fit_gaussian(
                row["pixel"].values.astype(float), row["intensity"].values, LINE, 40.0, 6.0,
                row["intensity_errors"].values,
            )  # fmt: skip
            energy = float(row["excitation_energy"])
            what = f"{name.rpartition('/')[2]}, {energy:.1f} eV: O K alpha"
            if fit is None:
                yield Measured(what, "no line")
                continue
            best, errors = fit
            fwhm = 2.3548 * np.array([abs(best[2]), errors[2]])
            yield Measured(what, f"px {best[1]:.2f} ± {errors[1]:.2f}, FWHM {fwhm[0]:.1f} ± {fwhm[1]:.1f} px")


def halves(data: Path) -> Iterator[Measured]:
    """Yield how far the maps of even and odd rows of scan 17174 agree."""
    scan: Any = beamline.read(data / ALS / "2024-7-5/CCD Scan 17174")
    detector = gain.calibrate(scan)
    parts = []
    for first in range(2):
        half = scan.isel(y=slice(first, None, 2))
        spectra = rixs.extract(half, Curvature.straight(half.sizes["y"]), detector)
        parts.append(rixs.normalize(rixs.subtract_background(spectra)))
    empty = [
        np.where(part["photon_rows"] == 0, part["empty_level"] - part["row_background"] / part.rows, np.nan)
        for part in parts
    ]
    both = np.isfinite(empty).all(axis=0)
    yield Measured(
        "scan 17174, columns without photons: correlation of even and odd rows",
        f"{float(np.corrcoef(empty[0][both], empty[1][both])[0, 1]):.2f} ± {both.sum() ** -0.5:.2f}",
        "0",
        "noise of single pixels; what is common to a column makes halves agree better than their errors",
    )
    for count in BINS:
        values, variances = (
            np.array([_summed(part[name].values ** power, count) for part in parts])
            for name, power in (("intensity", 1), ("intensity_errors", 2))
        )
        pulls = (values[0] - values[1]) / np.sqrt(variances.sum(axis=0))
        seen = np.isfinite(pulls)
        total = values.sum(axis=0)
        bright = seen & (total > np.nanquantile(total, 0.9))
        for where, which in (("everywhere", seen), ("in the brightest tenth", bright)):
            yield Measured(
                f"scan 17174, even against odd rows, bins of {count} px, {where}: reduced χ²",
                f"{float((pulls[which] ** 2).mean()):.2f} ± {np.sqrt(2 / which.sum()):.2f}",
                "1",
                "definition of a standard error",
            )


def _summed(values: Array, count: int) -> Array:
    """Return sums of `count` pixels (frame, bin); what is left at the end is not used."""
    columns = values.shape[1] // count * count
    return np.asarray(values[:, :columns].reshape(len(values), -1, count).sum(axis=2))
