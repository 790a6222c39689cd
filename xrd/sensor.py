r"""What the sensor of a detector absorbs: light that crosses it at an angle more than light head on.

A layer of thickness t and absorption μ takes :math:`1 - e^{-μt/\cos α}` of what falls on it at the angle α.
μ is that of Chantler's tables (C. T. Chantler, J. Phys. Chem. Ref. Data 29 (2000) 597), through xraydb.
"""

from __future__ import annotations

import re

from beamline import units
from beamline.errors import ConfigError, SchemaError

DENSITIES = {"Si": 2.329, "Ge": 5.323, "GaAs": 5.318, "CdTe": 5.85, "CsI": 4.51, "Gd2O2S": 7.34, "Se": 4.28}
"""Densities of sensors in g/cm³: of the solids, Se amorphous (CRC Handbook of Chemistry and Physics)."""


def sensor_absorption(sensor: str, wavelength: float) -> float:
    """Return μt of a sensor at normal incidence.

    Parameters
    ----------
    sensor
        Formula and thickness, ``"CsI 500 um"``, and a density in g/cm³ where it is not that of the solid
        (screens of powder: ``"Gd2O2S 100 um 4.0"``).
    wavelength
        In angstrom.

    Raises
    ------
    ConfigError
        It is not such a text, the density is not known, or nothing is absorbed.
    """
    found = re.fullmatch(r"\s*([A-Z]\w*)\s+([\d.]+\s*[a-zµμ]+)(?:\s+([\d.]+))?\s*", sensor)
    if found is None:
        raise ConfigError("sensor", f"is {sensor!r}", 'write formula and thickness: "CsI 500 um"')
    formula, thickness, density = found.groups()
    if density is None and formula not in DENSITIES:
        raise ConfigError(
            "sensor", f"is of {formula}, whose density is not known", f'add it in g/cm³: "{sensor} 5.0"'
        )
    import xraydb

    from xrd.simulate import HC

    try:
        centimetres = units.magnitude(thickness, "cm")
        grams = float(density or DENSITIES.get(formula, 0.0))
        per_centimetre = xraydb.material_mu(formula, HC / wavelength, density=grams)
    except (SchemaError, ValueError, KeyError) as error:
        raise ConfigError("sensor", f"is {sensor!r} ({error})", 'write "CsI 500 um"') from error
    absorption = float(per_centimetre * centimetres)
    if not absorption > 0:
        raise ConfigError("sensor", f"is {sensor!r}, which absorbs nothing", 'write "CsI 500 um"')
    return absorption
