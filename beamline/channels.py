r"""Channels and frames on one clock: what the cell, the furnace and the gas were at while a frame was taken.

A frame exposes over :math:`[t - e/2,\ t + e/2]`. Channels are sampled at their own times, often at uneven
ones (a cycler records when the voltage has moved), so that the plain mean of the samples within an exposure
would lean to where they are dense. A continuous channel is therefore taken as the straight lines between its
samples and averaged over time,

.. math:: \bar v = \frac{1}{T} \int v(t)\,\mathrm{d}t = \sum_i w_i v_i,

over the part T of the exposure that is not in a gap: between two samples more than twice the tolerance apart,
nothing is known. Where the exposure holds no sample, it lies between two neighbours, and the mean is the
linear interpolation at its middle; this is done only where both are within the tolerance of the middle. A
discrete channel (integers, labels) has the last value before the middle of the exposure, if that is not
older than the tolerance. Everything else is NaN and flagged.

The variance of :math:`\bar v` is the sum of

* noise :math:`\sum_i w_i^2 \sigma_i^2`, with the ``_errors`` of the channel or, where it states none,
  :math:`\sigma` from the differences of samples to the line through their neighbours (a running median, so
  that it follows the noise and not the steps);
* resolution :math:`\Delta^2/12` of the last digit recorded (the attribute ``resolution``, or the smallest
  step of a channel whose values recur), which averaging does not remove;
* the clock: :math:`[(\bar v(t+\sigma_t) - \bar v(t-\sigma_t))/2]^2`, that is :math:`(\dot v\,\sigma_t)^2`;
* unresolved change: a step :math:`d` somewhere between two samples, :math:`d^2/6` times the square of its
  share of the exposure;
* what a part of the exposure without samples can hold, :math:`(\dot v\,(e - T)/2)^2`.

Everything is done with sorted searches and cumulative sums; no loop runs over frames.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from beamline import model, provenance, units
from beamline.clocks import Clock as Clock
from beamline.clocks import fit_clock as fit_clock
from beamline.errors import JoinError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

FLAGS = {
    "between_samples": 1,
    "no_value": 2,
    "partly_covered": 4,
    "unresolved_change": 8,
}
"""Bits of ``<channel>_mask``: no sample within the exposure, so that the value is that of its neighbours;
nothing within the tolerance; a gap within the exposure; a step between two samples (for a discrete channel: a
change during the exposure)."""

_MEDIAN = 99  # samples the noise is taken over: enough to know it to 14 %, see docs/theory/clocks.md
_MAD = 1.4826  # median absolute deviation of a normal distribution to its standard deviation
_STEP = 5.0  # standard deviations


@provenance.step("beamline.join")
def join(
    frames: xr.Dataset,
    channels: xr.Dataset | xr.DataTree,
    tolerance: str | float = "30s",
    clock: Clock | Mapping[str, Clock] | None = None,
) -> xr.Dataset:
    """Give every frame the values its channels had while it was exposed.

    Parameters
    ----------
    frames
        Any Dataset with the coordinates ``time`` (mid-exposure, UTC) and ``exposure`` (s) along one dim.
    channels
        Channels (dim time), or a tree of them with a leaf per clock.
    tolerance
        How far from a sample a value still holds: "30s" or a number of s.
    clock
        What brings the time of the channels onto that of the frames; for a tree, one for all or one per leaf
        by its name.

    Returns
    -------
    Dataset
        `frames` with the coordinates, for every channel ``voltage``,

        * ``voltage``: mean over the exposure, with the attributes of the channel (reference electrode, ...);
        * ``voltage_errors``: one standard deviation, for continuous channels;
        * ``voltage_n``: samples within the exposure;
        * ``voltage_dt``: s from the middle of the exposure to the nearest sample, or to the one taken;
        * ``voltage_mask``: flags (`FLAGS`); ``flag_counts`` says how many frames have each.

    Raises
    ------
    JoinError
        Frames have no time or exposure, channels no time that increases, or a name is there already.
    """
    window = _window(frames)
    limit = units.magnitude(tolerance, "s")
    if not (np.isfinite(limit) and limit >= 0):
        raise JoinError(f"tolerance {tolerance!r}", "is not a time >= 0", 'write it as "30s"')
    joined: dict[str, Any] = {}
    for leaf, ds, leaf_clock in _leaves(channels, clock):
        times, sigma = _on_frames_clock(ds, leaf, leaf_clock)
        for name in _channels_of(ds):
            if name in joined or name in frames.variables:
                where = "in several leaves of the channels" if name in joined else "in the frames already"
                raise JoinError(f"channel {name!r}", f"is {where}", "rename or drop one before the join")
            joined.update(_joined(ds, name, times, sigma, window, limit))
    if not joined:
        raise JoinError("channels", "hold no channel", "a channel is a variable along time")
    result = frames.assign_coords({name: (window.dims, *rest) for name, rest in joined.items()})
    if frames.attrs.get("kind") in model.KINDS:
        model.validate(result, frames.attrs["kind"])
    return result


@dataclass(frozen=True)
class _Window:
    """Exposures: their middles (ns since 1970), halves (s), and the dims they came along."""

    middle: Ints
    half: Floats
    dims: tuple[str, ...]


@dataclass(frozen=True)
class _Values:
    """What a channel was during each exposure."""

    value: NDArray[Any]
    errors: Floats | None
    n: Ints
    dt: Floats
    mask: Ints


def _window(frames: xr.Dataset) -> _Window:
    for name, remedy in (
        ("time", 'give them: frames.assign_coords(time=("frame", times)), UTC at mid-exposure'),
        ("exposure", 'give it: frames.assign_coords(exposure=("frame", seconds))'),
    ):
        if name not in frames.variables:
            raise JoinError("frames", f"have no {name}", remedy)
    time, exposure = frames["time"], frames["exposure"]
    if time.dtype.kind != "M" or bool(time.isnull().any()):
        raise JoinError("time of the frames", "is not a UTC time stamp for every frame")
    if time.ndim > 1 or not set(exposure.dims) <= set(time.dims):
        raise JoinError("frames", f"have time along {time.dims} and exposure along {exposure.dims}")
    seconds = units.convert(exposure.values.astype(np.float64), exposure.attrs.get("units", "s"), "s")
    if "averaged" in frames.coords:  # a mean of exposures took the time of all of them
        seconds = seconds * frames["averaged"].values
    seconds = np.broadcast_to(seconds, time.shape).ravel()
    if not (np.isfinite(seconds) & (seconds >= 0)).all():
        raise JoinError("exposure of the frames", "is negative or not finite")
    middle = time.values.astype("datetime64[ns]").astype(np.int64).ravel()
    return _Window(middle, seconds / 2, tuple(str(dim) for dim in time.dims))


def _leaves(
    channels: xr.Dataset | xr.DataTree, clock: Clock | Mapping[str, Clock] | None
) -> list[tuple[str, xr.Dataset, Clock]]:
    """Return the Datasets of channels with their names and clocks."""
    if isinstance(channels, xr.Dataset):
        found = [("channels", channels)]
    else:
        found = [(node.path.strip("/") or "channels", node.to_dataset()) for node in channels.leaves]
    if not isinstance(clock, Clock | Mapping | None):
        raise JoinError(f"clock {clock!r}", "is not a clock", 'give beamline.Clock("95.2s")')
    if not isinstance(clock, Mapping):
        return [(name, ds, clock or Clock()) for name, ds in found]
    unknown = set(clock) - {name for name, _ in found}
    if unknown:
        names = ", ".join(name for name, _ in found)
        raise JoinError(
            f"clock of {sorted(unknown)[0]!r}", "belongs to no leaf of the channels", f"leaves: {names}"
        )
    return [(name, ds, clock.get(name, Clock())) for name, ds in found]


def _on_frames_clock(ds: xr.Dataset, leaf: str, clock: Clock) -> tuple[Ints, Floats]:
    """Return the times of the samples on the clock of the frames (ns since 1970), and their errors (s)."""
    if "time" not in ds.coords or ds["time"].dims != ("time",) or ds["time"].dtype.kind != "M":
        raise JoinError(leaf, "have no time", "read them with beamline.read")
    times = ds["time"].values.astype("datetime64[ns]")
    if np.isnat(times).any():
        raise JoinError(f"time of {leaf}", "has gaps (NaT)", "drop these samples")
    steps = np.diff(times.astype(np.int64))
    if (steps < 0).any():
        raise JoinError(
            f"time of {leaf}",
            f"runs backward {int((steps < 0).sum())} times, first after {times[:-1][steps < 0][0]}",
            "was the clock set? split the channels there",
        )
    return clock.to_frame(times).astype(np.int64), clock.sigma(times)


def _channels_of(ds: xr.Dataset) -> list[str]:
    """Return the names of the channels: variables along time that are not errors or masks of others."""
    return sorted(
        str(name)
        for name, array in ds.data_vars.items()
        if array.dims == ("time",) and not str(name).endswith((model.ERRORS, model.MASK))
    )


def _joined(
    ds: xr.Dataset, name: str, times: Ints, sigma: Floats, window: _Window, limit: float
) -> dict[str, tuple[NDArray[Any], dict[str, Any]]]:
    """Join one channel; return its coordinates as values and attributes."""
    array = ds[name]
    values = array.values
    measured = ~np.asarray(array.isnull().values)
    if values.dtype.kind in "fc":
        measured &= np.isfinite(values)
    if f"{name}{model.MASK}" in ds:
        measured &= ds[f"{name}{model.MASK}"].values == 0
    times, sigma, values = times[measured], sigma[measured], values[measured]
    # Differences of integers are exact: seconds from the first sample do not depend on the epoch.
    start = times[0] if times.size else window.middle[:1].sum()
    t, middle = (times - start) / 1e9, (window.middle - start) / 1e9
    label = array.attrs.get("long_name", name)
    if values.dtype.kind == "f":
        own = ds[f"{name}{model.ERRORS}"].values[measured] if f"{name}{model.ERRORS}" in ds else None
        resolution = array.attrs.get("resolution")
        found = _continuous(t, values.astype(np.float64), own, resolution, sigma, middle, window.half, limit)
    else:
        found = _discrete(t, values, middle, window.half, limit)
    of_number = {"units": "", "long_name": label} if found.value.dtype.kind == "f" else {"long_name": label}
    result: dict[str, tuple[NDArray[Any], dict[str, Any]]] = {
        name: (found.value, {**(of_number if name not in model.INDICES else {}), **array.attrs}),
        f"{name}_n": (found.n, {"units": "", "long_name": f"samples of {label} within the exposure"}),
        f"{name}_dt": (found.dt, {"units": "s", "long_name": f"time to the nearest sample of {label}"}),
        f"{name}{model.MASK}": (
            found.mask,
            {
                "flag_masks": np.array(list(FLAGS.values()), dtype=found.mask.dtype),
                "flag_meanings": " ".join(FLAGS),
                "flag_counts": np.array([int(((found.mask & bit) > 0).sum()) for bit in FLAGS.values()]),
                "long_name": f"how {label} was joined",
            },
        ),
    }
    if found.errors is not None:
        result[f"{name}{model.ERRORS}"] = (
            found.errors,
            {"units": array.attrs.get("units", ""), "long_name": f"standard deviation of {label}"},
        )
    if not window.dims:
        result = {key: (data[0], attributes) for key, (data, attributes) in result.items()}
    return result


def _discrete(t: Floats, values: NDArray[Any], middle: Floats, half: Floats, limit: float) -> _Values:
    """Return the last value before the middle of each exposure; NaN, or "" for labels, if there is none."""
    number = values.dtype.kind in "iub"
    values = values.astype(np.float64) if number else values.astype(np.str_)
    missing = np.nan if number else ""
    begin, end = np.searchsorted(t, middle - half, "left"), np.searchsorted(t, middle + half, "right")
    n = (end - begin).astype(np.int64)
    if t.size == 0:
        return _Values(
            np.full(middle.shape, missing),
            None,
            n,
            np.full(middle.shape, np.nan),
            np.full(middle.shape, FLAGS["no_value"]),
        )
    last = np.searchsorted(t, middle, "right") - 1
    at = np.clip(last, 0, None)
    dt = np.where(last >= 0, middle - t[at], np.nan)
    known = (last >= 0) & (dt <= limit)
    changes = np.concatenate([[0], np.cumsum(values[1:] != values[:-1])])
    changed = changes[np.clip(end - 1, 0, None)] > changes[np.clip(begin - 1, 0, None)]
    mask = np.where(known, np.where(n == 0, FLAGS["between_samples"], 0), FLAGS["no_value"])
    mask |= np.where(known & changed, FLAGS["unresolved_change"], 0)
    return _Values(np.where(known, values[at], missing), None, n, dt, mask)


def _continuous(
    t: Floats,
    v: Floats,
    own: Floats | None,
    resolution: float | None,
    sigma: Floats,
    middle: Floats,
    half: Floats,
    limit: float,
) -> _Values:
    """Return the mean over each exposure, with its variance as in the module's docstring.

    The segment between samples i - 1 and i has index i; 0 and N are the outsides, which nothing bridges.
    """
    begin, end = middle - half, middle + half
    first, stop = np.searchsorted(t, begin, "left"), np.searchsorted(t, end, "right")
    n = (stop - first).astype(np.int64)
    if t.size == 0:
        nothing = np.full(middle.shape, np.nan)
        return _Values(nothing, nothing.copy(), n, nothing.copy(), np.full(middle.shape, FLAGS["no_value"]))
    size = t.size
    y = v - v[0]  # a constant channel stays exactly what it is
    h = np.concatenate([[0.0], np.diff(t), [0.0]])
    bridged = h <= 2 * limit
    bridged[[0, -1]] = False
    known = np.where(bridged, h, 0.0)
    if own is None:
        quantum = _quantum(v) if resolution is None else resolution
        noise = _noise(h, y)
    else:
        quantum, noise = 0.0, own
    step = _unresolved(h, y, noise, quantum)

    # Exposures with samples: whole segments from sample i to sample k, and a part of one at either end.
    i, k = np.clip(first, 0, size - 1), np.clip(stop - 1, 0, size - 1)
    before, behind = np.clip(i - 1, 0, None), np.clip(k + 1, None, size - 1)
    xl, xr = np.where(bridged[i], t[i] - begin, 0.0), np.where(bridged[k + 1], end - t[k], 0.0)
    fl, fr = _ratio(xl, h[i]), _ratio(xr, h[k + 1])
    covered = _sum(known[1:-1])[k] - _sum(known[1:-1])[i] + xl + xr
    area = _sum(known[1:-1] * (y[1:] + y[:-1]) / 2)
    integral = (
        area[k] - area[i] + xl * (y[i] * (1 - fl / 2) + y[before] * fl / 2)
        + xr * (y[k] * (1 - fr / 2) + y[behind] * fr / 2)
    )  # fmt: skip
    plain = _ratio(_sum(y)[stop] - _sum(y)[first], n.astype(np.float64))
    mean = np.where(covered > 0, _ratio(integral, covered), plain)
    several = k > i
    weight_i = xl * (1 - fl / 2) + np.where(several, known[i + 1] / 2, xr * (1 - fr / 2))
    weight_k = np.where(several, known[k] / 2 + xr * (1 - fr / 2), 0.0)
    inner = _sum(((known[:-1] + known[1:]) / 2 * noise) ** 2)
    scatter = (
        np.where(several, inner[k] - inner[np.minimum(i + 1, size)], 0.0)
        + (weight_i * noise[i]) ** 2 + (weight_k * noise[k]) ** 2
        + (xl * fl / 2 * noise[before]) ** 2 + (xr * fr / 2 * noise[behind]) ** 2
    )  # fmt: skip
    squares = _sum(noise**2)
    mean_noise = _ratio(squares[stop] - squares[first], n.astype(np.float64) ** 2)
    steps = _sum((known[1:-1] * step[1:-1]) ** 2)
    jumps = steps[k] - steps[i] + (xl * step[i]) ** 2 + (xr * step[k + 1]) ** 2
    slope = _ratio(y[behind] - y[before], t[behind] - t[before])
    missing = 2 * half - covered
    partly = missing > 1e-6 * half
    variance = np.where(covered > 0, _ratio(scatter + jumps / 6, covered**2), mean_noise)
    variance += np.where(partly, (slope * missing / 2) ** 2, 0.0)
    several_steps = _sum((step[1:-1] > 0).astype(np.float64))
    touched = (several_steps[k] > several_steps[i]) | (xl * step[i] > 0) | (xr * step[k + 1] > 0)

    # Exposures between two samples.
    left, right = np.clip(first - 1, 0, size - 1), np.clip(first, 0, size - 1)
    inside = (first > 0) & (first < size) & (middle - t[left] <= limit) & (t[right] - middle <= limit)
    p = _ratio(middle - t[left], t[right] - t[left])
    between = y[left] + p * (y[right] - y[left])
    between_variance = ((1 - p) * noise[left]) ** 2 + (p * noise[right]) ** 2 + step[right] ** 2 / 6

    measured = n > 0
    value = np.where(measured, mean, np.where(inside, between, np.nan)) + v[0]
    near = np.clip(np.searchsorted(t, middle), 1, size - 1) if size > 1 else np.zeros(middle.shape, np.int64)
    dt = np.minimum(np.abs(middle - t[near]), np.abs(middle - t[np.clip(near - 1, 0, None)]))
    shift = _shifted(t, y, middle, half, sigma[near])
    total = np.where(measured, variance, between_variance) + quantum**2 / 12 + shift**2
    errors = np.maximum(np.sqrt(total), np.spacing(np.abs(value)))
    mask = np.where(measured, 0, np.where(inside, FLAGS["between_samples"], FLAGS["no_value"]))
    mask |= np.where(measured & partly, FLAGS["partly_covered"], 0)
    mask |= np.where(np.where(measured, touched, inside & (step[right] > 0)), FLAGS["unresolved_change"], 0)
    return _Values(value, np.where(np.isnan(value), np.nan, errors), n, dt, mask)


def _shifted(t: Floats, y: Floats, middle: Floats, half: Floats, sigma: Floats) -> Floats:
    """Return by how much the mean changes when the clock is one standard deviation off.

    Half the difference of shifts to either side; at the ends of the channel, of the side that lies within.
    """
    if t.size < 2 or not (sigma > 0).any():
        return np.zeros(middle.shape)
    area = _sum(np.diff(t) * (y[1:] + y[:-1]) / 2)

    def integral(x: Floats) -> Floats:
        j = np.clip(np.searchsorted(t, x, "right") - 1, 0, t.size - 2)
        u = x - t[j]
        return area[j] + u * (y[j] + _ratio(u, t[j + 1] - t[j]) * (y[j + 1] - y[j]) / 2)

    def mean(x: Floats) -> Floats:
        over = _ratio(integral(x + half) - integral(x - half), 2 * half)
        return np.where(half > 0, over, np.interp(x, t, y))

    up, down = mean(middle + sigma) - mean(middle), mean(middle) - mean(middle - sigma)
    room_up, room_down = middle + half + sigma <= t[-1], middle - half - sigma >= t[0]
    one_sided = np.where(room_up, up, np.where(room_down, down, np.maximum(np.abs(up), np.abs(down))))
    return np.where(room_up & room_down, (up + down) / 2, one_sided)


def _noise(h: Floats, y: Floats) -> Floats:
    """Return the standard deviation of the noise at each sample; 0 where three samples cannot be compared."""
    from scipy.ndimage import median_filter

    if y.size < 3:
        return np.zeros(y.shape)
    p = np.where(h[1:-2] + h[2:-1] > 0, _ratio(h[1:-2], h[1:-2] + h[2:-1]), 0.5)
    line = y[:-2] * (1 - p) + y[2:] * p
    off = np.abs(y[1:-1] - line) / np.sqrt(1 + p**2 + (1 - p) ** 2)
    typical = _MAD * np.asarray(median_filter(off, size=min(_MEDIAN, off.size), mode="reflect"))
    return np.concatenate([typical[:1], typical, typical[-1:]])


def _unresolved(h: Floats, y: Floats, noise: Floats, quantum: float) -> Floats:
    """Return, for each segment, the change that neither slope beside it nor the noise explains."""
    step = np.zeros(h.shape)
    if y.size < 3:
        return step
    width, change = h[1:-1], np.diff(y)
    # Slopes and widths of the segments before and behind; at the ends there is only one.
    slope = _ratio(change, width)
    other = [np.concatenate([s[1:2], s[:-1]]) for s in (slope, width)]
    others = [np.concatenate([s[1:], s[-2:-1]]) for s in (slope, width)]
    expected = width * np.stack([other[0], others[0]])
    excess = np.maximum(np.maximum(change - expected.max(axis=0), expected.min(axis=0) - change), 0.0)
    nearest = np.minimum(other[1], others[1])
    stretch = np.where(nearest > 0, _ratio(width, nearest), np.inf)
    sigma = np.maximum(noise[1:], noise[:-1])
    with np.errstate(invalid="ignore"):  # no noise times an infinite stretch: no statement, hence no step
        threshold = _STEP * sigma * np.sqrt((1 + stretch) ** 2 + 1 + stretch**2) + 2 * quantum * (1 + stretch)
    step[1:-1] = np.where(excess > threshold, excess, 0.0)
    return step


def _quantum(v: Floats) -> float:
    """Return the resolution of a channel that does not state it: the smallest step, if values recur."""
    different = np.unique(v)
    return float(np.diff(different).min()) if 1 < different.size <= v.size / 2 else 0.0


def _sum(x: Floats) -> Floats:
    """Return cumulative sums that begin with 0."""
    return np.concatenate([[0.0], np.cumsum(x)])


def _ratio(x: Floats, y: Floats) -> Floats:
    """Return x / y, and 0 where y is 0."""
    return np.divide(x, y, out=np.zeros(np.broadcast(x, y).shape), where=np.asarray(y) != 0)
