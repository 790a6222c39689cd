"""Rietveld refinement: time per pattern, errors against the truth, GSAS-II's results on the same patterns.

``REDOXLIGHT_DATA`` names the folder of data, beside which the folder ``reference`` has what GSAS-II gave.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

import beamline
import xrd
from beamline.readers.registry import concatenate
from benchmarks.measures import Array, Measured, Quantity, pulls, rms
from benchmarks.timing import Row

DRAWS = 2000
TERMS = (620.0, -330.0, 70.0)
LIMIT_OF_DRAW = 3.0

COLD = """
import time; start = time.process_time()
import beamline, xrd
model = xrd.Model([xrd.Phase.from_cif({cif!r})], xrd.Instrument.from_instprm({instprm!r}), background=3)
fit = xrd.refine(beamline.read({pattern!r}), model)
assert fit["status"].values[0] == "converged"
print(time.process_time() - start)
"""


def rows(bandwidth: float, repeats: int) -> Iterator[Row]:
    """Yield the lines of the table of times; `bandwidth` in bytes/s."""
    folder = Path(os.environ.get("REDOXLIGHT_DATA", ""))
    if not (folder / "xrd1d").is_dir():
        return
    cases = (
        ("ncm_cycling", "ncm_cycling", 3, False, "layered phase, 8 variables"),
        ("ncm_cycling_hard", "ncm_cycling_hard", 4, True, "layered phase and spinel, 11 variables"),
    )
    for name, reference, terms, spinel, task in cases:
        patterns = _patterns(folder / "xrd1d" / name)
        model = _model(folder / "xrd1d", terms, spinel)
        count = patterns.sizes["frame"]
        xrd.refine_series(patterns, model)  # compiles the kernels
        taken = []
        for _ in range(max(repeats // 3, 3)):
            start = time.process_time()
            xrd.refine_series(patterns, model)
            taken.append(1e3 * (time.process_time() - start) / count)
        summary = _reference(folder, reference)["summary"]
        theirs = 1e3 * float(summary.get("cpu_per_pattern") or summary["per_pattern_cpu"])
        # Least traffic: every pass writes the pattern and its derivatives once.
        passes = float(xrd.refine_series(patterns, model)["cycles"].mean()) + 1
        traffic = 8 * patterns.sizes["two_theta"] * (len(model.variables) + 1) * passes
        yield Row(
            f"refine a pattern of a series, CPU, {task}",
            (min(taken), float(np.median(taken))),
            "GSAS-II (stored)",
            (theirs, theirs),
            1e3 * traffic / bandwidth,
        )


def truth(_: Path) -> Iterator[Measured]:
    """Yield pulls of everything that is refined, against the model the patterns were drawn from."""
    model = _simulated()
    two_theta = np.linspace(1.2, 12.0, 3000)
    mean = xrd.calculate(model, two_theta)["intensity"].values
    counts = np.random.default_rng(20261128).poisson(mean, (DRAWS, mean.size)).astype(float)
    patterns = xr.Dataset(
        {
            "intensity": (("frame", "two_theta"), counts, {"units": "count"}),
            "intensity_errors": (("frame", "two_theta"), np.sqrt(np.maximum(counts, 1)), {"units": "count"}),
        },
        coords={"two_theta": two_theta},
    )
    phase = model.phases[0]
    known = {"a": 2.872, "c": 14.23, "volume": phase.volume, "scale": 0.2, "size": 0.25, "strain": 900.0}
    for weights in ("calculated", "observed"):
        fits = xrd.refine_series(patterns, model, weights=weights, chunk=DRAWS)
        bound = f"weights {weights}, {DRAWS} draws, |mean| below {LIMIT_OF_DRAW / math.sqrt(DRAWS):.3f}"
        for name, value in known.items():
            yield pulls(f"pulls of {name}, {bound}", (fits[name] - value) / fits[f"{name}_errors"])
        for term, value in enumerate(TERMS):
            off = (fits["background"][:, term] - value) / fits["background_errors"][:, term]
            yield pulls(f"pulls of background {term}, {bound}", off)


def gsas2(data: Path) -> Iterator[Measured]:
    """Yield how far cells, widths and Rwp lie from those of GSAS-II on the same 100 patterns."""
    patterns = _patterns(data / "xrd1d" / "ncm_cycling")
    theirs = _reference(data, "ncm_cycling_tight")["patterns"]
    model = _model(data / "xrd1d", 3, False)
    for listed in (True, False):
        of = xrd.Model(model.phases, model.instrument, 3, fixed_list=listed)
        fits = xrd.refine_series(patterns, of, chunk=100)
        which = "GSAS-II's list of reflections" if listed else "reflections of each pattern"
        for name, key in (("a", "a"), ("c", "c"), ("volume", "V"), ("size", "size"), ("strain", "mustrain")):
            stored = np.array([np.atleast_1d(p[key])[0] for p in theirs])
            yield _apart(f"{name}, {which}", fits[name].values[:, 0] - stored, fits[f"{name}_errors"])
        stored = np.array([p["scale"][0] for p in theirs])
        yield _apart(f"scale, {which}", fits["scale"].values[:, 0] - stored, fits["scale_errors"])
        for term in range(3):
            stored = np.array([p[f"b{term}"][0] for p in theirs])
            off = fits["background"].values[:, term] - stored
            yield _apart(f"background {term}, {which}", off, fits["background_errors"][:, term])
        off = 100 * fits["rwp"].values - np.array([p["Rwp"] for p in theirs])
        yield Measured(
            f"Rwp less GSAS-II's, {which}", f"{off.min():+.4f} to {off.max():+.4f} %", "0", "GSAS-II, stored"
        )


def hard(data: Path) -> Iterator[Measured]:
    """Yield what comes of patterns whose model is knowingly too simple, beside GSAS-II's with the same."""
    stored = _reference(data, "ncm_cycling_hard")
    true = {key: np.array([float(p["truth"][key]) for p in stored["patterns"]]) for key in _TRUE}
    patterns, model = _patterns(data / "xrd1d" / "ncm_cycling_hard"), _model(data / "xrd1d", 4, True)
    fits = xrd.refine_series(patterns, model)
    theirs = {
        "gof": np.array([p["GOF"] for p in stored["patterns"]]),
        "fraction": np.array([p["f_spinel"] for p in stored["patterns"]]),
        "c": np.array([p["layered"]["c"] for p in stored["patterns"]]),
        "a": np.array([p["spinel"]["a"] for p in stored["patterns"]]),
    }
    ours = {
        "gof": fits["gof"].values,
        "fraction": fits["tm_fraction"].values[:, 1],
        "c": fits["c"].values[:, 0],
        "a": fits["a"].values[:, 1],
    }
    low = true["soc"] < 0.55
    for word, function in (("median", np.median), ("largest", np.max)):
        yield Measured(
            f"{word} GOF of 40 patterns",
            f"{function(ours['gof']):.3f}",
            f"{function(theirs['gof']):.3f}",
            _SAME,
        )
    for name, key, unit, digits in (
        ("transition metal in the spinel", "fraction", "", 4),
        ("c of the layered phase, against the mean of the distribution", "c", " Å", 5),
        ("a of the spinel", "a", " Å", 4),
    ):
        right = {"fraction": 0.035, "c": true["c_mean"], "a": true["a_spinel"]}[key]
        for where, part in (("below", low), ("above", ~low)):
            mine, other = (rms((values[key] - right)[part]) for values in (ours, theirs))
            yield Measured(
                f"root mean square error of the {name}, {where} 55 % charge",
                f"{mine:.{digits}f}{unit}",
                f"{other:.{digits}f}{unit}",
                _SAME,
            )
    yield from _from_gsas2(patterns, model, fits, stored["patterns"], low)


def _from_gsas2(
    patterns: xr.Dataset, model: xrd.Model, fits: xr.Dataset, stored: list[dict[str, Any]], low: Any
) -> Iterator[Measured]:
    """Yield χ² at GSAS-II's cells and widths, amounts and background fitted; where a fit goes from there."""
    place = ("layered/a", "layered/c", "layered/size", "layered/strain", "spinel/a")
    found = []
    for frame, theirs in enumerate(stored):
        layered = theirs["layered"]
        values = (layered["a"], layered["c"], layered["size"][0], layered["mu"][0], theirs["spinel"]["a"])
        there = model.copy().start(dict(zip(place, values, strict=True)))
        pattern = patterns.isel(frame=[frame])
        held, moved = (xrd.refine(pattern, of, curves=False) for of in (there.copy().fix(*place), there))
        apart = (moved["estimate"].values[0] - fits["estimate"].values[frame]) / moved[
            "estimate_errors"
        ].values[0]
        points = int(moved["points"][0]) - len(model.variables)
        found.append(
            [theirs["GOF"] ** 2 * points, *(float(f["chi2"][0]) for f in (held, moved)), np.abs(apart).max()]
        )
    own, at, after, apart = np.array(found).T
    for where, part in (("below", low), ("above", ~low)):
        yield Measured(
            f"median χ² {where} 55 % charge: refined from GSAS-II's values; at its cells and widths",
            f"{np.median(after[part]):.0f} (within {apart[part].max():.2f} esd of the series); "
            f"{np.median(at[part]):.0f}",
            f"{np.median(own[part]):.0f}",
            "GSAS-II, stored; from its GOF",
        )


def cold(data: Path) -> Iterator[Measured]:
    """Yield the time of a fresh process that refines one pattern, with and without cached kernels."""
    folder = data / "xrd1d"
    code = COLD.format(
        cif=str(folder / "layered.cif"),
        instprm=str(folder / "11idc.instprm"),
        pattern=str(folder / "ncm_cycling" / "ncm_000.xye"),
    )
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "NUMBA_CACHE_DIR": cache}
        for what, limit in (("no kernel compiled before", "10 s"), ("kernels in the cache", "3 s")):
            done = subprocess.run(
                [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
            )
            yield Measured(
                f"CPU of a process that refines one pattern, {what}", f"{float(done.stdout):.1f} s", limit
            )


_TRUE = ("soc", "a_spinel", "c_mean")
_SAME = "GSAS-II, stored"


def _apart(name: str, off: Array, errors: xr.DataArray) -> Measured:
    ratio = np.abs(off / errors.values.ravel())
    return Measured(
        f"{name}: distance from GSAS-II",
        f"median {np.median(ratio):.3f}, root mean square {rms(ratio):.3f}, largest {ratio.max():.2f} esd",
        "0",
        "GSAS-II, tightly converged, stored",
    )


def _simulated() -> xrd.Model:
    sites = (
        ("Li1", "Li", 0.0, 0.97, 0.012),
        ("Ni2", "Ni", 0.0, 0.03, 0.012),
        ("Ni1", "Ni", 0.5, 0.57, 0.004),
        ("Co1", "Co", 0.5, 0.20, 0.004),
        ("Mn1", "Mn", 0.5, 0.20, 0.004),
        ("Li2", "Li", 0.5, 0.03, 0.004),
        ("O1", "O", 0.2415, 1.0, 0.009),
    )
    phase = xrd.Phase(
        "layered",
        "R -3 m:H",
        (2.872, 2.872, 14.23, 90.0, 90.0, 120.0),
        tuple(xrd.Site(label, element, 0.0, 0.0, z, part, uiso) for label, element, z, part, uiso in sites),
        scale=0.2,
        size=0.25,
        strain=900.0,
    )
    beam = xrd.Instrument(0.1173, U=30.0, V=-1.0, W=1.2, X=0.15, Y=4.0, SHL=0.002)
    return xrd.Model([phase], beam, xrd.Background(3, TERMS))


def _model(folder: Path, terms: int, spinel: bool) -> xrd.Model:
    phases = [xrd.Phase.from_cif(folder / "layered.cif")]
    if spinel:
        phases.append(xrd.Phase.from_cif(folder / "spinel.cif", size=0.03, strain=2500.0))
    model = xrd.Model(phases, xrd.Instrument.from_instprm(folder / "11idc.instprm"), background=terms)
    return model.fix("spinel/size", "spinel/strain") if spinel else model


def _patterns(folder: Path) -> xr.Dataset:
    files = sorted(folder.glob("*.xye"))
    return concatenate([beamline.read(file) for file in files], [str(file) for file in files])  # type: ignore[misc]


def _reference(data: Path, name: str) -> dict[str, Any]:
    stored: dict[str, Any] = json.loads((data.parent / "reference" / f"xrd_gsas2_{name}.json").read_text())
    return stored


QUANTITIES = {
    "refinement": Quantity(truth),
    "gsas2": Quantity(gsas2, real=True),
    "hard": Quantity(hard, real=True),
    "cold": Quantity(cold, real=True),
}
