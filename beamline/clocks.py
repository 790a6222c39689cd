r"""Two clocks, and what brings one onto the other.

The clock of a cycler, a furnace or a gas analyser differs from that of the frames by an offset and, over
days, by a drift:

.. math:: t_\mathrm{frame} = t + o + d\,(t - t_0)

with the channel's time :math:`t`, offset :math:`o`, drift :math:`d` (s/s) and the moment :math:`t_0` at which
the offset was determined. Its standard deviation is
:math:`\sigma^2(t) = \sigma_o^2 + \sigma_d^2 (t - t_0)^2`; a fit chooses :math:`t_0` so that offset and drift
are uncorrelated.

Where both clocks recorded the same quantity (the potentiostat's voltage in its own file and in the gas
analyser's), `fit_clock` finds them. The residuals :math:`r_i = a_i - b(t_i)`, b interpolated linearly at the
times of the samples of a, are brought to zero along the direction of a shift:
:math:`\sum_i s_i r_i = 0`, with the slope :math:`s` of b taken over several samples, so that noise neither
attracts the solution to the middle between two samples nor sharpens it. With :math:`A = \sum_i s_i s'_i`
(:math:`s'` the slope of a: noise in the two is independent) and the sum B of the autocovariances of
:math:`s_i r_i` up to a lag L, weighted as by Newey and West, Econometrica 55 (1987) 703, the variance of the
offset is :math:`B / A^2` (White, Econometrica 48 (1980) 817); for two parameters the same with matrices.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from beamline import units
from beamline.errors import ConfigError, FitError, JoinError

Floats = NDArray[np.float64]
Times = NDArray[np.datetime64]

_SLOPE_SPAN = 9  # samples a slope is taken over
_MOST_CANDIDATES = 20_000
_FEWEST = 20
_MOST_ITERATIONS = 50
_CENTURY = 3e9  # s


@dataclass(frozen=True, init=False)
class Clock:
    """Offset and drift of a channel's clock: frame time = time + offset + drift * (time - reference).

    Parameters
    ----------
    offset
        Frame time minus channel time at `reference`: "95.2s", "1 h" or a number of s.
    drift
        Rate by which the channel's clock is slow, s/s.
    offset_error
        Standard deviation of the offset, as `offset`.
    drift_error
        Standard deviation of the drift, s/s.
    reference
        Channel time (UTC, ISO 8601) at which `offset` holds; needed where there is a drift.

    Raises
    ------
    ConfigError
        A number is not finite, an error is negative, or a drift has no reference.
    """

    offset: float
    drift: float
    offset_error: float
    drift_error: float
    reference: str | None

    def __init__(
        self,
        offset: str | float = 0.0,
        drift: float = 0.0,
        offset_error: str | float = 0.0,
        drift_error: float = 0.0,
        reference: str | np.datetime64 | None = None,
    ) -> None:
        numbers = {
            "offset": units.magnitude(offset, "s"),
            "drift": float(drift),
            "offset_error": units.magnitude(offset_error, "s"),
            "drift_error": float(drift_error),
        }
        for name, value in numbers.items():
            if not np.isfinite(value) or abs(value) > _CENTURY:
                raise ConfigError(f"{name} of the clock", f"is {value}, which no clock has")
            if value < 0 and name.endswith("_error"):
                raise ConfigError(f"{name} of the clock", "is negative", "give one standard deviation")
            object.__setattr__(self, name, value)
        if self.drift <= -1:
            raise ConfigError(
                "drift of the clock", f"is {self.drift} s/s: time would stand still or run backward"
            )
        if reference is None and (self.drift or self.drift_error):
            raise ConfigError(
                "clock",
                "has a drift and no reference",
                'say when its offset holds: reference="2022-04-06T16:00:00Z"',
            )
        object.__setattr__(self, "reference", None if reference is None else f"{_moment(reference)}Z")

    def to_frame(self, time: ArrayLike) -> Times:
        """Return channel times (datetime64) on the clock of the frames."""
        times = np.asarray(time, "datetime64[ns]")
        shift = self.offset + self.drift * self._since(times)
        return np.asarray(times + np.round(shift * 1e9).astype("timedelta64[ns]"))

    def to_channel(self, time: ArrayLike) -> Times:
        """Return frame times (datetime64) on the clock of the channel: the inverse of `to_frame`."""
        times = np.asarray(time, "datetime64[ns]")
        shift = (self.offset + self.drift * self._since(times)) / (1.0 + self.drift)
        return np.asarray(times - np.round(shift * 1e9).astype("timedelta64[ns]"))

    def sigma(self, time: ArrayLike) -> Floats:
        """Return the standard deviation of `to_frame` at channel times, in s."""
        since = self._since(np.asarray(time, "datetime64[ns]"))
        return np.hypot(self.offset_error, self.drift_error * since)

    def to_record(self) -> dict[str, Any]:
        """Return the clock as plain JSON."""
        return {
            "offset": self.offset,
            "drift": self.drift,
            "offset_error": self.offset_error,
            "drift_error": self.drift_error,
            "reference": self.reference,
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Clock:
        """Make the clock again from what `to_record` gave."""
        return cls(**{key: value for key, value in record.items() if key != "record"})

    def _since(self, times: Times) -> Floats:
        """Return the seconds since the reference; 0 where there is none, and so no drift."""
        if self.reference is None:
            return np.zeros(times.shape)
        return np.asarray((times - _moment(self.reference)) / np.timedelta64(1, "s"), dtype=np.float64)


def fit_clock(
    a: xr.Dataset,
    b: xr.Dataset,
    variable: str = "voltage",
    around: str | float = 0.0,
    search: str | float = "60s",
    drift: bool = False,
) -> Clock:
    """Find the clock of `b` from a channel that `a`, on the clock of the frames, has too.

    Parameters
    ----------
    a
        Channels (dim time) on the clock of the frames.
    b
        Channels whose clock is wanted.
    variable
        Name of the common channel, in the same units in both.
    around
        Offset (frame time minus time of `b`) around which is searched, "95.2s" or a number of s.
    search
        Half width of the search.
    drift
        Fit a drift as well.

    Returns
    -------
    Clock
        With `around` the fit: ``clock.to_frame(b.time)`` is on the clock of `a`.

    Raises
    ------
    JoinError
        A Dataset has no such channel, fewer than 20 samples, or time that does not increase.
    FitError
        The two do not overlap, do not agree anywhere, agree equally well at several offsets, or best at the
        edge of the search.
    """
    pair = _pair(a, b, variable)
    centre, width = units.magnitude(around, "s"), units.magnitude(search, "s")
    guess = _best_offset(pair, variable, centre - pair.apart, width)
    parameters = np.array([guess, 0.0] if drift else [guess])
    used = _overlap(pair, parameters, margin=2 * pair.spacing)
    for _ in range(_MOST_ITERATIONS):
        residual, slope, own = _linearised(pair, parameters, used)
        change = -np.linalg.solve(slope.T @ own, slope.T @ residual)
        parameters = parameters + change
        if abs(change[0]) + np.abs(change[1:]).sum() * pair.duration < 1e-7:
            break
    else:
        raise FitError(variable, "gives no stable offset", "take a stretch in which it changes more")
    if abs(parameters[0] - guess) > max(0.25 * width, 2 * pair.spacing):
        raise FitError(variable, f"leads away from its best offset ({guess + pair.apart:.3f} s)")
    covariance = _covariance(*_linearised(pair, parameters, used))
    offset = parameters[0] + pair.apart
    if not drift:
        return Clock(offset=float(offset), offset_error=float(np.sqrt(covariance[0, 0])))
    # The fit gives the offset at the middle of b; `pivot` s from there it is uncorrelated with the drift.
    pivot = -covariance[0, 1] / covariance[1, 1]
    reference = pair.origin + np.timedelta64(round((pair.middle + pivot) * 1e9), "ns")
    return Clock(
        offset=float(offset + parameters[1] * pivot),
        drift=float(parameters[1]),
        offset_error=float(np.sqrt(covariance[0, 0] + pivot * covariance[0, 1])),
        drift_error=float(np.sqrt(covariance[1, 1])),
        reference=reference,
    )


@dataclass(frozen=True)
class _Pair:
    """A channel on two clocks, in s since the first sample of each.

    `apart` is the first time of a minus that of b; the residuals are taken at the samples of the sparser one,
    `sparse_is_b` says which that is. `middle` is the middle of b, `origin` its first time.
    """

    ta: Floats
    a: Floats
    slope_a: Floats
    tb: Floats
    b: Floats
    slope_b: Floats
    apart: float
    sparse_is_b: bool
    spacing: float
    duration: float
    middle: float
    origin: np.datetime64


def _pair(a: xr.Dataset, b: xr.Dataset, variable: str) -> _Pair:
    (ta, va, a0), (tb, vb, b0) = _samples(a, variable, "a"), _samples(b, variable, "b")
    if a[variable].attrs.get("units") != b[variable].attrs.get("units"):
        raise JoinError(variable, "has different units in the two", "convert one with beamline.units.to")
    spacing_a, spacing_b = float(np.median(np.diff(ta))), float(np.median(np.diff(tb)))
    sparse_is_b = spacing_b > spacing_a
    fine, coarse = sorted((spacing_a, spacing_b))
    # Both slopes are taken over the same time, so that both are blunted alike.
    span = max(_SLOPE_SPAN * fine, 3 * coarse)
    return _Pair(
        ta=ta,
        a=va,
        slope_a=_slopes(ta, va, span / spacing_a),
        tb=tb,
        b=vb,
        slope_b=_slopes(tb, vb, span / spacing_b),
        apart=float((a0 - b0) / np.timedelta64(1, "s")),
        sparse_is_b=sparse_is_b,
        spacing=fine,
        duration=float(tb[-1]),
        middle=float(tb[-1] / 2),
        origin=b0,
    )


def _samples(ds: xr.Dataset, variable: str, which: str) -> tuple[Floats, Floats, np.datetime64]:
    """Return times (s since the first), values and the first time of the samples that have a value."""
    if variable not in ds or ds[variable].dims != ("time",):
        raise JoinError(
            f"channel {variable!r} of {which}", "is missing", f"channels: {', '.join(map(str, ds))}"
        )
    values = ds[variable].values.astype(np.float64)
    times = ds["time"].values.astype("datetime64[ns]")
    finite = np.isfinite(values)
    if finite.sum() < _FEWEST:
        raise JoinError(f"channel {variable!r} of {which}", f"has fewer than {_FEWEST} samples")
    times, values = times[finite], values[finite]
    seconds = (times - times[0]) / np.timedelta64(1, "s")
    if (np.diff(seconds) <= 0).any():
        raise JoinError(f"time of {which}", "does not strictly increase", "repair it before the fit")
    return seconds, values, times[0]


def _slopes(t: Floats, v: Floats, samples: float) -> Floats:
    """Return dv/dt by straight lines through about `samples` samples each."""
    from scipy.ndimage import uniform_filter1d

    size = min(max(3, round(samples) | 1), t.size)
    v = v - v.mean()

    def mean(x: Floats) -> Floats:
        return np.asarray(uniform_filter1d(x, size, mode="nearest"))

    spread = mean(t * t) - mean(t) ** 2
    slope = (mean(t * v) - mean(t) * mean(v)) / np.where(spread > 0, spread, np.inf)
    half = size // 2  # at the ends the filter would repeat the last sample
    slope[:half], slope[-half:] = slope[half], slope[-half - 1]
    return np.asarray(slope)


def _query(pair: _Pair, parameters: Floats) -> tuple[Floats, Floats, Floats]:
    """Return where the samples of the sparser series lie in the other, and by which derivatives."""
    offset, drift = parameters[0], parameters[1] if parameters.size > 1 else 0.0
    if pair.sparse_is_b:
        since = pair.tb - pair.middle
        return pair.tb + offset + drift * since, -np.ones_like(since), -since
    since = (pair.ta - pair.middle - offset) / (1.0 + drift)
    return pair.middle + since, np.full_like(since, 1 / (1 + drift)), since / (1.0 + drift)


def _overlap(pair: _Pair, parameters: Floats, margin: float) -> NDArray[np.bool_]:
    """Tell which samples of the sparser series lie within the other, outside its gaps."""
    t = pair.ta if pair.sparse_is_b else pair.tb
    at, _, _ = _query(pair, parameters)
    right = np.clip(np.searchsorted(t, at), 1, t.size - 1)
    dense = np.diff(t)[right - 1] <= 10 * pair.spacing
    return np.asarray((at >= t[0] + margin) & (at <= t[-1] - margin) & dense)


def _residual(pair: _Pair, at: Floats) -> Floats:
    if pair.sparse_is_b:
        return pair.b - np.interp(at, pair.ta, pair.a)
    return pair.a - np.interp(at, pair.tb, pair.b)


def _linearised(pair: _Pair, parameters: Floats, used: NDArray[np.bool_]) -> tuple[Floats, Floats, Floats]:
    """Return residuals and their derivatives by the slope of the one and of the other series."""
    at, *by_parameter = _query(pair, parameters)
    directions = np.stack(by_parameter[: parameters.size], axis=1)[used]
    other = np.interp(at, pair.ta, pair.slope_a) if pair.sparse_is_b else np.interp(at, pair.tb, pair.slope_b)
    own = pair.slope_b if pair.sparse_is_b else pair.slope_a
    return _residual(pair, at)[used], other[used, None] * directions, own[used, None] * directions


def _covariance(residual: Floats, slope: Floats, own: Floats) -> Floats:
    """Return the covariance of the parameters, residuals being correlated with their neighbours."""
    n, size = slope.shape
    scores = slope * residual[:, None]
    lags = int(np.ceil(4 * (n / 100) ** (2 / 9))) + 1
    spread = scores.T @ scores
    for lag in range(1, min(lags, n - 1) + 1):
        shifted = scores[lag:].T @ scores[:-lag]
        spread = spread + (1 - lag / (lags + 1)) * (shifted + shifted.T)
    inverse = np.linalg.inv(slope.T @ own)
    return np.asarray(inverse @ spread @ inverse.T * n / (n - size))


def _best_offset(pair: _Pair, variable: str, centre: float, width: float) -> float:
    """Return the offset with the least mean square residual on a grid, if it stands out."""
    if not width > 0:
        raise ConfigError("search", "is not positive")
    step = max(pair.spacing / 2, 2 * width / _MOST_CANDIDATES)
    count = max(int(np.ceil(width / step)), 2)
    offsets = centre + step * np.arange(-count, count + 1)
    total = pair.tb.size if pair.sparse_is_b else pair.ta.size
    thin = slice(None, None, max(1, total // 2000))
    costs = np.full(offsets.size, np.inf)
    counts = np.zeros(offsets.size, dtype=int)
    powers = np.zeros(offsets.size)
    values = (pair.b if pair.sparse_is_b else pair.a)[thin]
    for i, offset in enumerate(offsets):
        parameters = np.array([offset])
        inside = _overlap(pair, parameters, margin=0.0)[thin]
        counts[i] = inside.sum()
        if counts[i] >= _FEWEST:
            at, _, _ = _query(pair, parameters)
            costs[i] = np.mean(_residual(pair, at)[thin][inside] ** 2)
            powers[i] = np.var(values[inside])
    costs[counts < counts.max() / 2] = np.inf
    best = int(np.argmin(costs))
    if not np.isfinite(costs[best]):
        raise FitError(variable, "does not overlap in the two", "give `around`, or check the time zones")
    if costs[best] > 0.5 * powers[best]:
        raise FitError(variable, "agrees nowhere in the two", "give `around`, or take another channel")
    if best in (0, offsets.size - 1):
        raise FitError(variable, "agrees best at the edge of the search", "give a larger `search`")
    noise = np.sqrt(2 / counts[best])
    good = np.flatnonzero(costs <= costs[best] * (1 + 4 * noise) + 1e-6 * powers[best])
    for other in good:
        low, high = sorted((best, int(other)))
        if costs[low : high + 1].max() > costs[best] * (1 + 8 * noise) + 0.01 * powers[best]:
            raise FitError(
                variable,
                f"agrees at {offsets[best] + pair.apart:.3f} s as at {offsets[other] + pair.apart:.3f} s",
                "give `around` and a smaller `search`",
            )
    return float(offsets[best])


def _moment(text: str | np.datetime64) -> np.datetime64:
    """Return a moment in UTC."""
    if isinstance(text, np.datetime64):
        moment_ns: np.datetime64 = text.astype("datetime64[ns]")
        return moment_ns
    try:
        if text.endswith("Z"):  # as we write it, with nanoseconds, which datetime does not know
            return np.datetime64(text.removesuffix("Z"), "ns")
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(
            f"reference {text!r}", "is not a time", 'write it as "2022-04-06T16:00:00Z"'
        ) from error
    if moment.tzinfo is None:
        raise ConfigError(
            f"reference {text!r}", "does not state its time zone", 'end it with "Z" or "+02:00"'
        )
    return np.datetime64(moment.astimezone(UTC).replace(tzinfo=None), "ns")
