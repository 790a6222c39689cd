"""A small simulated beamtime: ceria on a flat panel while it is heated."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from calibration.geometry import Geometry
from xrd.simulate import CEO2, Profile, powder_frames, write_frames

_GEOMETRY = Geometry(
    distance=0.3,
    poni1=0.0489,
    poni2=0.0533,
    rot1=0.012,
    rot2=-0.008,
    rot3=0.0,
    wavelength=0.1173,
    pixel_size=(200e-6, 200e-6),
    shape=(512, 512),
    orientation=3,
    calibrant="CeO2",
)
_GAIN = 20.0
_EXPANSION = 1.1e-5
"""Linear thermal expansion of ceria per K (about that of S. Stecura, W. J. Campbell, 1961)."""

_CONFIGURATION = f"""\
[beamtime]
name = "demonstration (simulated)"
timezone = "UTC"
output = "processed"

[xrd.ceria_heating]
files = ["raw/ceria_*.tif"]
geometry = "geometry.poni"
bins = 1000
two_theta_range = [1.0, 14.0]
gain = {_GAIN}                  # ADU per photon
"""


def run(folder: str | os.PathLike[str]) -> Path:
    """Simulate the beamtime in `folder`: eight frames from 25 to 725 degC.

    Returns
    -------
    Path
        The file ``beamtime.toml``.

    Raises
    ------
    DataFileError
        A file cannot be written.
    """
    heating = 1 + _EXPANSION * np.linspace(0.0, 700.0, 8)
    cells = [(*(edge * stretch for edge in CEO2.cell[:3]), 90.0, 90.0, 90.0) for stretch in heating]
    images, truth = powder_frames(
        _GEOMETRY,
        cells=cells,
        profile=Profile(W=0.05**2, X=0.02),
        beam_stop=0.8,
        gain=_GAIN,
        seed=2022,
    )
    return write_frames(folder, images, _GEOMETRY, truth, _CONFIGURATION, stem="ceria")
