"""The one form a file keeps attributes and arrays in.

netCDF knows text, numbers, and lists of either; what else is found in a Dataset is brought to that form, or
refused. The rules are listed in `beamline.store`. Applying them twice is applying them once.
"""

from __future__ import annotations

import datetime
import json
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from beamline.errors import SchemaError

if TYPE_CHECKING:
    import numpy as np

_RESERVED = frozenset(
    {
        *("_FillValue", "missing_value", "scale_factor", "add_offset", "_Unsigned", "_Encoding", "dtype"),
        *("calendar", "coordinates", "grid_mapping", "bounds", "CLASS", "NAME", "REFERENCE_LIST"),
        *("DIMENSION_LIST", "_Netcdf4Dimid", "_Netcdf4Coordinates", "_NCProperties", "_nc3_strict"),
    }
)
"""Attributes netCDF readers act upon: a number stored with one of them would be read as another number."""

_LONGEST_LIST = 2000
"""HDF5 holds at most 64 KiB in an attribute that is not text."""


def plain_attributes(attrs: Mapping[Any, Any]) -> dict[str, Any]:
    """Return attributes as they come back from a file (the rules of `beamline.store`).

    Raises
    ------
    SchemaError
        A value cannot be written down, or its name is one netCDF acts upon.
    """
    plain = {}
    for name, value in attrs.items():
        if not isinstance(name, str) or not name or "/" in name:
            raise SchemaError(f"attribute {name!r}", "has a name a file cannot keep", "use a plain word")
        if name in _RESERVED:
            raise SchemaError(f"attribute {name!r}", "has a meaning of its own in netCDF", "rename it")
        try:
            item = _plain(value)
        except (TypeError, ValueError) as error:
            raise SchemaError(f"attribute {name!r}", f"cannot be stored ({error})") from error
        if item is not None:
            plain[name] = item
    return plain


def plain_array(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return an array in the one form a file keeps it in."""
    import numpy as np

    kind = values.dtype.kind
    if kind == "O":
        if not all(isinstance(item, str) for item in values.flat):
            raise TypeError("it holds Python objects other than text")
        values, kind = values.astype(str), "U"
    if kind == "U":
        _writable_text("".join(values.flat))
        return values
    if kind in "Mm":
        exact = values.astype(f"{kind}8[ns]")
        if not bool(((exact.astype(values.dtype) == values) | np.isnat(values)).all()):
            raise ValueError("it holds times that do not fit into ns")
        return exact
    if kind in "SV" or (kind == "f" and values.dtype.itemsize > 8) or values.dtype.itemsize > 16:
        raise TypeError(f"files do not keep {values.dtype}")
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def _plain(value: Any) -> Any:
    """Return the value of an attribute in the one form a file keeps it in; None is to be dropped."""
    import numpy as np

    if isinstance(value, np.datetime64 | np.timedelta64):
        return str(value)
    if isinstance(value, np.generic | np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, bool):
        return int(value)
    if value is None or isinstance(value, float):
        return value
    if isinstance(value, int):
        return value if _fits(value) else str(value)
    if isinstance(value, str):
        return _writable_text(str(value))
    if isinstance(value, os.PathLike):
        return _writable_text(os.fspath(value))
    if isinstance(value, datetime.date | datetime.datetime):
        return value.isoformat()
    if isinstance(value, list | tuple):
        items = [_plain(item) for item in value]
        if 0 < len(items) <= _LONGEST_LIST:
            if all(isinstance(item, str) for item in value):
                return items[0] if len(items) == 1 else items
            if all(isinstance(item, int | float) for item in items):
                kind = float if any(isinstance(item, float) for item in items) else int
                return kind(items[0]) if len(items) == 1 else [kind(item) for item in items]
    if isinstance(value, Mapping | list | tuple):
        return _writable_text(json.dumps(_jsonable(value), ensure_ascii=False))
    raise TypeError(f"files do not keep values of type {type(value).__name__}")


def _jsonable(value: Any) -> Any:
    """Return a nested value as JSON can write it."""
    import numpy as np

    if isinstance(value, np.generic | np.ndarray) and value.dtype.kind not in "Mm":
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): _jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(item) for item in value]
    return value if value is None or isinstance(value, bool | int) else _plain(value)


def _fits(number: int) -> bool:
    return -(2**63) <= number < 2**63


def _writable_text(text: str) -> str:
    if "\0" in text:
        raise ValueError("text with a NUL character")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("text that is not Unicode") from None
    return text
