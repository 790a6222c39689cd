"""How much of the emission the sample takes back, and what that does to intensities at resonance.

A thick sample at incidence α and exit β emits I(E, E') ∝ σ(E, E') / (μ(E) + g μ(E')), g = sin α / sin β
(S. Eisebitt et al., Phys. Rev. B 47 (1993) 14103). Where the sample absorbs more, at a resonance, the beam
does not go as deep, and less of σ is seen. The factor (μ(E) + g μ(E')) / (μ₀ + g μ(E')), μ₀ before the edge,
undoes this. It is an estimate: μ(E) is a measured yield put on the tabulated steps of the formula.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from beamline import provenance
from beamline.errors import CalibrationError, ConfigError

if TYPE_CHECKING:
    import xarray as xr

CATHODE = "LiNi0.6Co0.2Mn0.2O2"
BEFORE = (520.0, 527.5)
"""Excitation (eV) below the O K edge."""
BEYOND = (545.0, 570.0)
"""Excitation (eV) where the absorption is that of free atoms again."""


@provenance.step("rixs.self_absorption", returns="rixs.cut")
def self_absorption(
    absorption: xr.Dataset,
    emission: float = 523.7,
    formula: str = CATHODE,
    incidence: float = 45.0,
    exit: float = 45.0,  # noqa: A002 - the field's word
    before: tuple[float, float] = BEFORE,
    beyond: tuple[float, float] = BEYOND,
) -> xr.Dataset:
    """Estimate by what factor self-absorption weakens emission at each excitation energy.

    Parameters
    ----------
    absorption
        Kind ``rixs.cut`` over excitation energy that follows μ(E): electrons (`counter_yield`), or an
        inverse PFY.
    emission
        Emission energy, eV.
    formula
        Of the sample; only ratios of its absorption matter, so the density does not.
    incidence, exit
        Angles of beam and emission to the surface, deg.
    before, beyond
        Excitation energies (eV) before the edge, and above it where the tables hold.

    Returns
    -------
    Dataset
        Kind ``rixs.cut``: ``intensity`` (excitation_energy), the factor (1 before the edge) that undoes the
        weakening, with the counting errors of the yield. The tables themselves are good to some 10 %.

    Raises
    ------
    ConfigError
        An angle is not between 0 and 180 deg, or the formula cannot be read.
    CalibrationError
        The yield does not reach both ranges, or does not rise between them.
    """
    import xarray as xr

    for name, angle in (("incidence", incidence), ("exit", exit)):
        if not 0 < angle < 180:
            raise ConfigError(name, f"is {angle} deg", "give the angle to the surface")
    energy, seen = absorption["excitation_energy"].values, absorption["intensity"].values
    levels = []
    for lo, hi in (before, beyond):
        inside = (energy >= lo) & (energy <= hi) & np.isfinite(seen)
        if not inside.any():
            raise CalibrationError(
                "absorption",
                f"has no point at {lo} to {hi} eV",
                "give a yield over the whole edge, or other ranges",
            )
        levels.append((float(energy[inside].mean()), float(seen[inside].mean())))
    (low_at, low), (high_at, high) = levels
    if not high > low:
        raise CalibrationError("absorption", f"does not rise between {low_at:.1f} and {high_at:.1f} eV")
    table = _mu(formula, [low_at, high_at, emission])
    scale = (table[1] - table[0]) / (high - low)
    mu = table[0] + scale * (seen - low)
    geometry = float(np.sin(np.deg2rad(incidence)) / np.sin(np.deg2rad(exit)))
    whole = table[0] + geometry * table[2]
    cut = xr.Dataset(
        {"intensity": ("excitation_energy", (mu + geometry * table[2]) / whole, {"units": ""})},
        coords={"excitation_energy": absorption["excitation_energy"]},
        attrs={"window": f"emission {emission:g} eV, {formula}, {incidence:g} deg in, {exit:g} deg out"},
    )
    cut["intensity"].attrs["long_name"] = "factor that undoes self-absorption"
    if "intensity_errors" in absorption:
        errors = absorption["intensity_errors"].values * scale / whole
        cut["intensity_errors"] = ("excitation_energy", errors)
    return cut


def _mu(formula: str, energies: Any) -> Any:
    """Return the tabulated absorption (cm²/g) of a formula at energies in eV."""
    import xraydb

    try:
        # At density 1 g/cm³, in 1/cm.
        return np.asarray(xraydb.material_mu(formula, np.array(energies), density=1.0))
    except ValueError as error:
        raise ConfigError(f"formula {formula!r}", f"cannot be read ({error})") from error
