"""Small valid Datasets the tests of the common ground start from."""

from __future__ import annotations

import numpy as np
import xarray as xr

from beamline import model, provenance


def patterns(frames: int = 3, bins: int = 20, seed: int = 0) -> xr.Dataset:
    """A series of patterns with errors, one empty bin per frame, times and a history."""
    rng = np.random.default_rng(seed)
    counts = rng.poisson(200.0, (frames, bins)).astype(float)
    errors = np.sqrt(np.maximum(counts, 1.0))
    counts[:, 3], errors[:, 3] = np.nan, np.nan
    time = np.datetime64("2026-03-01T12:00:00.123456789") + np.arange(frames) * np.timedelta64(60, "s")
    ds = xr.Dataset(
        {"intensity": (("frame", "two_theta"), counts), "intensity_errors": (("frame", "two_theta"), errors)},
        coords={"two_theta": np.linspace(1.0, 5.0, bins), "time": ("frame", time)},
    )
    ds["intensity"].attrs["units"] = "photon"
    ds = model.with_defaults(ds, "xrd.patterns")
    return provenance.with_history(ds, [{"step": "test.make", "version": "0", "parameters": {"seed": seed}}])


def images(frames: int = 2) -> xr.Dataset:
    """A stack of integer frames."""
    counts = np.random.default_rng(1).poisson(3.0, (frames, 40, 50)).astype(np.uint16)
    ds = xr.Dataset({"counts": (("frame", "y", "x"), counts)})
    ds["counts"].attrs["units"] = "ADU"
    return model.with_defaults(ds, "images")


def channels() -> xr.Dataset:
    """Two channels on one clock."""
    time = np.datetime64("2026-03-01T12:00:00", "ns") + np.arange(4) * np.timedelta64(1, "s")
    ds = xr.Dataset(
        {"label": ("time", ["rest", "charge", "charge", ""]), "voltage": ("time", [3.0, 3.1, np.nan, 3.3])},
        coords={"time": time},
    )
    return model.with_defaults(ds, "channels")


def experiment() -> xr.DataTree:
    """A tree of two techniques."""
    tree = xr.DataTree.from_dict(
        {"/xrd/first": patterns(), "/xrd/second": patterns(frames=1, seed=1), "/echem": channels()}
    )
    tree.attrs["name"] = "half cell"
    return tree
