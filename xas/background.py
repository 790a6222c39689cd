"""From μ(E) to χ(k), and its Fourier transform.

χ(k) = (μ(E) - μ₀(E)) / Δμ with k = √(ETOK (E - E0)). The smooth background μ₀ is a spline chosen so that χ(R)
below ``rbkg`` is as small as it can be (AUTOBK: M. Newville, P. Līviņš, Y. Yacoby, J. J. Rehr, E. A. Stern,
Phys. Rev. B 47 (1993) 14126); larch does it (M. Newville, J. Phys. Conf. Ser. 430 (2013) 012007).

The transform of XAFS on a grid of spacing δk, N = 2048 points, is

    χ(R_m) = (δk/√π) Σ_n kₙ^w Ω(kₙ) χ(kₙ) exp(2i π m n / N)*,    R_m = π m / (N δk),

the star standing for the sign of the FFT, exp(-2πi mn/N), which the field's programs share. Its unit is
1/angstrom^(w+1). No phase is corrected: peaks lie 0.3 to 0.5 angstrom short of the distances.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from beamline import provenance
from beamline.errors import ConfigError, FitError, SchemaError
from xas._larch import calling_larch
from xas.constants import ETOK
from xas.normalization import scan_name, stored_fits

if TYPE_CHECKING:
    import xarray as xr

Array = np.ndarray[Any, np.dtype[np.float64]]

KSTEP = 0.05
NFFT = 2048
RMAX = 10.0
SHORTEST = 5
"""Least range of k, 1/angstrom."""
RBKG = (0.5, 3.0)
"""Limits of rbkg, angstrom: below there is no room for a spline, above it takes the first shells."""
WINDOWS = ("hanning", "parzen", "welch", "kaiser", "sine")


@provenance.step("xas.exafs", returns="xas.exafs")
def exafs(scans: xr.Dataset, rbkg: float = 1.0, kweight: int = 2, kmax: float | None = None) -> xr.Dataset:
    """Remove the background with AUTOBK.

    Parameters
    ----------
    scans
        Normalised scans (`xas.normalize`): their E0 and edge step are used.
    rbkg
        Distance in angstrom below which χ(R) is background.
    kweight
        Power of k in the transform AUTOBK makes small.
    kmax
        End of the data used, 1/angstrom; None takes all.

    Returns
    -------
    Dataset
        ``chi`` over k (spacing 0.05, to the end of the shortest scan) with errors, ``background`` over
        energy, coordinates ``e0`` and, where there, ``label``. The errors are the noise of μ, in χ itself and
        through the background; a common factor from the error of the edge step is not in them.

    Raises
    ------
    FitError
        A scan ends too soon after its edge.
    ConfigError
        `rbkg`, `kweight` or `kmax` makes no sense.
    SchemaError
        The scans are not normalised.
    """
    import xarray as xr

    fits = stored_fits(scans)
    if not RBKG[0] <= rbkg <= RBKG[1]:
        raise ConfigError("rbkg", f"is {rbkg} angstrom", f"between {RBKG[0]} and {RBKG[1]}; 1.0 is usual")
    _check_weight(kweight)
    if kmax is not None and not kmax >= SHORTEST:
        raise ConfigError(
            "kmax", f"is {kmax}", f"AUTOBK needs at least {SHORTEST} 1/angstrom; None takes all"
        )
    chis, errors, backgrounds, ks = [], [], [], []
    for index, fit in enumerate(fits):
        reach = np.sqrt(ETOK * (fit.energy[-1] - fit.e0))
        if reach < SHORTEST:
            raise FitError(
                scan_name(scans, index),
                f"ends at k = {reach:.1f} 1/angstrom",
                f"EXAFS needs at least {SHORTEST}",
            )
        done = _autobk(fit.energy, fit.mu, fit.e0, fit.step, rbkg, kweight, kmax)
        ks.append(done.k)
        chis.append(done.chi)
        errors.append(_chi_errors(done, fit.sigma, fit.step, kweight))
        backgrounds.append(done.bkg)
    k = min(ks, key=len)
    dims = scans["mu"].dims[:-1]
    single = not dims
    out = xr.Dataset(
        {
            "chi": ((*dims, "k"), _rows([c[: k.size] for c in chis], single)),
            "chi_errors": ((*dims, "k"), _rows([e[: k.size] for e in errors], single)),
            "background": (
                (*dims, "energy"),
                _rows(backgrounds, single),
                {"units": "", "long_name": "background μ₀"},
            ),
        },
        {"k": k, "energy": scans["energy"], "e0": scans["e0"]},
        {key: v for key, v in scans.attrs.items() if key not in ("kind", "history", "normalization")},
    )
    for name in ("label", "time"):
        if name in scans.coords:
            out = out.assign_coords({name: scans[name]})
    return out


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
    _check_weight(kweight)
    if not 0 <= dk < np.inf:
        raise ConfigError("dk", f"is {dk}", "it must be 0 or more; 1.0 is usual")
    if k[0] > 1e-9 or not np.allclose(np.diff(k), KSTEP, rtol=0, atol=1e-9):
        raise SchemaError("k", f"is not a grid of {KSTEP} from 0", "call xas.exafs")
    if kmax > k[-1] + 1e-9:
        raise FitError("kmax", f"is {kmax} but the data end at k = {k[-1]:.2f}", "choose a smaller kmax")
    # the window is laid on a grid that reaches beyond kmax, so that its fall is not cut to another shape
    grid = KSTEP * np.arange(int(1.01 + max(k[-1], kmax + dk) / KSTEP))
    omega = window_function(grid, kmin, kmax, dk, window)[: k.size]
    weighted = np.zeros((*chi["chi"].shape[:-1], NFFT))
    weighted[..., : k.size] = chi["chi"].values * omega * k**kweight
    r = np.pi / (NFFT * KSTEP) * np.arange(int(1.01 + RMAX * NFFT * KSTEP / np.pi))
    spectrum = KSTEP / np.sqrt(np.pi) * np.fft.fft(weighted)[..., : r.size]
    attrs = {
        "units": f"angstrom**-{kweight + 1}",
        "long_name": f"Fourier transform of k^{kweight} χ(k)",
        "kmin": kmin,
        "kmax": kmax,
        "kweight": kweight,
        "window": window,
        "dk": dk,
    }
    keep = chi.drop_vars([n for n in ("r", "chi_r", "window") if n in chi.variables])
    return keep.assign(
        chi_r=((*chi["chi"].dims[:-1], "r"), spectrum, attrs),
        window=("k", omega, {"units": "", "long_name": "window of the transform"}),
    ).assign_coords(r=r)


def window_function(k: np.ndarray[Any, Any], kmin: float, kmax: float, dk: float, name: str) -> Array:
    """Return the window Ω(k) on a grid from 0.

    It rises from kmin - dk/2 to kmin + dk/2 and falls the same way around kmax: as sin² (hanning), linearly
    (parzen) or as 1 - x² (welch). Over the whole range kmin - dk/2 to kmax + dk/2, kaiser is
    (I₀(dk √(1 - x²)) - 1)/(I₀(dk) - 1) with x from -1 to 1, and sine half a period. The corners lie on points
    of the grid.

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
    if name == "kaiser":
        from scipy.special import i0

        x = np.clip(1 - ((k - 0.5 * (a + d)) / (0.5 * (d - a))) ** 2, 0, None)
        return np.asarray((i0(dk * np.sqrt(x)) - 1) / max(1e-10, float(i0(dk)) - 1))
    up, down = np.clip((k - a) / (b - a), 0, 1), np.clip((d - k) / (d - c), 0, 1)
    if name == "hanning":
        up, down = np.sin(0.5 * np.pi * up) ** 2, np.sin(0.5 * np.pi * down) ** 2
    elif name == "welch":
        up, down = 1 - (1 - up) ** 2, 1 - (1 - down) ** 2
    return np.asarray(up * down)


def _check_weight(kweight: int) -> None:
    if not isinstance(kweight, int | np.integer) or not 0 <= kweight <= 3:
        raise ConfigError("kweight", f"is {kweight!r}", "0, 1, 2 or 3")


def _autobk(
    energy: Array, mu: Array, e0: float, step: float, rbkg: float, kweight: int, kmax: float | None
) -> Any:
    """Return larch's group with k, chi, bkg and the details of the spline, for one scan."""
    with calling_larch():
        from larch import Group
        from larch.xafs import autobk

        group = Group(energy=energy.copy(), mu=mu.copy())
        autobk(group, rbkg=rbkg, kweight=kweight, ek0=e0, edge_step=step, kmax=kmax, nfft=NFFT, kstep=KSTEP)
    return group


def _chi_errors(done: Any, sigma: Array, step: float, kweight: int) -> Array:
    """Return the noise of χ: that of μ, and that of the background fitted to the same points.

    χ = L (μ - B c) with B the spline basis on the scan's points, L the interpolation to the grid of k. c
    minimises |W F L (μ - B c)|² (transform below rbkg, and the clamp of the last points), so that a change of
    μ changes c by (MᵀM)⁻¹ Mᵀ W F L dμ with M = W F L B.
    """
    from scipy.interpolate import BSpline, make_interp_spline

    details, k = done.autobk_details, done.k
    used = slice(details.iek0, details.iemax + 1)
    raw = details.kraw[: details.iemax - details.iek0 + 1]
    basis = BSpline(details.knots, np.eye(details.nspl), details.order)(raw)
    to_grid = make_interp_spline(raw, np.eye(raw.size), k=3)(k)
    weight = k**kweight * window_function(k, details.kmin, details.kmax, 0.1, "hanning")
    phase = np.exp(-2j * np.pi * np.outer(np.arange(details.irbkg), np.arange(k.size)) / NFFT)
    transform = KSTEP / np.sqrt(np.pi) * phase * weight
    rows = np.vstack([transform.real, transform.imag])
    low = rows @ (done.chi * step)
    clamp = np.zeros((3, k.size))
    clamp[:, -3:] = (0.1 + 10 * np.mean(low**2)) * np.eye(3)
    seen = np.vstack([rows, clamp]) @ to_grid
    response = np.linalg.pinv(seen @ basis) @ seen
    operator = to_grid - (to_grid @ basis) @ response
    return np.asarray(np.sqrt(operator**2 @ sigma[used] ** 2) / step)


def _rows(rows: list[Array], single: bool) -> Array:
    return rows[0] if single else np.array(rows)
