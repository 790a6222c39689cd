"""Simulated diffraction: a cell that is cycled and a powder that is heated, calibrated with ceria."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import numpy as np

from beamline.atomic import write_atomic
from beamline.truth import Comparison, open_leaf
from calibration.instrument import Instrument
from xrd import simulated_series as series
from xrd.simulate import Crystal

_FRAMES = 12
_TABLES = """\
[xrd.cell]                          # a half cell on charge and discharge
files = ["{place}/cell/raw/cell_*.tif"]
geometry = "{place}/ceria/geometry.poni"
bins = 2500
two_theta_range = [0.8, 10.5]
splitting = "bbox"                  # bins of half a pixel, for rings two pixels wide
gain = {gain}                         # ADU per photon
channels = ["log"]

[xrd.cell.refine]
phases = ["{place}/cell/layered.cif", "{place}/cell/copper.cif"]
instrument = "{place}/cell/panel.json"
limits = [1.2, 6.5]                 # 2θ, deg
excluded = [[2.78, 2.97], [3.27, 3.40], [4.62, 4.77], [5.45, 5.58], [5.70, 5.80]]   # spots of aluminium
fix = ["*/size", "*/strain"]        # nothing is broader here than the panel sees
free = ["layered/Li1.occupancy", "instrument/W"]   # lithium leaves; pixels are shared by bins
start = {{ "layered/size" = 100.0, "copper/size" = 100.0, "layered/strain" = 0.0, "copper/strain" = 0.0 }}

[xrd.heating]                       # a charged cathode that loses its oxygen
files = ["{place}/heating/raw/heat_*.tif"]
geometry = "{place}/heating/geometry.poni"
bins = 2500
two_theta_range = [1.6, 22.0]
gain = {gain}
channels = ["furnace", "gas"]
"""


def run(folder: str | os.PathLike[str]) -> str:
    """Simulate frames in `folder` and return the tables that integrate and refine them.

    Raises
    ------
    DataFileError
        A file cannot be written.
    """
    folder = Path(folder)
    series.write_ceria(folder / "ceria", seed=2022)
    series.write_cycling(folder / "cell", _FRAMES, seed=2022)
    _write_structures(folder / "cell")
    series.write_heating(folder / "heating", _FRAMES, seed=2022)
    return _TABLES.format(place=folder.name, gain=series.GAIN)


def compare(folder: Path, result: Path) -> list[Comparison]:
    """Return a and c of the cathode at three charges, as simulated and as refined."""
    truth = json.loads((folder / "cell" / "truth.json").read_text())
    refined = open_leaf(result, "xrd/cell/refinement").sel(phase="layered")
    charges, cells = np.array(truth["charge_fraction"]), truth["phases"]["layered"]["cell"]
    full = int(np.argmax(charges))
    half = int(np.argmin(np.abs(charges[: full + 1] - charges.max() / 2)))
    comparisons = []
    for frame in (0, half, full):
        for edge, expected in (("a", cells[frame][0]), ("c", cells[frame][2])):
            found, error = (float(refined[name][frame]) for name in (edge, f"{edge}_errors"))
            name = f"{edge} of the cathode, {charges[frame]:.0%} charged (angstrom)"
            comparisons.append(Comparison(name, expected, found, error))
    return comparisons


def _write_structures(folder: Path) -> None:
    """Write what is known before the cell is charged: its phases, and the profile of the panel."""
    for crystal in (series.LAYERED, series.COPPER):
        write_atomic(folder / f"{crystal.name}.cif", _cif(crystal).encode())
    # FWHM of 2θ in deg there; variance in centideg² and FWHM in centideg here.
    variance, lorentz = 1e4 * series.PROFILE.W / (8 * math.log(2)), 100 * series.PROFILE.X
    # Rings that are read as rings have no axial divergence.
    panel = Instrument(series.PANEL.wavelength, U=0.0, V=0.0, W=variance, X=lorentz, SHL=0.0, axial="exact")
    panel.save(folder / "panel.json")


def _cif(crystal: Crystal) -> str:
    """Return a crystal as CIF; its atoms are numbered by element."""
    names = ("length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma")
    columns = ("label", "type_symbol", "fract_x", "fract_y", "fract_z", "occupancy", "U_iso_or_equiv")
    lines = [f"data_{crystal.name}", f"_symmetry_space_group_name_H-M '{crystal.space_group}'"]
    lines += [f"_cell_{name} {value}" for name, value in zip(names, crystal.cell, strict=True)]
    lines += ["loop_", *(f"_atom_site_{column}" for column in columns)]
    counts: dict[str, int] = {}
    for element, x, y, z, occupancy, b in crystal.atoms:
        counts[element] = counts.get(element, 0) + 1
        uiso = b / (8 * math.pi**2)
        lines.append(f"{element}{counts[element]} {element} {x} {y} {z} {occupancy} {uiso:.6f}")
    return "\n".join(lines) + "\n"
