"""Fluorescence of a detector of many elements: dead time of each, bad ones named, and their sum.

A detector that is busy misses photons. With its input and output rates known, counts are multiplied by their
ratio; with its dead time τ alone, by the factor of a paralysable detector (G. F. Knoll, Radiation Detection
and Measurement, chapter 4), n the true and m the measured rate:

    m = n exp(-n τ),   factor n/m = -W(-m τ) / (m τ),   W the principal branch of Lambert's function.

    μ = Σ fᵢ cᵢ / I0,   σ = √(Σ fᵢ² cᵢ) / I0.

A channel is bad if it counts nothing, or if its spectrum is not that of the others: the sum of the others,
seen through a factor and a background, leaves a tenth of its rise or more, and three times what the others
leave of theirs, beyond counting noise.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from beamline import model, provenance
from beamline.errors import ConfigError, FitError, SchemaError
from xas.normalization import scan_name

if TYPE_CHECKING:
    import xarray as xr

Array = np.ndarray[Any, np.dtype[np.float64]]

UNLIKE = 0.1
"""A channel that differs from the others by more than this part of its rise (rms) has another spectrum."""
STANDS_OUT = 3.0
"""It must also differ so many times more than the others do."""


@provenance.step("xas.sum_detectors")
def sum_detectors(
    scans: xr.Dataset | xr.DataTree,
    dead_time: float | None = None,
    count_time: float = 1.0,
    exclude: Sequence[str] = (),
) -> xr.Dataset | xr.DataTree:
    """Correct the channels of scans for dead time and sum the good ones.

    Parameters
    ----------
    scans
        One scan, or a DataTree of them, kind ``xas.scans`` over (energy), with ``detector_counts`` over
        (detector, energy) and ``i0``; with ``dead_time_factor`` where the beamline measured it.
    dead_time
        τ in s, for channels whose factor is not in the file.
    count_time
        Time per point, s, which makes counts a rate; used with `dead_time` only.
    exclude
        Channels to leave out.

    Returns
    -------
    Dataset or DataTree
        The scans with ``mu`` and ``mu_errors`` of the sum. The attributes ``mu_from`` and ``bad_detectors``
        say what was summed, and which channels were not and why; a warning names the latter.

    Raises
    ------
    SchemaError
        A scan has no channels or no I0.
    ConfigError
        A channel to leave out does not exist, or a channel counts faster than its dead time allows.
    FitError
        No channel is good.
    """
    import xarray as xr

    options = (dead_time, count_time, tuple(exclude))
    if isinstance(scans, xr.DataTree):
        leaves = {node.path: node.to_dataset() for node in scans.leaves}
        return xr.DataTree.from_dict({path: _summed(ds, *options) for path, ds in leaves.items()})
    return _summed(scans, *options)


def _summed(
    scan: xr.Dataset, dead_time: float | None, count_time: float, exclude: Sequence[str]
) -> xr.Dataset:
    """Return one scan with the sum of its good detectors."""
    if "detector_counts" not in scan or "i0" not in scan:
        raise SchemaError("scan", "has no detector_counts and i0", "read one with several detectors")
    names = [str(name) for name in scan["detector"].values]
    unknown = [name for name in exclude if name not in names]
    if unknown:
        raise ConfigError("exclude", f"holds {unknown[0]!r}", f"there are {', '.join(names)}")
    counts = scan["detector_counts"].values.astype(float)
    factors = _factors(scan, counts, dead_time, count_time)
    corrected, variance = factors * counts, factors**2 * np.maximum(counts, 1.0)
    bad = dict.fromkeys(exclude, "left out") | _bad(names, corrected, variance, set(exclude))
    good = np.array([name not in bad for name in names])
    if not good.any():
        raise FitError(scan_name(scan, 0), "has no good detector", f"{'; '.join(bad.values())}")
    told = "; ".join(f"{name}: {reason}" for name, reason in bad.items())
    if found := [name for name in bad if name not in exclude]:
        warnings.warn(
            f"{scan_name(scan, 0)}: detector(s) {', '.join(found)} not summed ({bad[found[0]]})", stacklevel=5
        )
    i0 = scan["i0"].values.astype(float)
    chosen = ", ".join(name for name, use in zip(names, good, strict=True) if use)
    corrections = "not corrected" if (factors == 1).all() else "corrected"
    out = scan.assign(
        mu=("energy", corrected[good].sum(axis=0) / i0, scan["mu"].attrs),
        mu_errors=("energy", np.sqrt(variance[good].sum(axis=0)) / np.abs(i0)),
    )
    out.attrs |= {
        "mu_from": f"sum of {chosen} over i0, dead time {corrections}",
        "bad_detectors": told,
    }
    return model.with_defaults(out, "xas.scans")


def paralysable_factor(rate: Array, dead_time: float) -> Array:
    """Return true over measured rate of a paralysable detector.

    Parameters
    ----------
    rate
        Measured, 1/s.
    dead_time
        s.

    Raises
    ------
    ConfigError
        A rate is above 1/(e τ), the most such a detector can count.
    """
    from scipy.special import lambertw

    x = np.asarray(rate, dtype=float) * dead_time
    if (x > np.exp(-1)).any():
        raise ConfigError(
            "dead_time",
            f"of {dead_time:g} s allows {np.exp(-1) / dead_time:.3g} counts per second, not {rate.max():.3g}",
            "give the right dead time, or count_time",
        )
    small = x < 1e-9
    return np.asarray(np.where(small, 1.0, -lambertw(-x).real / np.where(small, 1.0, x)))


def _factors(scan: xr.Dataset, counts: Array, dead_time: float | None, count_time: float) -> Array:
    if dead_time is not None:
        if not (dead_time >= 0 and count_time > 0):
            raise ConfigError(
                "dead_time, count_time", f"are {dead_time:g} and {count_time:g} s", "they are > 0"
            )
        return paralysable_factor(counts / count_time, dead_time)
    if "dead_time_factor" in scan:
        return np.asarray(scan["dead_time_factor"].values, dtype=float)
    return np.ones_like(counts)


def _bad(names: list[str], counts: Array, variance: Array, excluded: set[str]) -> dict[str, str]:
    """Return what is wrong with each bad channel, by its name."""
    found: dict[str, str] = {}
    for n, name in enumerate(names):
        if name in excluded:
            continue
        if not np.isfinite(counts[n]).all():
            found[name] = "its dead-time factor is not finite everywhere"
        elif np.ptp(counts[n]) == 0 or counts[n].sum() < 10:
            found[name] = "counts nothing"
    while True:
        rest = [n for n, name in enumerate(names) if name not in excluded and name not in found]
        if len(rest) < 3:
            return found
        off = np.array([_unlike(n, rest, counts, variance) for n in rest])
        worst = int(np.argmax(off))
        others = float(np.median(np.delete(off, worst)))
        if off[worst] < max(UNLIKE, STANDS_OUT * others):
            return found
        found[names[rest[worst]]] = f"differs from the others by {100 * off[worst]:.0f} % of its rise"


def _unlike(n: int, rest: list[int], counts: Array, variance: Array) -> float:
    """Return by what part of its rise (rms, counting noise taken off) a channel differs from the others."""
    others = [m for m in rest if m != n]
    total, noise = counts[others].sum(axis=0), variance[others].sum(axis=0)
    design = np.stack([total, np.ones(total.size), np.linspace(-1, 1, total.size)], axis=1)
    coefficients = np.linalg.lstsq(design, counts[n], rcond=None)[0]
    left = counts[n] - design @ coefficients
    by_noise = float(np.mean(variance[n] + coefficients[0] ** 2 * noise))
    rise = max(float(np.subtract(*np.percentile(counts[n], [95, 5]))), np.sqrt(by_noise))
    return float(np.sqrt(max(float(np.mean(left**2)) - by_noise, 0.0)) / rise)
