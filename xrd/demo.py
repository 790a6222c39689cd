"""Simulated diffraction: a cell that is cycled and a powder that is heated, calibrated with ceria."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import numpy as np
import xarray as xr

import beamline
from beamline.atomic import write_atomic
from beamline.truth import Comparison, open_leaf
from calibration import geometry as geometries
from calibration import instrument as instruments
from xrd import simulated_series as series
from xrd.integration import integrate
from xrd.simulate import Crystal

_CYCLED = 12
_HEATED = 12
"""Frames of the cell and of the heated powder."""
_TABLES = """\
[xrd.cell]                          # a half cell on charge and discharge
files = ["{place}/cell/raw/cell_*.tif"]
geometry = "{place}/panel_geometry.json"
bins = 2500
two_theta_range = [0.8, 10.5]
splitting = "bbox"                  # bins of half a pixel, for rings two pixels wide
gain = {gain}                         # ADU per photon
channels = ["log"]

[xrd.cell.refine]
phases = ["{place}/cell/layered.cif", "{place}/cell/copper.cif"]
instrument = "{place}/panel_profile.json"
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
    _calibrate(folder)
    series.write_cycling(folder / "cell", _CYCLED, seed=2022)
    for crystal in (series.LAYERED, series.COPPER):
        write_atomic(folder / "cell" / f"{crystal.name}.cif", _cif(crystal).encode())
    series.write_heating(folder / "heating", _HEATED, seed=2022)
    return _TABLES.format(place=folder.name, gain=series.GAIN)


def compare(folder: Path, result: Path) -> list[Comparison]:
    """Return the geometry, and a and c of the cathode at three charges, as simulated and as found."""
    return [*_compare_geometry(folder), *_compare_cells(folder, result)]


def _calibrate(folder: Path) -> None:
    """Find where the panel stands and how wide it shows a ring, with ceria, and no guess."""
    frame = beamline.read(folder / "ceria" / "raw" / "ceria_00001.tif", kind="images")
    assert isinstance(frame, xr.Dataset)  # noqa: S101 - one image is no tree
    geometry = geometries.calibrate(frame, "CeO2", wavelength=series.PANEL.wavelength)
    geometry.save(folder / "panel_geometry.json")
    pattern = integrate(
        frame, geometry, bins=2500, splitting="bbox", two_theta_range=(0.8, 10.5), gain=series.GAIN
    )
    # Rings that are read as rings have no axial divergence.
    profile = instruments.calibrate(pattern, varied=("zero", "U", "V", "W", "X", "Y"), axial="exact")
    profile.save(folder / "panel_profile.json")


def _compare_geometry(folder: Path) -> list[Comparison]:
    true, found = series.PANEL, geometries.load(folder / "panel_geometry.json")
    (x, y), (x_error, y_error) = found.center, found.center_errors
    return [
        Comparison(
            "distance of the panel (mm)",
            1e3 * true.distance,
            1e3 * found.distance,
            1e3 * found.distance_error,
        ),
        Comparison("beam centre x (px)", true.center[0], x, x_error),
        Comparison("beam centre y (px)", true.center[1], y, y_error),
        Comparison("tilt of the panel (deg)", true.tilt, found.tilt, found.tilt_error),
    ]


def _compare_cells(folder: Path, result: Path) -> list[Comparison]:
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
