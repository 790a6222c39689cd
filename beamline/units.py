"""Units, read and converted by pint, with the few words the detectors add to the SI.

Numbers live in plain float arrays; their unit is the text in ``attrs["units"]``. ADU (what the converter
counts) and photon are dimensions of their own, so that going from one to the other takes a measured gain
and never happens by accident. A count is dimensionless, as in pint.
"""

from __future__ import annotations

import re
from functools import cache, lru_cache
from threading import Lock
from typing import TYPE_CHECKING, Any

from beamline.errors import SchemaError

if TYPE_CHECKING:
    import pint
    import xarray as xr

_DEFINITIONS = (
    "ADU = [detector_signal]",
    "photon = [photon_number] = photons",
    "mole_percent = 0.01 = mol_percent",
)


_QUANTITY = re.compile(
    r"\s*(?P<number>[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?)\s*"
    r"(?P<unit>(1/)?[^\s\d.,+-].*?)?\s*"
)

_making = Lock()


def registry() -> pint.UnitRegistry[Any]:
    """Return the one unit registry of the process.

    Units of two registries are never equal, so threads that ask for the first time at once must get the same.
    """
    with _making:
        return _registry()


@cache
def _registry() -> pint.UnitRegistry[Any]:
    import pint

    ureg: pint.UnitRegistry[Any] = pint.UnitRegistry(autoconvert_offset_to_baseunit=True)
    for definition in _DEFINITIONS:
        ureg.define(definition)
    return ureg


@lru_cache(maxsize=1024)
def parse(units: str) -> pint.Unit:
    """Return `units` as a pint unit; "" is dimensionless.

    Raises
    ------
    SchemaError
        The text is not a unit pint knows.
    """
    try:
        return registry().Unit(_spell_out(units))
    except Exception as error:  # pint's parser raises whatever Python's tokenizer does
        raise SchemaError(
            f"unit {units!r}", "not a unit", "write it as pint does: eV, deg, 1/angstrom"
        ) from error


def compatible(units: str, other: str) -> bool:
    """Tell whether the two units measure the same dimension."""
    return bool(parse(units).dimensionality == parse(other).dimensionality)


def same(units: str, other: str) -> bool:
    """Tell whether the two texts name the same unit ("deg" and "degree", "1/angstrom" and "angstrom**-1")."""
    return bool(parse(units) == parse(other))


def convert(value: Any, units: str, to: str) -> Any:
    """Return `value` (number or array), given in `units`, in the unit `to`.

    Raises
    ------
    SchemaError
        The units do not measure the same dimension.
    """
    if same(units, to):
        return value
    if not compatible(units, to):
        raise SchemaError(f"unit {units!r}", f"cannot be converted to {to!r}: another dimension")
    return registry().Quantity(value, parse(units)).to(parse(to)).magnitude


def to(array: xr.DataArray, units: str) -> xr.DataArray:
    """Return `array` in `units`; its ``attrs["units"]`` say what it is in now.

    Raises
    ------
    SchemaError
        `array` states no units, or units of another dimension.
    """
    if "units" not in array.attrs:
        raise SchemaError(str(array.name or "array"), "has no units", 'set attrs["units"]')
    converted = array.copy(data=convert(array.data, array.attrs["units"], units))
    converted.attrs["units"] = units
    return converted


@lru_cache(maxsize=1024)
def quotient(units: str, by: str) -> str:
    """Return `units` divided by the units `by`, as text pint reads."""
    unit = parse(units) / parse(by)
    return "" if unit == parse("") else f"{unit:D}"


def magnitude(quantity: str | float, units: str) -> float:
    """Return the number of `units` in a text such as ``"95.2s"`` or ``"0.4 keV"``; a bare number passes.

    Raises
    ------
    SchemaError
        The text is not a number with a unit of that dimension.
    """
    if isinstance(quantity, int | float):
        return float(quantity)
    # Not pint's own reading: it takes "1,5 s" for 15 s and "1 2 s" for 2 s.
    found = _QUANTITY.fullmatch(quantity)
    try:
        if found is None:
            raise ValueError("no number with a unit")
        number, unit = float(found["number"]), found["unit"]
        return float(convert(number, unit, units)) if unit else number
    except (SchemaError, ValueError) as error:
        raise SchemaError(repr(quantity), f"not a quantity in {units or 'plain numbers'}") from error


def _spell_out(text: str) -> str:
    """Write mol% as a word: pint reads the sign as an operator."""
    return text.replace("mol%", "mole_percent")
