"""Results as NeXus sees them: what of a Dataset is to be plotted, and the NeXus file of a Dataset.

The file has one NXentry with the Dataset as its NXdata and the history in an NXprocess. Patterns have the
field names of the application definition NXazint1d, cakes those of NXazint2d (NeXus definitions v2025.11).
Where they were integrated here, so that wavelength and corrections are known, the entry states this
definition and has the names for which GSAS-II looks in such files (it wants them to end in .h5). What a
result does not know (beamline, source, and the date of writing, which would make equal results different
files) is left out, though the definition asks for it, and intensities have their true units instead of
"arbitrary units". Times are seconds since the first, which the attribute ``start`` gives, as in NXlog.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from beamline import __version__, model
from beamline.plain import plain_attributes

if TYPE_CHECKING:
    import xarray as xr

ATTRIBUTES = frozenset({"NX_class", "signal", "axes", "default"})
"""Attributes of groups that describe the file to NeXus viewers and are no part of a result."""

_AZINT = {
    "intensity": ("I", "intensity"),
    "intensity_errors": ("I_errors", "estimated intensity error"),
    "two_theta": ("radial_axis", "2theta"),
    "azimuth": ("azimuthal_axis", "azimuthal bin center"),
}
"""Name and long name of our variables in NXazint1d and NXazint2d."""

_DEFINITIONS = {"xrd.patterns": ("NXazint1d", "spectrum"), "xrd.cakes": ("NXazint2d", "image")}
"""Application definition of a kind, and how viewers are to take it."""

_HC = 12.398419843320026
"""Planck's constant times the speed of light in keV angstrom, exact in the SI of 2019."""


def plot_attributes(ds: xr.Dataset) -> dict[str, Any]:
    """Return the attributes that make the group of `ds` an NXdata, which viewers plot.

    ``axes`` has a name for each dim of the signal, "." where there is no axis of numbers. A Dataset without
    numbers is a collection. A complex signal is named ``<name>_re``, as it is stored.
    """
    signal = model.signal_of(ds)
    array = ds[signal]
    if array.dtype.kind not in "iufc":
        return {"NX_class": "NXcollection"}
    axes = [str(dim) if dim in ds.coords and ds[dim].dtype.kind in "iufM" else "." for dim in array.dims]
    plot: dict[str, Any] = {
        "NX_class": "NXdata",
        "signal": f"{signal}_re" if array.dtype.kind == "c" else signal,
    }
    return plot | ({"axes": axes} if axes else {})


def file_image(title: str, ds: xr.Dataset) -> bytes:
    """Return the NeXus file of a Dataset of a known kind, as it is to be written."""
    import h5py

    memory = io.BytesIO()
    with h5py.File(memory, "w") as file:
        file.attrs["NX_class"] = "NXroot"
        file.attrs["default"] = "entry"
        entry = _group(file, "entry", "NXentry")
        entry.attrs["default"] = "data"
        entry["title"] = title
        reduction = _group(entry, "reduction", "NXprocess")
        reduction["program"] = "redoxlight"
        reduction["version"] = __version__
        if "history" in ds.attrs:
            reduction["history"] = ds.attrs["history"]
        if model.kind_of(ds) in _DEFINITIONS:
            _write_patterns(entry, ds, *_DEFINITIONS[model.kind_of(ds)])
        else:
            _write_data(entry, ds)
    return memory.getvalue()


def _write_patterns(entry: Any, ds: xr.Dataset, definition: str, interpretation: str) -> None:
    """Write patterns or cakes with the names of their definition, and what is known of what it wants."""
    if "frame" not in ds.dims:
        over_axis = [name for name in ds.data_vars if "two_theta" in ds[name].dims]
        ds = ds.assign({name: ds[name].expand_dims("frame") for name in over_axis})
    if all(key in ds.attrs for key in ("wavelength", "solid_angle_corrected", "polarization_corrected")):
        entry["definition"] = definition
        entry["solid_angle_applied"] = bool(ds.attrs["solid_angle_corrected"])
        entry["polarization_applied"] = bool(ds.attrs["polarization_corrected"])
        entry["normalization_applied"] = True
        entry["monitor_applied"] = "monitor" in ds.variables
        if "monitor" in ds.variables:
            _write_variable(_group(entry, "monitor", "NXmonitor"), "data", ds["monitor"])
        beam = _group(_group(entry, "instrument", "NXinstrument"), "monochromator", "NXmonochromator")
        _write(beam, "wavelength", ds.attrs["wavelength"], {"units": "angstrom"})
        _write(beam, "energy", _HC / ds.attrs["wavelength"], {"units": "keV"})
        _group(entry["reduction"], "input", "NXparameters")["unit"] = "2th"
    data = _write_data(entry, ds, {name: field for name, (field, _) in _AZINT.items()})
    data.attrs["interpretation"] = interpretation
    for field, long_name in _AZINT.values():
        if field in data:
            data[field].attrs["long_name"] = long_name


def _write_data(entry: Any, ds: xr.Dataset, names: dict[str, str] | None = None) -> Any:
    """Write a Dataset as an NXdata, its variables under other `names` where there are."""
    names = names or {}
    data = _group(entry, "data", "NXdata")
    for name in map(str, ds.variables):
        _write_variable(data, names.get(name, name), ds[name])
    for key, value in plain_attributes(ds.attrs).items():
        if key not in ATTRIBUTES and key != "history":
            data.attrs[key] = value
    for key, value in plot_attributes(ds).items():
        if isinstance(value, list):
            data.attrs[key] = [names.get(axis, axis) for axis in value]
        else:
            data.attrs[key] = names.get(value, value)
    return data


def _write_variable(group: Any, name: str, array: xr.DataArray) -> None:
    """Write one variable; a complex one as its real and imaginary parts."""
    import numpy as np

    values, attrs = array.values, plain_attributes(array.attrs)
    if values.dtype.kind == "c":
        _write(group, f"{name}_re", values.real, attrs)
        _write(group, f"{name}_im", values.imag, attrs)
        return
    if values.dtype.kind == "M":
        known = values[~np.isnat(values)]
        start = known.min() if known.size else np.datetime64(0, "ns")
        values = values - start
        zone = "Z" if array.name == model.TIME else ""  # other times are in whatever zone they were noted
        attrs = {"long_name": name, **attrs, "start": f"{start}{zone}"}
    if values.dtype.kind == "m":
        values = values / np.timedelta64(1, "s")  # NaT becomes NaN
        attrs["units"] = "s"
    _write(group, name, values, attrs)


def _write(group: Any, name: str, values: Any, attrs: dict[str, Any]) -> None:
    import h5py
    import numpy as np

    is_text = np.asarray(values).dtype.kind in "OU"
    data = np.asarray(values, dtype=object) if is_text else values
    group.create_dataset(name, data=data, dtype=h5py.string_dtype() if is_text else None)
    group[name].attrs.update(attrs)


def _group(parent: Any, name: str, nx_class: str) -> Any:
    group = parent.create_group(name)
    group.attrs["NX_class"] = nx_class
    return group
