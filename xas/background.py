"""From μ(E) to χ(k): AUTOBK on whole series.

χ(k) = (μ(E) - μ₀(E)) / Δμ with k = √(ETOK (E - E0)). The smooth background μ₀ is a spline chosen so that χ(R)
below ``rbkg`` is as small as it can be; `xas.autobk` says how. Scans of one axis and one E0 share all
operators: scans whose E0 differ, as the steepest points of noisy scans do, cost a set of operators each, and
their χ(k) are compared on shifted axes. A series of one compound is better given one ``e0``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from beamline import provenance
from beamline.errors import ConfigError
from xas.autobk import SHORTEST, Settings, plan
from xas.constants import ETOK
from xas.grid import Grid
from xas.normalization import limits_of, normalization_of, stored_columns
from xas.ranges import NoRoom
from xas.stacks import Statuses, parts
from xas.transforms import KSTEP, check_weight

if TYPE_CHECKING:
    import xarray as xr

Array = np.ndarray[Any, np.dtype[np.float64]]

RBKG = (0.5, 3.0)
"""Limits of rbkg, angstrom: below there is no room for a spline, above it takes the first shells."""
ATHENA_CLAMPED = 5
"""Points of either end Athena's clamps act on."""
TOGETHER = 1.0
"""Scans that end less than this (1/angstrom) before the longest one end the common grid of k."""


@provenance.step("xas.exafs", returns="xas.exafs")
def exafs(
    scans: xr.Dataset,
    rbkg: float | None = None,
    kweight: int | None = None,
    kmin: float | None = None,
    kmax: float | None = None,
    clamp: tuple[float, float] | None = None,
    window: str = "hanning",
    dk: float = 0.1,
    standard: xr.Dataset | None = None,
) -> xr.Dataset:
    """Remove the background with AUTOBK.

    Parameters
    ----------
    scans
        Normalised scans (`xas.normalize`): their E0, edge step, convention and elements are used.
    rbkg
        Distance in angstrom below which χ(R) is background. None is 1.0, or what Athena stored where the
        convention is Athena's; so are the next four.
    kweight
        Power of k in the transform AUTOBK makes small; None is 2.
    kmin, kmax
        Range of the spline, 1/angstrom; None goes from 0 to the end. The next edge of the sample ends it in
        any case, if `normalize` was given ``elements``.
    clamp
        Weights that hold the spline to the data at its begin and end; None is (0, 1), over three points.
    window, dk
        Of that transform.
    standard
        EXAFS whose χ(k), below rbkg too, is that of the sample and no background: ``chi_fit`` of a fit of the
        same scans where it has one, else ``chi``. The first shell reaches below rbkg, and without a standard
        AUTOBK takes that part of it: amplitude and σ² come out some 10 % too small.

    Returns
    -------
    Dataset
        ``chi`` over k (spacing 0.05) with errors, ``background`` over energy, ``status``, coordinates ``e0``
        and, where there, ``label`` and ``time``. k ends with the shortest of the scans that are about as long
        as the longest; of others χ is NaN beyond their end. The errors are the noise of μ, in χ itself and
        through the background; a common factor from the error of the edge step is not in them.

    Raises
    ------
    FitError
        A single scan ends too soon after its edge. Of several scans it is the status that says so.
    ConfigError
        A parameter makes no sense.
    SchemaError
        The scans are not normalised.
    """
    import xarray as xr

    choice = normalization_of(scans)
    _check(rbkg, kweight, kmin, kmax, clamp)
    count, axis = scans.sizes.get("scan", 1), scans.sizes["energy"]
    steps = np.atleast_1d(scans["edge_step"].values)
    origins = np.atleast_1d(scans["e0"].values)
    settings = _settings(scans, choice, (rbkg, kweight, kmin, kmax, clamp), window, dk)
    status = Statuses(scans, count)
    status.fail(
        [row for row in np.flatnonzero(~np.isfinite(steps)) if _unsaid(status, row)], "is not normalised"
    )
    longest = int(1.01 + np.sqrt(ETOK * np.ptp(scans["energy"].values)) / KSTEP)
    chi, errors = np.full((count, longest), np.nan), np.full((count, longest), np.nan)
    background, sizes = np.full((count, axis), np.nan), np.zeros(count, dtype=int)
    for part in parts(scans):
        groups: dict[Any, list[int]] = {}
        for place, row in enumerate(part.rows):
            if np.isfinite(steps[row]):
                groups.setdefault((float(origins[row]), settings[row]), []).append(place)
        grid = Grid(part.energy)
        for (e0, told), places in groups.items():
            rows = part.rows[places]
            end = limits_of(scans, choice, e0)[1]
            if np.isfinite(end):
                end = float(np.sqrt(ETOK * max(end - e0, 0)))
                told = replace(told, kmax=end if told.kmax is None else min(told.kmax, end))
            try:
                operators = plan(grid, e0, told)
            except NoRoom as reason:
                status.fail(rows, *reason.args)
                continue
            whole = len(places) == part.rows.size
            mu = part.mu if whole else part.mu[places]
            sigma = (
                part.sigma if part.sigma is not None else np.zeros_like(part.mu)
            )  # normalised scans have it
            known = _standard(standard, rows, operators.k)
            known = None if known is None else known * steps[rows, None]
            found = operators.remove(mu, sigma if whole else sigma[places], known)
            size = operators.k.size
            chi[rows, :size] = found.chi / steps[rows, None]
            errors[rows, :size] = found.errors / steps[rows, None]
            sizes[rows] = size
            # outside the range of the spline the background is the scan, as in larch
            part.put(background, mu, np.array(places))
            background[np.ix_(rows, part.points[operators.used])] = found.mu0
    size = _common_size(sizes, status)
    dims = scans["mu"].dims[:-1]
    single = not dims
    out = xr.Dataset(
        {
            "chi": ((*dims, "k"), chi[0, :size] if single else chi[:, :size]),
            "chi_errors": ((*dims, "k"), errors[0, :size] if single else errors[:, :size]),
            "background": (
                (*dims, "energy"),
                background[0] if single else background,
                {"units": "", "long_name": "background μ₀"},
            ),
            "status": status.variable(),
        },
        {"k": KSTEP * np.arange(size), "energy": scans["energy"], "e0": scans["e0"]},
        {key: v for key, v in scans.attrs.items() if key not in ("kind", "history", "normalization")},
    )
    for name in ("label", "time"):
        if name in scans.coords:
            out = out.assign_coords({name: scans[name]})
    return out


def _standard(standard: xr.Dataset | None, rows: Any, k: Array) -> Array | None:
    """Return χ(k) of the standard of some scans on a grid of k; 0 where it has none."""
    if standard is None:
        return None
    chi = standard["chi_fit" if "chi_fit" in standard else "chi"]
    values = np.atleast_2d(chi.values)
    values = values[rows] if values.shape[0] > 1 else np.broadcast_to(values, (len(rows), values.shape[1]))
    out = np.zeros((len(rows), k.size))
    size = min(k.size, values.shape[1])
    out[:, :size] = np.nan_to_num(values[:, :size])
    return out


def _unsaid(status: Statuses, row: Any) -> bool:
    return not str(status.texts[row]).startswith("failed")


def _common_size(sizes: Any, status: Statuses) -> int:
    """Return the points of the grid of k all scans of about full length have; of others say that they end."""
    longest = int(sizes.max())
    full = sizes >= longest - TOGETHER / KSTEP
    size = int(sizes[full].min()) if longest else 1
    for row in np.flatnonzero((sizes > 0) & (sizes < size)):
        status.note(row, "partial", f"χ(k) ends at k = {KSTEP * (sizes[row] - 1):.1f}")
    return size


def _settings(
    scans: xr.Dataset, choice: dict[str, Any], given: tuple[Any, ...], window: str, dk: float
) -> list[Settings]:
    """Return what AUTOBK is told for every scan: given, stored by Athena, or the default."""
    rbkg, kweight, kmin, kmax, clamp = given
    count = scans.sizes.get("scan", 1)
    stored = stored_columns(scans) if choice["convention"] == "athena" else {}
    clamped = ATHENA_CLAMPED if choice["convention"] == "athena" else Settings.clamped

    def of(row: int, key: str, default: Any) -> Any:
        value = float(stored[key][row]) if key in stored else np.nan
        return value if np.isfinite(value) else default

    def settings(row: int) -> Settings:
        return Settings(
            rbkg=float(of(row, "athena_rbkg", 1.0) if rbkg is None else rbkg),
            kweight=int(of(row, "athena_kweight", 2) if kweight is None else kweight),
            kmin=float(of(row, "athena_spl1", 0.0) if kmin is None else kmin),
            kmax=of(row, "athena_spl2", None) if kmax is None else float(kmax),
            clamp_low=of(row, "athena_clamp1", 0.0) if clamp is None else float(clamp[0]),
            clamp_high=of(row, "athena_clamp2", 1.0) if clamp is None else float(clamp[1]),
            clamped=clamped,
            window=window,
            dk=dk,
        )

    return [settings(row) for row in range(count)] if stored else [settings(0)] * count


def _check(
    rbkg: float | None,
    kweight: int | None,
    kmin: float | None,
    kmax: float | None,
    clamp: tuple[float, float] | None,
) -> None:
    if rbkg is not None and not RBKG[0] <= rbkg <= RBKG[1]:
        raise ConfigError("rbkg", f"is {rbkg} angstrom", f"between {RBKG[0]} and {RBKG[1]}; 1.0 is usual")
    if kweight is not None:
        check_weight(kweight)
    if kmin is not None and not 0 <= kmin < np.inf:
        raise ConfigError("kmin", f"is {kmin}", "it must be 0 or more; 0 is usual")
    if kmax is not None and not kmax - (kmin or 0) >= SHORTEST:
        raise ConfigError(
            "kmax", f"is {kmax}", f"AUTOBK needs at least {SHORTEST} 1/angstrom; None takes all"
        )
    if clamp is not None and (len(clamp) != 2 or not all(0 <= weight < np.inf for weight in clamp)):
        raise ConfigError("clamp", f"is {clamp!r}", "give two weights, (0, 1)")
