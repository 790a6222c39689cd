"""Real powder patterns beside GSAS-II: ``python -m benchmarks.refinement_real [pbso4 ...] [--engine gsas2]``.

The models are those of GSAS-II's own test (PbSO4, laboratory, K-alpha doublet) and of its tutorial on
sequential refinement (CuCr2O4 and CuO, 11-BM, 17 temperatures). What GSAS-II found with them, driven by its
own scripts, is read from the folder ``reference`` beside that of the measurements; what it finds of the same
models behind ``engine="gsas2"``, at a hundredth of its default tolerance, from `benchmarks.gsas2_reference`.

GSAS-II reads U, V and W of a ``.prm`` and leaves out the other records of the profile: Lorentzian widths
become 0 and SH/L 0.002 (GSASIIfiles.SetPowderInstParms compares the text "3" with the number 3). Where its
numbers are met with "the same variables", the instrument is taken as GSAS-II takes it; the lines "as the file
says" have all of it.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import tempfile
import zipfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

import beamline
import xrd
from benchmarks import gsas2_reference
from benchmarks.measures import Measured, Quantity

PBSO4 = "xrd1d/pbso4"
SEQUENCE = "xrd1d/SeqTut.zip"
HUMP = xrd.Hump(position=5.25, area=5.0, variance=2000.0)
"""Scattering of the kapton, with the values the tutorial begins with."""

CYCLES = 400
"""What GSAS-II may need: with a hump under the polynomial the background is nearly singular."""

engine = "native"
"""Engine of all lines; ``--engine`` sets it."""


def pbso4(data: Path) -> Iterator[Measured]:
    """Yield Rwp and cell of PbSO4, 16 to 110 deg, with the variables of GSAS-II's last stage."""
    reference = _reference(data, "xrd_gsas2_pbso4.json")
    fit = pbso4_fit(data, engine)
    what = "PbSO4, instrument as GSAS-II reads it"
    yield _agreement(what, fit, 0, reference["stages"][-1]["Rwp"], gsas2_reference.kept()["pbso4"][0])
    theirs = {n: (reference["cell"][f"length_{n}"], reference["esd"][f"length_{n}"]) for n in "abc"}
    yield _cell(what, fit, 0, "PbSO4", theirs)
    whole = pbso4_fit(data, engine, as_gsas2_reads=False)
    yield _agreement("PbSO4, instrument as the file says", whole, 0, None)


def pbso4_fit(data: Path, program: str, as_gsas2_reads: bool = True) -> xr.Dataset:
    """Return the refinement of PbSO4."""
    pattern: Any = beamline.read(data / PBSO4 / "PBSO4.XRA", kind="xrd.patterns")
    instrument = xrd.Instrument.from_instprm(data / PBSO4 / "INST_XRY.PRM")
    phase = xrd.Phase.from_cif(data / PBSO4 / "PbSO4-Wyckoff.cif", "PbSO4")
    model = xrd.Model(
        [phase], _as_gsas2_reads(instrument) if as_gsas2_reads else instrument, 6, (16.0, 110.0)
    )
    model.fix("PbSO4/size").free("displacement", "PbSO4/coordinates", "PbSO4/uiso")
    model.free("instrument/U", "instrument/V", "instrument/W")
    return xrd.refine(pattern, model, engine=program, max_cycles=CYCLES, curves=False)


def seqtut_stages(data: Path) -> Iterator[Measured]:
    """Yield Rwp of the first pattern in the stages of the tutorial."""
    reference = _reference(data, "xrd_gsas2_seqtut_first9.json")["stages_first_pattern"]
    for (name, model, fit), theirs in zip(_stages(data, engine), reference, strict=True):
        yield _agreement(f"CuCr2O4 + CuO at 7 K, {name}, {_count(model)}", fit, 0, theirs["Rwp"])


def seqtut(data: Path) -> Iterator[Measured]:
    """Yield Rwp and cells of all temperatures with the variables of the tutorial's last pass."""
    reference = _reference(data, "xrd_gsas2_seqtut_first9.json")["passes"][-1]["patterns"]
    tight = gsas2_reference.kept()["seqtut"]
    patterns = _sequence(data)[0]
    series = seqtut_fit(data, engine)
    count = f"{series.sizes['variable']} variables"
    kelvin = patterns["temperature"].values + 273.15
    ours = 100 * series["rwp"].values
    theirs = [entry["Rwp"] for entry in reference]
    for frame, at in enumerate(kelvin):
        what = f"CuCr2O4 + CuO at {at:.0f} K, {count}"
        given = theirs[frame] if frame < len(theirs) else None
        yield _agreement(what, series, frame, given, tight[frame])
        if given is not None:
            cell = reference[frame]["CuCr2O4"]
            pairs = {name: (cell["cell"][i], cell["esd"][i]) for i, name in enumerate("abc")}
            yield _cell(what, series, frame, "CuCr2O4", pairs, "GSAS-II, third pass")
        pairs = {name: tuple(tight[frame][name]) for name in "abc"}
        yield _cell(what, series, frame, "CuCr2O4", pairs, "GSAS-II, engine gsas2")
    first = slice(len(theirs))
    yield Measured(
        f"CuCr2O4 + CuO, Rwp of the {len(theirs)} patterns of GSAS-II's third pass",
        f"{ours[first].min():.2f} to {ours[first].max():.2f} %, "
        f"{int((ours[first] <= theirs).sum())} of {len(theirs)} not above GSAS-II's",
        f"{min(theirs):.2f} to {max(theirs):.2f} %",
        "GSAS-II, third pass",
    )
    states = ", ".join(sorted(set(series["status"].values.tolist())))
    yield Measured(
        f"CuCr2O4 + CuO, Rwp of all {len(ours)}; states",
        f"{ours.min():.2f} to {ours.max():.2f} %; {states}",
        f"{100 * min(e['rwp'] for e in tight):.2f} to {100 * max(e['rwp'] for e in tight):.2f} %",
        "GSAS-II, engine gsas2",
    )
    yield _splitting(series, kelvin)


def seqtut_fit(data: Path, program: str) -> xr.Dataset:
    """Return the refinement of the 17 temperatures, from the stages of the first."""
    *_, (_, model, _) = _stages(data, program)
    model.fix("background/hump0.position").free("CuCr2O4/coordinates", "CuCr2O4/uiso")
    return xrd.refine_series(_sequence(data)[0], model, engine=program, max_cycles=CYCLES)


def _splitting(series: xr.Dataset, kelvin: Any) -> Measured:
    """Return b - c along the series; it should go to zero and not come back."""
    chromite = series.sel(phase="CuCr2O4")
    errors = np.hypot(chromite["b_errors"].values, chromite["c_errors"].values)
    split = chromite["b"].values - chromite["c"].values
    steps = np.diff(split) / np.hypot(errors[1:], errors[:-1])
    listed = ", ".join(f"{1e3 * s:.2f}({100 * 1e3 * e:.0f})" for s, e in zip(split, errors, strict=True))
    return Measured(
        f"CuCr2O4, orthorhombic splitting b - c from {kelvin.min():.0f} to {kelvin.max():.0f} K",
        f"{listed} mÅ; largest step up {steps.max():.1f} errors",
    )


QUANTITIES = {
    "pbso4": Quantity(pbso4, real=True),
    "seqtut_stages": Quantity(seqtut_stages, real=True),
    "seqtut": Quantity(seqtut, real=True),
}


def _agreement(
    what: str, fit: xr.Dataset, frame: int, theirs: float | None, tight: dict[str, Any] | None = None
) -> Measured:
    found = fit.isel(frame=frame)
    limits = [] if theirs is None else [f"{theirs:.3f} %"]
    if tight is not None:
        limits.append(f"{100 * tight['rwp']:.3f} % with engine gsas2")
    return Measured(
        f"{what}: Rwp, GOF",
        f"{100 * float(found['rwp']):.3f} %, {float(found['gof']):.4f} ({found['status'].item()})",
        "; ".join(limits),
        "GSAS-II" if limits else "",
    )


def _cell(
    what: str, fit: xr.Dataset, frame: int, phase: str, theirs: Any, source: str = "GSAS-II"
) -> Measured:
    """Return the edges of a cell, and by how many combined errors they differ."""
    found = fit.isel(frame=frame).sel(phase=phase)
    apart = {
        name: (float(found[name]) - value) / np.hypot(float(found[f"{name}_errors"]), error)
        for name, (value, error) in theirs.items()
    }
    ours = {name: (float(found[name]), float(found[f"{name}_errors"])) for name in theirs}
    told, compared = (
        ", ".join(f"{name} {value:.5f}({1e5 * error:.0f})" for name, (value, error) in cell.items())
        for cell in (ours, theirs)
    )
    off = ", ".join(f"{value:+.1f}" for value in apart.values())
    return Measured(f"{what}: cell of {phase}", f"{told}; off by {off} combined errors", compared, "GSAS-II")


def _count(model: xrd.Model) -> str:
    return f"{len(model.variables)} variables"


def _reference(data: Path, name: str) -> Any:
    return json.loads((data.parent / "reference" / name).read_text())


def _as_gsas2_reads(instrument: xrd.Instrument) -> xrd.Instrument:
    return dataclasses.replace(instrument, X=0.0, Y=0.0, SHL=0.002)


@cache
def _sequence(data: Path) -> tuple[xr.Dataset, xrd.Instrument, tuple[xrd.Phase, ...]]:
    """Return patterns, instrument and phases of the tutorial's archive."""
    with tempfile.TemporaryDirectory() as name, zipfile.ZipFile(data / SEQUENCE) as archive:
        archive.extractall(name)
        folder = Path(name)
        patterns: Any = beamline.read(sorted(folder.glob("*.fxye")), kind="xrd.patterns")
        instrument = xrd.Instrument.from_instprm(folder / "OH_00.prm")
        phases = tuple(xrd.Phase.from_cif(folder / f"{phase}.cif") for phase in ("CuCr2O4", "CuO"))
    # The radius is that the tutorial states; it only scales displacements.
    return patterns, dataclasses.replace(_as_gsas2_reads(instrument), radius=1000.0), phases


def _stages(data: Path, program: str) -> Iterator[tuple[str, xrd.Model, xr.Dataset]]:
    """Yield the stages of the tutorial: name, model with what was found, fit."""
    patterns, instrument, (chromite, oxide) = _sequence(data)
    first = patterns.isel(frame=[0])
    limits = (4.5, float(patterns["two_theta"][-1]))

    def refined(model: xrd.Model) -> xr.Dataset:
        fit = xrd.refine(first, model, engine=program, max_cycles=CYCLES, curves=False)
        _carry_over(model, fit)
        return fit

    model = xrd.Model([chromite, oxide], instrument, 6, limits).fix("*/size", "*/strain")
    yield "cells, fractions and background", model, refined(model)
    background = xrd.Background(6, humps=(HUMP,))
    found = _settings(model)
    model = xrd.Model([chromite, oxide], instrument, background, limits).fix("CuO/size").start(found)
    model.fix("background/hump0.position", "background/hump0.gamma").free("displacement_x")
    yield "+ displacement, a hump, size and strain", model, refined(model)
    found = _settings(model) | {"CuCr2O4/strain_axial": model.parameters["CuCr2O4/strain"].value}
    uniaxial = dataclasses.replace(chromite, strain_model="uniaxial", axis=(0, 1, 0))
    model = xrd.Model([uniaxial, oxide], instrument, background, limits).fix("CuO/size").start(found)
    model.fix("background/hump0.gamma").free("displacement_x")
    yield "+ uniaxial strain, position of the hump", model, refined(model)


def _carry_over(model: xrd.Model, fit: xr.Dataset) -> None:
    """Let the model begin with what was found."""
    found = dict(zip(fit["variable"].values.tolist(), fit["estimate"].values[0].tolist(), strict=True))
    model.start(found)


def _settings(model: xrd.Model) -> dict[str, float]:
    return {name: parameter.value for name, parameter in model.parameters.items()}


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    global engine
    parser = argparse.ArgumentParser(prog="python -m benchmarks.refinement_real", description=__doc__)
    parser.add_argument("quantity", nargs="*", help=f"any of {', '.join(QUANTITIES)}; all by default")
    parser.add_argument("--engine", default="native", help="native or gsas2")
    chosen = parser.parse_args(arguments)
    engine = chosen.engine
    data = Path(os.environ["REDOXLIGHT_DATA"])
    print("| quantity | measured | reference | source |\n|---|---|---|---|")
    for name in chosen.quantity or QUANTITIES:
        for line in QUANTITIES[name].lines(data):
            print(f"| {' | '.join(line.cells())} |", flush=True)


if __name__ == "__main__":
    from beamline.recipe import single_threaded_libraries

    single_threaded_libraries()
    main()
