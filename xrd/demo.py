"""Simulated diffraction: a cell that is cycled and a powder that is heated, calibrated with ceria."""

from __future__ import annotations

import os
from pathlib import Path

from xrd import simulated_series as series

_FRAMES = 12
_TABLES = """\
[xrd.cell]                          # a half cell on charge and discharge
files = ["{place}/cell/raw/cell_*.tif"]
geometry = "{place}/ceria/geometry.poni"
bins = 2500
two_theta_range = [0.8, 10.5]
gain = {gain}                         # ADU per photon
channels = ["log"]

[xrd.heating]                       # a charged cathode that loses its oxygen
files = ["{place}/heating/raw/heat_*.tif"]
geometry = "{place}/heating/geometry.poni"
bins = 2500
two_theta_range = [1.6, 22.0]
gain = {gain}
channels = ["furnace", "gas"]
"""


def run(folder: str | os.PathLike[str]) -> str:
    """Simulate frames in `folder` and return the tables that integrate them.

    Raises
    ------
    DataFileError
        A file cannot be written.
    """
    folder = Path(folder)
    series.write_ceria(folder / "ceria", seed=2022)
    series.write_cycling(folder / "cell", _FRAMES, seed=2022)
    series.write_heating(folder / "heating", _FRAMES, seed=2022)
    return _TABLES.format(place=folder.name, gain=series.GAIN)
