"""Normalising a series of 1,000 scans, removing its background and transforming it, beside larch.

larch works on one scan after the other, so its time for a thousand is taken from a part of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import xarray as xr

import xas
from beamline import model
from benchmarks.timing import Row, times
from xas import simulate

SCANS = 1000
E0 = 8346.0
OF_LARCH = 20
"""Scans larch is timed on."""


def rows(bandwidth: float, repeats: int) -> Iterator[Row]:
    """Yield the lines of the table; `bandwidth` in bytes/s."""
    scans = series(SCANS)
    normalised = xas.edge(xas.normalize(scans))
    chi = xas.fourier(xas.exafs(normalised))
    one = scans.isel(scan=[-1])
    theirs = _Larch(scans)
    # Least traffic: μ read, and what is returned written once.
    written = sum(ds[name].nbytes for ds, names in ((normalised, _NORM), (chi, _CHI)) for name in names)
    limit = 1e3 * (scans["mu"].nbytes + written) / bandwidth

    def whole(e0: float | None) -> None:
        xas.fourier(xas.exafs(xas.normalize(scans, e0=e0)))

    def added() -> None:
        xas.fourier(xas.exafs(xas.edge(xas.normalize(one))))

    larch = "larch, one after the other"
    per = f"{SCANS} scans of {scans.sizes['energy']} points"
    for e0, text in ((E0, "one E0"), (None, "E0 of each scan, nine different ones")):
        yield Row(
            f"normalise, AUTOBK and Fourier transform of {per}, with errors, {text}",
            times(partial(whole, e0), repeats),
            f"{larch}, no errors",
            theirs.times(partial(theirs.everything, e0=e0), repeats),
            limit,
        )
    yield Row(
        f"normalise {per}, with errors",
        times(lambda: xas.normalize(scans), repeats),
        f"{larch} (pre_edge)",
        theirs.times(theirs.pre_edge, repeats),
    )
    yield Row(
        f"AUTOBK of {per}, with errors",
        times(lambda: xas.exafs(normalised), repeats),
        f"{larch} (autobk)",
        theirs.times(theirs.autobk, repeats),
    )
    yield Row(
        f"Fourier transform of {per}",
        times(lambda: xas.fourier(chi), repeats),
        f"{larch} (xftf)",
        theirs.times(theirs.xftf, repeats),
    )
    yield Row(
        "one scan added to a series: normalise, edge, AUTOBK, Fourier transform",
        times(added, repeats),
        "larch (pre_edge, autobk, xftf)",
        theirs.times(theirs.everything, repeats, 1),
    )


_NORM = ("norm", "norm_errors", "flat", "pre_edge", "post_edge", "mu_errors")
_CHI = ("chi", "chi_errors", "background", "chi_r")


def series(count: int, noise: float = 2e-3, seed: int = 0) -> xr.Dataset:
    """Return simulated scans on one axis, with an edge that moves up by 2 eV and back, and white noise."""
    energy = simulate.energy_axis()
    move = 2 * np.sin(np.pi * np.arange(count) / count) ** 2
    clean = np.array([simulate.absorption(energy, 8345.0 + shift) for shift in move])
    mu = clean + np.random.default_rng(seed).normal(0, noise, clean.shape)
    ds = xr.Dataset(
        {"mu": (("scan", "energy"), mu)},
        {"energy": energy, "label": ("scan", [f"s{n}" for n in range(count)])},
        # as if it had been read: the ids of files are known, values need no hash
        {"element": "Ni", "edge": "K", "history": '[{"id": "simulated", "step": "beamline.read"}]'},
    )
    return model.with_defaults(ds, "xas.scans")


class _Larch:
    """The same with larch, on a few of the scans."""

    def __init__(self, scans: xr.Dataset) -> None:
        from larch import Group

        energy = scans["energy"].values
        few = scans["mu"].values[:: SCANS // OF_LARCH]
        self._groups = [Group(energy=energy.copy(), mu=mu.copy()) for mu in few]
        self.everything(self._groups[0])

    def times(self, call: Any, repeats: int, count: int = SCANS) -> tuple[float, float]:
        """Return best and median time of `count` scans, in ms."""
        for group in self._groups:
            call(group)
        taken = np.array([times(partial(call, group), max(repeats // 5, 2)) for group in self._groups])
        return count * float(taken[:, 0].mean()), count * float(taken[:, 1].mean())

    def everything(self, group: Any, e0: float | None = None) -> None:
        """Go from μ to χ(R)."""
        self.pre_edge(group, e0)
        self.autobk(group)
        self.xftf(group)

    def pre_edge(self, group: Any, e0: float | None = None) -> None:
        """Find E0, if it is not given, and normalise."""
        from larch.xafs import pre_edge

        if hasattr(group, "e0"):
            del group.e0
        pre_edge(group, e0=e0)

    def autobk(self, group: Any) -> None:
        """Remove the background."""
        from larch.xafs import autobk

        autobk(group, rbkg=1.0, kweight=2)

    def xftf(self, group: Any) -> None:
        """Transform."""
        from larch.xafs import xftf

        xftf(group, kmin=3, kmax=12, dk=1, window="hanning", kweight=2)
