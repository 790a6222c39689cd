"""mRIXS: the curvature of simulated lines beside what their photons allow."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.measures import Array, Measured, rms
from calibration import curvature, dark
from calibration.gain import Gain
from rixs import simulate
from rixs.chain import measure_curvature
from rixs.simulate import Spectrograph

SEEDS = 30
ENERGIES = simulate.excitation_energies(527.0, 535.0, 0.2)
SETTINGS = {
    "0.02 eV/px": simulate.FINE,
    "0.125 eV/px, 64 rows": replace(simulate.Spectrograph(), column_pattern=0.3),
}
SAMPLES: dict[str, tuple[float | None, float]] = {
    "cathode": (1.0, 3e7),
    "TiO2": (None, 3e7),
    "TiO2, ten times the photons": (None, 3e8),
}


def bent_lines(_: Path) -> Iterator[Measured]:
    """Yield the error of the shift of a row, and its Cramér-Rao bound with known lines."""
    for setting, instrument in SETTINGS.items():
        offset = dark.calibrate(simulate.darks(instrument)) if instrument.pedestal else None
        for sample, (oxidised, flux) in SAMPLES.items():
            if flux > 1e8 and instrument.pedestal == 0:
                continue
            wrong = []
            for seed in range(SEEDS if flux < 1e8 else SEEDS // 3):
                scan = simulate.scan(oxidised, seed, ENERGIES, instrument, flux=flux)
                found = measure_curvature(scan, Gain(gain=instrument.gain, read_noise=4.0), offset)
                wrong.append(found.shift() - instrument.shift())
            flown = expected(oxidised, instrument, scan["i0"].values)
            yield Measured(
                f"curvature, {setting}, {sample} ({flown.sum():.0e} photons): shift of a row",
                f"off by {rms(wrong):.4f} px (root mean square)",
                f"{bound(oxidised, instrument, scan['i0'].values):.4f} px",
                "Cramér-Rao, lines known",
            )


def expected(oxidised: float | None, instrument: Spectrograph, i0: Array, moved: float = 0.0) -> Array:
    """Return the photons expected in every pixel with all lines moved by `moved` px."""
    places = np.full(ENERGIES.size, moved)
    return simulate.expected_photons(oxidised, ENERGIES, instrument, places) * i0[:, None, None] / 1e6


def bound(oxidised: float | None, instrument: Spectrograph, i0: Array) -> float:
    """Return the root mean square error (px) no estimate of tilt and bow can go below."""
    step = 0.25
    slope = expected(oxidised, instrument, i0, step) - expected(oxidised, instrument, i0, -step)
    level = np.maximum(expected(oxidised, instrument, i0), 1e-9)
    information = ((slope / (2 * step)) ** 2 / level).sum(axis=(0, 2))
    powers = curvature._powers(instrument.rows, np.arange(instrument.rows, dtype=float), 2)
    design = np.column_stack([np.ones(instrument.rows), powers])
    covariance = np.linalg.inv(design.T @ (design * information[:, None]))[1:, 1:]
    return float(np.sqrt(np.mean(np.einsum("ri,ij,rj->r", powers, covariance, powers))))
