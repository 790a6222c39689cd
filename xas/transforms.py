"""Fourier transforms of EXAFS, forward to χ(R) and back to χ(k) of a range in R.

On a grid of spacing δk, N = 2048 points,

    χ(R_m) = (δk/√π) Σ_n kₙ^w Ω(kₙ) χ(kₙ) exp(2i π m n / N)*,    R_m = π m / (N δk),

the star standing for the sign of the FFT, exp(-2πi mn/N), which the field's programs share. Its unit is
1/angstrom^(w+1). No phase is corrected: peaks lie 0.3 to 0.5 angstrom short of the distances. Back,

    χ(kₙ) = (2 √π / (N δk)) Σ_m Ω(R_m) χ(R_m) exp(2πi mn/N),

whose real part is k^w χ(k) of the shells within the window.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.fft import ifft, rfft
from scipy.special import i0

from beamline import provenance
from beamline.errors import ConfigError, FitError, SchemaError
from xas.stacks import Statuses

if TYPE_CHECKING:
    import xarray as xr

Array = np.ndarray[Any, np.dtype[np.float64]]

KSTEP = 0.05
NFFT = 2048
RMAX = 10.0
WINDOWS = ("hanning", "parzen", "welch", "kaiser", "sine", "gaussian")
BLOCK = 16
"""Scans transformed together, so that their arrays stay in the processor's cache."""


@provenance.step("xas.fourier", returns="xas.exafs")
def fourier(
    chi: xr.Dataset,
    kmin: float = 3.0,
    kmax: float = 12.0,
    kweight: int = 2,
    window: str = "hanning",
    dk: float = 1.0,
) -> xr.Dataset:
    """Transform χ(k) to χ(R).

    Parameters
    ----------
    chi
        Kind xas.exafs, as `exafs` returns it.
    kmin, kmax
        Range in 1/angstrom; the window is 1/2 (hanning, parzen) there.
    kweight
        Power of k, 0 to 3.
    window
        One of `WINDOWS`.
    dk
        Width of the window's rise and fall in 1/angstrom; the parameter β for "kaiser".

    Returns
    -------
    Dataset
        `chi` with ``chi_r`` (complex) over r to 10 angstrom and ``window`` over k; ``attrs`` of ``chi_r``
        hold the parameters.

    Raises
    ------
    ConfigError
        A parameter makes no sense.
    FitError
        The data end before `kmax`.
    """
    if "chi" not in chi:
        raise SchemaError("chi", "has no variable 'chi'", "call xas.exafs first")
    k = chi["k"].values
    if not 0 <= kmin < kmax:
        raise ConfigError("kmin, kmax", f"are {kmin}, {kmax}", "0 ≤ kmin < kmax")
    check_weight(kweight)
    if not 0 <= dk < np.inf:
        raise ConfigError("dk", f"is {dk}", "it must be 0 or more; 1.0 is usual")
    if k[0] > 1e-9 or not np.allclose(np.diff(k), KSTEP, rtol=0, atol=1e-9):
        raise SchemaError("k", f"is not a grid of {KSTEP} from 0", "call xas.exafs")
    rows = np.atleast_2d(chi["chi"].values)
    there = np.isfinite(rows)
    if kmax > k[-1] + 1e-9 and there.any():  # where all scans failed, their statuses say why
        raise FitError("kmax", f"is {kmax} but the data end at k = {k[-1]:.2f}", "choose a smaller kmax")
    # the window is laid on a grid that reaches beyond kmax, so that its fall is not cut to another shape
    grid = KSTEP * np.arange(int(1.01 + max(k[-1], kmax + dk) / KSTEP))
    omega = window_function(grid, kmin, kmax, dk, window)[: k.size]
    whole = there[:, : np.searchsorted(k, kmax + 1e-9, side="right")].all(axis=1)
    if not there.all():  # beyond the end of a scan there is nothing, as beyond the end of the grid
        rows = np.where(there, rows, 0.0)
    r = np.pi / (NFFT * KSTEP) * np.arange(int(1.01 + RMAX * NFFT * KSTEP / np.pi))
    spectrum = np.empty((rows.shape[0], r.size), dtype=complex)
    weights = omega * k**kweight * KSTEP / np.sqrt(np.pi)
    for start in range(0, rows.shape[0], BLOCK):
        block = slice(start, start + BLOCK)
        spectrum[block] = rfft(rows[block] * weights, NFFT)[:, : r.size]
    spectrum[~whole] = np.nan
    attrs = {
        "units": f"angstrom**-{kweight + 1}",
        "long_name": f"Fourier transform of k^{kweight} χ(k)",
        "kmin": kmin,
        "kmax": kmax,
        "kweight": kweight,
        "window": window,
        "dk": dk,
    }
    keep = chi.drop_vars([n for n in (*_BACK, "r", "chi_r", "window") if n in chi.variables])
    dims = chi["chi"].dims[:-1]
    status = Statuses(chi, rows.shape[0])
    for row in np.flatnonzero(~whole):
        status.note(row, "partial", f"ends before kmax = {kmax:g}")
    out = keep.assign(
        chi_r=((*dims, "r"), spectrum if dims else spectrum[0], attrs),
        window=("k", omega, {"units": "", "long_name": "window of the transform"}),
    ).assign_coords(r=r)
    return out if whole.all() else out.assign(status=status.variable())


_BACK = ("chi_q", "window_r")


@provenance.step("xas.back_transform", returns="xas.exafs")
def back_transform(
    chi: xr.Dataset,
    rmin: float = 1.0,
    rmax: float = 3.2,
    window: str = "hanning",
    dr: float = 0.2,
) -> xr.Dataset:
    """Transform a range of χ(R) back to k: the filtered χ of the shells within.

    Parameters
    ----------
    chi
        Transformed EXAFS, as `fourier` returns it.
    rmin, rmax
        Range in angstrom, not phase corrected; the window is 1/2 (hanning, parzen) there.
    window
        One of `WINDOWS`.
    dr
        Width of the window's rise and fall in angstrom; the parameter β for "kaiser".

    Returns
    -------
    Dataset
        `chi` with ``chi_q`` (complex) over k, in 1/angstrom^kweight: its real part is the filtered k^w χ(k),
        its modulus the amplitude; ``window_r`` over r.

    Raises
    ------
    ConfigError
        A parameter makes no sense, or the range ends beyond what was transformed.
    SchemaError
        `chi` is not transformed.
    """
    if "chi_r" not in chi:
        raise SchemaError("chi", "is not transformed", "call xas.fourier first")
    r, k = chi["r"].values, chi["k"].values
    if not 0 <= rmin < rmax:
        raise ConfigError("rmin, rmax", f"are {rmin}, {rmax}", "0 ≤ rmin < rmax")
    if not 0 <= dr < np.inf:
        raise ConfigError("dr", f"is {dr}", "it must be 0 or more; 0.2 is usual")
    if rmax + dr / 2 > r[-1]:
        raise ConfigError("rmax", f"is {rmax} but χ(R) ends at {r[-1]:.1f}", "choose a smaller rmax")
    omega = window_function(np.pi / (NFFT * KSTEP) * np.arange(NFFT), rmin, rmax, dr, window)[: r.size]
    rows = np.atleast_2d(chi["chi_r"].values) * omega
    filtered = np.empty((rows.shape[0], k.size), dtype=complex)
    for start in range(0, rows.shape[0], BLOCK):
        block = slice(start, start + BLOCK)
        filtered[block] = ifft(rows[block], NFFT)[:, : k.size]
    filtered *= 2 * np.sqrt(np.pi) / KSTEP
    dims = chi["chi"].dims[:-1]
    weight = chi["chi_r"].attrs["kweight"]
    attrs = {
        "units": f"angstrom**-{weight}" if weight else "",
        "long_name": f"Fourier filtered k^{weight} χ(k)",
        "rmin": rmin,
        "rmax": rmax,
        "window": window,
        "dr": dr,
    }
    return chi.drop_vars([n for n in _BACK if n in chi.variables]).assign(
        chi_q=((*dims, "k"), filtered if dims else filtered[0], attrs),
        window_r=("r", omega, {"units": "", "long_name": "window of the back transform"}),
    )


def window_function(k: np.ndarray[Any, Any], kmin: float, kmax: float, dk: float, name: str) -> Array:
    """Return the window Ω(k) on a grid from 0.

    It rises from kmin - dk/2 to kmin + dk/2 and falls the same way around kmax: as sin² (hanning), linearly
    (parzen) or as 1 - x² (welch). Over the whole range kmin - dk/2 to kmax + dk/2, kaiser is
    (I₀(dk √(1 - x²)) - 1)/(I₀(dk) - 1) with x from -1 to 1, and sine half a period; gaussian has its centre
    there and the standard deviation dk. The corners lie on points of the grid.

    Raises
    ------
    ConfigError
        There is no such window.
    """
    if name not in WINDOWS:
        raise ConfigError("window", f"is {name!r}", f"known: {', '.join(WINDOWS)}")
    # a corner on a point of the grid is rounded this way or that by the last bit: larch's way is taken
    step = float((k[-1] - k[0]) / (k.size - 1))
    tiny = 1e-4 * step
    corners = kmin - dk / 2, kmin + dk / 2 + tiny, kmax - dk / 2 - tiny, kmax + dk / 2
    i1, i2, i3, i4 = (int(np.clip(int((max(c, 0.0) + tiny) / step), 0, k.size - 1)) for c in corners)
    i1 = max(0, i2 - 1) if i1 == i2 else i1
    i3 = max(i2, i4 - 1) if i3 == i4 else i3
    a, b, c, d = (float(k[i]) for i in (i1, i2, i3, i4))
    b, d = (b + tiny if a == b else b), (d + tiny if c == d else d)
    if name == "sine":
        inside = np.where((k >= a) & (k <= d), (d - k) / (d - a), 0.0)
        return np.asarray(np.sin(np.pi * inside))
    if name == "gaussian":
        return np.asarray(np.exp(-0.5 * ((k - 0.5 * (a + d)) / max(dk, tiny)) ** 2))
    if name == "kaiser":
        x = np.clip(1 - ((k - 0.5 * (a + d)) / (0.5 * (d - a))) ** 2, 0, None)
        return np.asarray((i0(dk * np.sqrt(x)) - 1) / max(1e-10, float(i0(dk)) - 1))
    up, down = np.clip((k - a) / (b - a), 0, 1), np.clip((d - k) / (d - c), 0, 1)
    if name == "hanning":
        up, down = np.sin(0.5 * np.pi * up) ** 2, np.sin(0.5 * np.pi * down) ** 2
    elif name == "welch":
        up, down = 1 - (1 - up) ** 2, 1 - (1 - down) ** 2
    return np.asarray(up * down)


def check_weight(kweight: int) -> None:
    """Refuse a power of k the field does not use.

    Raises
    ------
    ConfigError
        It is not 0, 1, 2 or 3.
    """
    if not isinstance(kweight, int | np.integer) or not 0 <= kweight <= 3:
        raise ConfigError("kweight", f"is {kweight!r}", "0, 1, 2 or 3")
