r"""Frames put together after integration: groups of successive ones, or of those a coordinate names alike.

With the weights w = coverage × monitor, which is what the signal of a frame was divided by, the mean of a
group and its error are

.. math:: I = \frac{\sum_f w_f I_f}{\sum_f w_f}, \qquad σ^2 = \frac{\sum_f w_f^2 σ_f^2}{(\sum_f w_f)^2},

the pattern of the sum of the frames. (Where frames differ in dead pixels, a bin's normalisation per live
pixel is taken to be the same in all.) A bin that is empty in one frame is the mean of the others.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from beamline import provenance
from beamline.errors import ConfigError, SchemaError


@provenance.step("xrd.group", returns="xrd.patterns")
def group(patterns: xr.Dataset, size: int | None = None, by: str | None = None) -> xr.Dataset:
    """Return the mean pattern of every group of frames.

    Parameters
    ----------
    patterns
        Dataset of kind ``xrd.patterns``.
    size
        Number of successive frames in a group; the last may have less.
    by
        A coordinate of the frames instead: frames of one value are a group, in the order they first appear.

    Returns
    -------
    Dataset of kind ``xrd.patterns``
        With ``averaged``: the exposures in the mean. Numbers and times of the frames are their means, texts
        are kept where each group has one.

    Raises
    ------
    ConfigError
        Not one of `size` and `by` is given, or it is not possible.
    SchemaError
        The patterns have no errors or no such coordinate.
    """
    if "frame" not in patterns.dims or "intensity_errors" not in patterns:
        raise SchemaError("patterns", "have no frames, or no errors", "give what xrd.integrate returns")
    members = _members(patterns, size, by)
    weights = patterns["coverage"] if "coverage" in patterns else xr.ones_like(patterns["intensity"])
    if "monitor" in patterns:
        weights = weights * patterns["monitor"]
    weights = weights.where(np.isfinite(patterns["intensity"]), 0.0)
    for name, coord in patterns.coords.items():
        if coord.dims == ("frame",) and coord.dtype.kind not in "iufM":
            values = coord.values
            if any(len(set(values[frames].tolist())) > 1 for frames in members):
                patterns = patterns.drop_vars([name])
    groups = [
        _mean(patterns.isel(frame=frames), weights.isel(frame=frames), patterns["intensity"].dims)
        for frames in members
    ]
    return xr.concat(
        groups, "frame", coords="different", compat="equals", combine_attrs="override", join="exact"
    )


def _members(patterns: xr.Dataset, size: int | None, by: str | None) -> list[list[int]]:
    number = patterns.sizes["frame"]
    if (size is None) == (by is None):
        raise ConfigError("group", "needs a size, or the coordinate to group by", "give one of them")
    if size is not None:
        whole = isinstance(size, int | np.integer) and not isinstance(size, bool)
        if not whole or size < 1:
            raise ConfigError("group: size", f"is {size!r}", "it counts frames, from 1")
        return [list(range(i, min(i + int(size), number))) for i in range(0, number, int(size))]
    if by not in patterns.coords or patterns[by].dims != ("frame",):
        raise SchemaError("patterns", f"have no coordinate {by!r} of the frames", "group by one they have")
    found: dict[Any, list[int]] = {}
    for index, value in enumerate(patterns[by].values.tolist()):
        found.setdefault(value, []).append(index)
    return list(found.values())


def _mean(part: xr.Dataset, weights: xr.DataArray, dims: tuple[Any, ...]) -> xr.Dataset:
    """Return the mean of the frames of one group, as one frame."""
    total = weights.sum("frame")
    seen = total > 0
    intensity = (weights * part["intensity"].fillna(0.0)).sum("frame") / total.where(seen)
    variance = ((weights * part["intensity_errors"].fillna(0.0)) ** 2).sum("frame") / total.where(seen) ** 2
    variables: dict[str, xr.DataArray] = {"intensity": intensity, "intensity_errors": variance**0.5}
    if "coverage" in part:
        variables["coverage"] = part["coverage"].sum("frame")
    if "rejected" in part:
        variables["rejected"] = (weights * part["rejected"]).sum("frame") / total.where(seen, 1.0)
    ds = xr.Dataset(
        {name: array.transpose(*dims[1:]).variable for name, array in variables.items()}, attrs=part.attrs
    )
    for name, array in part.data_vars.items():
        if name in ds:
            ds[name].attrs = array.attrs
        elif "frame" not in array.dims:
            ds[name] = array.variable
    averaged = part["averaged"].sum() if "averaged" in part else part.sizes["frame"]
    coords: dict[Any, Any] = {k: c.variable for k, c in part.coords.items() if "frame" not in c.dims}
    for name, coord in part.coords.items():
        if coord.dims != ("frame",) or name == "averaged":
            continue
        if coord.dtype.kind in "iufM":
            coords[name] = coord.mean().variable
        else:
            coords[name] = coord[0].variable
        coords[name].attrs = coord.attrs
    return ds.assign_coords(coords).assign_coords(averaged=float(averaged)).expand_dims("frame")
