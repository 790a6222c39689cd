"""mRIXS of simulated samples in four states: areas, totals and axes beside what was put in.

Every seed is a scan of its own: drawn anew are photons, noise and cosmic rays, the drift of the spectrograph,
the aberration of its axis, the read-back of every energy, and the references before and after. Gain,
curvature, clip and emission axis come from the scan, the excitation energies from the references.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

import rixs
from benchmarks.measures import Array, Measured, pulls, rms
from calibration import dark, excitation
from calibration.elastic_fit import OPTICS, READ_BACK
from calibration.emission import DRIFT, EmissionAxis
from calibration.records import restore
from rixs import simulate
from rixs.cuts import integration_weights
from rixs.simulate import Spectrograph

SEEDS = 200
STATES = ("pristine", "charged", "discharged", "cycle50")
TOTAL = (518.0, 535.0)
OFFSET, MONO_DRIFT = 0.36, 0.01
"""Of the monochromator, eV: at the beginning, and until the end of a scan."""

SETTINGS = {
    "0.02 eV/px": simulate.FINE,
    "BL8.0.1": replace(simulate.ALS_801, columns=192, center_energy=526.0, dispersion=0.125),
}
ENERGIES = simulate.excitation_energies(step=0.2)
REFERENCE = np.array([520.5, 522.0, 523.5, 525.0])
"""Elastic lines measured before and after the scan: below the edge and around the feature's emission."""

WITH_REFERENCE = np.concatenate([REFERENCE, ENERGIES, REFERENCE])


@dataclass(frozen=True)
class Found:
    """What one scan gave: (found, true, error) of the area, of the total and of the emission at 523.7 eV."""

    area: tuple[float, float, float]
    total: tuple[float, float, float]
    emission: tuple[float, float, float]
    shift: tuple[float, float, float]


def one(setting: str, state: str, seed: int, energies: Array = WITH_REFERENCE) -> Found:
    """Simulate one scan, reduce it, and compare."""
    rng = np.random.default_rng([seed, *state.encode()])
    base = SETTINGS[setting]
    instrument = replace(base, aberration=float(rng.normal(0, OPTICS)))
    oxidised = simulate.STATES[state]
    number = int(rng.integers(1 << 31))
    scan = simulate.scan(
        oxidised, number, energies, instrument, mono_offset=OFFSET, mono_drift=MONO_DRIFT,
        drift=float(rng.normal(0, DRIFT)),
    )  # fmt: skip
    stated = scan["excitation_energy"] + rng.normal(0, READ_BACK, energies.size)
    scan = scan.assign_coords(excitation_energy=stated.assign_attrs(scan["excitation_energy"].attrs))
    references = [excitation.calibrate(simulate.tio2(number + i, OFFSET + i * MONO_DRIFT)) for i in range(2)]
    shift = excitation.between(*references)
    darks = None
    if instrument.pedestal:
        darks = dark.calibrate(simulate.darks(instrument, seed=number))
    rmap = rixs.reduce(scan, excitation=shift, dark=darks)
    axis: Any = restore(json.loads(rmap.attrs["calibrations"])["emission"])
    middle = OFFSET + MONO_DRIFT / 2
    return Found(
        _area(rmap, simulate.FEATURE, oxidised, instrument),
        _area(rmap, TOTAL, oxidised, instrument),
        _emission(axis, instrument, shift.error),
        (shift.value, middle, shift.error),
    )


def _area(
    rmap: xr.Dataset, limits: tuple[float, float], oxidised: float, instrument: Spectrograph
) -> tuple[float, float, float]:
    """Return found and true area (photons eV per 10⁶ counts) of the window, and the error of the found one.

    The error is that of the counts, and what the errors of both axes make of it.
    """
    gain = instrument.gain

    def area(emission: float = 0.0, energy: float = 0.0) -> tuple[float, float]:
        cut = rixs.window(rmap, simulate.WINDOW[0] + energy, simulate.WINDOW[1] + energy)
        weights = integration_weights(
            cut["emission_energy"].values, limits[0] + emission, limits[1] + emission
        )
        seen = np.isfinite(cut["intensity"].values) & (weights != 0)
        value = float(weights[seen] @ cut["intensity"].values[seen])
        variance = float(weights[seen] ** 2 @ cut["intensity_errors"].values[seen] ** 2)
        return value / gain, math.sqrt(variance) / gain

    found, counting = area()
    of_emission = float(np.interp(523.7, rmap["emission_energy"], rmap["emission_energy_errors"]))
    of_energy = float(rmap["excitation_energy_errors"].mean())
    step = 0.02
    by_emission = (area(emission=step)[0] - area(emission=-step)[0]) / (2 * step)
    by_energy = (area(energy=step)[0] - area(energy=-step)[0]) / (2 * step)
    error = math.sqrt(counting**2 + (by_emission * of_emission) ** 2 + (by_energy * of_energy) ** 2)
    true = simulate.true_area(oxidised, ENERGIES, instrument.resolution, feature=limits)
    return found, true, error


def _emission(axis: EmissionAxis, instrument: Spectrograph, of_energies: float) -> tuple[float, float, float]:
    columns = np.arange(instrument.columns, dtype=float)
    pixel = float(np.interp(523.7, instrument.energy(columns), columns))
    error = math.hypot(float(axis.energy_errors(pixel)), of_energies)
    return float(axis.energy(pixel)), 523.7, error


def states(_: Path) -> Iterator[Measured]:
    """Yield bias and pulls of the feature's area, of the total and of both axes, by state and setting."""
    for setting in SETTINGS:
        found = {state: [one(setting, state, seed) for seed in range(SEEDS)] for state in STATES}
        for state, scans in found.items():
            yield pulls(
                f"{setting}, {state}: pulls of the window's area, {SEEDS} scans", _pulls(scans, "area")
            )
            yield _bias(f"{setting}, {state}: total 518 to 535 eV", scans, "total")
        charged, pristine = found["charged"], found["pristine"]
        difference = np.array([a.area[0] - b.area[0] for a, b in zip(charged, pristine, strict=True)])
        true = charged[0].area[1] - pristine[0].area[1]
        yield Measured(
            f"{setting}: charged minus pristine",
            f"mean off by {100 * (difference.mean() / true - 1):+.2f} ± "
            f"{100 * difference.std() / true / math.sqrt(SEEDS):.2f} %",
            "0",
            "put in",
        )
        every = [scan for scans in found.values() for scan in scans]
        miss = np.array([1e3 * (scan.emission[0] - scan.emission[1]) for scan in every])
        yield Measured(
            f"{setting}: emission axis at 523.7 eV, elastic lines repeated before and after",
            f"mean {miss.mean():+.1f}, root mean square {rms(miss):.1f} meV",
            f"{1e3 * rms([scan.emission[2] for scan in every]):.1f} meV",
            "error claimed",
        )
        yield pulls(f"{setting}: pulls of the emission axis at 523.7 eV", _pulls(every, "emission"))
        yield pulls(f"{setting}: pulls of the shift from TiO2 before and after", _pulls(every, "shift"))


def _pulls(scans: list[Found], name: str) -> list[float]:
    values = [getattr(scan, name) for scan in scans]
    return [(found - true) / error for found, true, error in values]


def _bias(quantity: str, scans: list[Found], name: str) -> Measured:
    off = np.array([getattr(scan, name)[0] / getattr(scan, name)[1] - 1 for scan in scans])
    return Measured(
        quantity,
        f"mean off by {100 * off.mean():+.2f} ± {100 * off.std() / math.sqrt(len(off)):.2f} %",
        "0",
        "put in",
    )
