"""What GSAS-II gives, kept for where it is not installed: ``python -m benchmarks.gsas2_reference``.

The command refines with ``engine="gsas2"`` and writes ``benchmarks/gsas2_reference.json``: three simulated
patterns of a layered oxide (seeded; `simulated` makes them again), and, where ``REDOXLIGHT_DATA`` names the
folder of measurements, PbSO4 and the 17 patterns of CuCr2O4 + CuO of `benchmarks.refinement_real`. Errors
are those of `xrd.gsas2`, from GSAS-II's covariance.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

import xrd
from xrd.calculation import Calculator
from xrd.observations import Observations

PATH = Path(__file__).with_name("gsas2_reference.json")

CELLS = ((2.872, 14.230), (2.850, 14.340), (2.826, 14.460))
"""a and c of the simulated patterns, angstrom."""
LIMITS = (1.2, 9.0)
INSTRUMENT = xrd.Instrument(0.1173, U=30.0, V=-1.0, W=1.2, X=0.15, Y=4.0)
LAYERED = xrd.Phase(
    "layered",
    "R -3 m:H",
    (*CELLS[0][:1] * 2, CELLS[0][1], 90.0, 90.0, 120.0),
    (
        xrd.Site("Li1", "Li", 0.0, 0.0, 0.0, 1.0, 0.012),
        xrd.Site("Ni1", "Ni", 0.0, 0.0, 0.5, 0.6, 0.004),
        xrd.Site("Mn1", "Mn", 0.0, 0.0, 0.5, 0.4, 0.004),
        xrd.Site("O1", "O", 0.0, 0.0, 0.2415, 1.0, 0.009),
    ),
    scale=0.1,
    size=0.2,
    strain=1200.0,
)
NAMES = ("a", "c", "volume", "scale", "size", "strain")


def model() -> xrd.Model:
    """Return the model the patterns are simulated with, and refined from."""
    return xrd.Model([LAYERED], INSTRUMENT, 3, LIMITS).start(
        {"background/0": 400.0, "background/1": -150.0, "background/2": 30.0}
    )


def simulated(seed: int = 20220614) -> xr.Dataset:
    """Return three patterns with Poisson noise."""
    rng = np.random.default_rng(seed)
    two_theta = np.linspace(*LIMITS, 1500)
    blank = np.ones((1, len(two_theta)))
    seen = Observations(two_theta, blank, blank, np.ones(len(two_theta), bool), False, ("",))
    counts = []
    for a, c in CELLS:
        exact = model().start({"layered/a": a, "layered/c": c})
        calculator = Calculator(exact, seen)
        calculator.select(exact.free_values())
        counts.append(rng.poisson(calculator.pattern(exact.free_values())[0]).astype(float))
    intensity = np.array(counts)
    dims = ("frame", "two_theta")
    errors = np.sqrt(np.maximum(intensity, 1.0))
    counts_of = {"units": "count"}
    return xr.Dataset(
        {"intensity": (dims, intensity, counts_of), "intensity_errors": (dims, errors, counts_of)},
        {"two_theta": two_theta},
        {"wavelength": INSTRUMENT.wavelength},
    )


def kept() -> dict[str, Any]:
    """Return what the command wrote."""
    found: dict[str, Any] = json.loads(PATH.read_text())
    return found


def main() -> None:
    """Refine everything with GSAS-II, and write what it gives."""
    found = {"simulated": _numbers(xrd.refine_series(simulated(), model(), engine="gsas2"), "layered", NAMES)}
    data = os.environ.get("REDOXLIGHT_DATA")
    if data:
        from benchmarks import refinement_real as real

        lead, edges = real.pbso4_fit(Path(data), "gsas2"), ("a", "b", "c", "volume")
        found["pbso4"] = _numbers(lead, "PbSO4", edges)
        found["seqtut"] = _numbers(real.seqtut_fit(Path(data), "gsas2"), "CuCr2O4", edges)
    PATH.write_text(json.dumps(found, indent=1) + "\n")
    print(f"wrote {PATH}")


def _numbers(series: xr.Dataset, phase: str, names: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return Rwp, GOF, status and some parameters with their errors, of every pattern."""
    one = series.sel(phase=phase)
    return [
        {
            "rwp": round(float(one["rwp"][i]), 9),
            "gof": round(float(one["gof"][i]), 7),
            "status": str(one["status"].values[i]),
            **{
                name: [float(f"{float(one[key][i]):.9g}") for key in (name, f"{name}_errors")]
                for name in names
            },
        }
        for i in range(series.sizes["frame"])
    ]


if __name__ == "__main__":
    from beamline.recipe import single_threaded_libraries

    single_threaded_libraries()
    main()
