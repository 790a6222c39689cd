"""Files of a small refinement: a structure, an instrument, and patterns calculated from them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xarray as xr

from calibration.instrument import Instrument
from xrd.calculation import Calculator
from xrd.models import Model
from xrd.observations import Observations
from xrd.phases import Phase

CIF = """\
data_layered
_cell_length_a {a}
_cell_length_b {a}
_cell_length_c {c}
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 120
_symmetry_space_group_name_H-M 'R -3 m'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
_atom_site_U_iso_or_equiv
Li1 Li 0 0 0 1.0 0.012
Ni1 Ni 0 0 0.5 0.6 0.004
Co1 Co 0 0 0.5 0.4 0.004
O1 O 0 0 0.2415 1.0 0.009
"""

INSTPRM = """\
#GSAS-II instrument parameter file; do not add/delete items!
Type:PXC
Bank:1.0
Lam:0.1173
Polariz.:0.99
Azimuth:0.0
Zero:0.0
U:30.0
V:-1.0
W:1.2
X:0.15
Y:4.0
Z:0.0
SH/L:0.002
"""
CELLS = ((2.872, 14.230), (2.868, 14.252), (2.862, 14.280))
"""a and c of the patterns."""
LIMITS = (1.2, 6.0)


def write_model(folder: Path) -> None:
    """Write ``layered.cif`` and ``11idc.instprm``."""
    (folder / "layered.cif").write_text(CIF.format(a=CELLS[0][0], c=CELLS[0][1]))
    (folder / "11idc.instprm").write_text(INSTPRM)


def calculated(model: Model, two_theta: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
    """Return the pattern of a model at its starting values."""
    nothing = np.zeros((1, len(two_theta)))
    seen = Observations(two_theta, nothing, nothing + 1, np.ones(len(two_theta), bool), False, ("",))
    calculator = Calculator(model, seen)
    calculator.select(model.free_values())
    return calculator.pattern(model.free_values())[0]


def model(folder: Path) -> Model:
    """Return the model patterns are calculated from."""
    phase = Phase.from_cif(folder / "layered.cif", scale=0.5, size=0.2, strain=1200.0)
    instrument = Instrument.from_instprm(folder / "11idc.instprm")
    return Model([phase], instrument, 2, LIMITS).start({"background/0": 400.0, "background/1": -150.0})


def patterns(folder: Path, frames: int = 3, seed: int | None = 1) -> xr.Dataset:
    """Return patterns of the cells `CELLS`, as counts; without noise where there is no seed."""
    two_theta = np.linspace(*LIMITS, 900)
    rng = np.random.default_rng(seed)
    intensity = []
    for a, c in CELLS[:frames]:
        exact = calculated(model(folder).start({"layered/a": a, "layered/c": c}), two_theta)
        intensity.append(exact if seed is None else rng.poisson(exact).astype(float))
    counts = np.array(intensity)
    return xr.Dataset(
        {
            "intensity": (("frame", "two_theta"), counts, {"units": "count"}),
            "intensity_errors": (("frame", "two_theta"), np.sqrt(np.maximum(counts, 1)), {"units": "count"}),
        },
        {"two_theta": two_theta, "file": ("frame", [f"p_{i}.xye" for i in range(frames)])},
        {"wavelength": 0.1173},
    )


def write_patterns(folder: Path, frames: int = 3) -> list[Path]:
    """Write the patterns as ``p_0.xye`` and so on."""
    paths = []
    for i, frame in enumerate(patterns(folder, frames)["intensity"].values):
        table = np.column_stack([np.linspace(*LIMITS, 900), frame, np.sqrt(np.maximum(frame, 1))])
        paths.append(folder / f"p_{i}.xye")
        np.savetxt(paths[-1], table, fmt="%.8f")
    return paths
