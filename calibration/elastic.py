"""Elastic lines: where they are in the spectra of a scan, before anything is known of the energy axis.

The elastic line has the energy of the excitation, so it is the one line that walks along the detector as the
excitation is scanned; fluorescence stays. Below the edge it is alone: it is found there as the straight path
through the peaks that the most spectra agree on. From there it is followed to higher energies.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from beamline.errors import CalibrationError

Array = np.ndarray[Any, np.dtype[np.float64]]
Indices = np.ndarray[Any, np.dtype[np.intp]]
Line = tuple[int, float, float, float]
"""Spectrum, position, its error and standard deviation of the line (px)."""

DISPERSION = (0.002, 1.0)
"""Dispersions (eV/px) of soft X-ray spectrographs, coarsest limits."""

PATH = 1.5
"""A peak this close (px) to a path lies on it."""

HEIGHT = 6.0
"""A peak is higher than so many standard deviations of its spectrum's noise."""

AGREES = 3.0
"""A line is on the path when it is off by no more than so many of its standard deviations."""

KNOWN = 0.05
"""What the position of a line (px) is not known better than, whatever its photons say."""

EDGE = 1.5
"""The emission of a scan that crosses an edge rises by this factor; one that rises less lies on one side."""

RISE = 0.08
"""Below the edge is where the emission has less than this part of its rise."""

BELOW = 3
"""Spectra below the edge that an axis needs."""

SHARE = 0.5
"""Below the edge the elastic line is on the path in more than this part of the spectra."""

WIDTHS = (2.0, 5.0)
"""Standard deviations (px) of the filters that find lines; that with the best positions is taken."""

REMEDY = "give emission=, the axis of a scan that begins well below its edge"


def find(pixel: Array, energy: Array, intensity: Array, errors: Array | None) -> tuple[Indices, list[Line]]:
    """Find the elastic lines of a scan.

    Parameters
    ----------
    pixel, energy
        Pixel coordinates (pixel) and excitation energies (frame), eV.
    intensity, errors
        Spectra (frame, pixel) and their standard deviations.

    Returns
    -------
    tuple
        The spectra below the edge in order of energy, and the lines: first those below the edge, then those
        followed above it, or where they lead.

    Raises
    ------
    CalibrationError
        Fewer than three spectra lie below the edge, or fewer than three of them or half of them have an
        elastic line on one path.
    """
    order = np.argsort(energy, kind="stable")
    below = _below_edge(order, intensity)
    found, refused = [], []
    for width in WIDTHS:
        try:
            found.append((_find(pixel, energy, intensity, errors, below, width), width))
        except CalibrationError as error:
            refused.append(error)
    if not found:
        raise refused[0]

    def worth(each: tuple[list[Line], float]) -> tuple[int, float]:
        return len(each[0]), -float(np.median([line[2] for line in each[0]]))

    lines, width = max(found, key=worth)
    return below, _followed(pixel, energy, intensity, errors, order, below, lines, width)


def _find(
    pixel: Array, energy: Array, intensity: Array, errors: Array | None,  below: Indices,
    width: float,
) -> list[Line]:  # fmt: skip
    """Return the lines below the edge, found with a filter of this width (px)."""
    peaks = [_peaks(pixel, intensity[i], width) for i in below]
    path = PATH * width / WIDTHS[0]
    start, slope = _path(energy[below], peaks, path)
    middle = energy[below].mean()
    found = [
        _line(pixel, intensity, errors, near, int(i), start + slope * (energy[i] - middle), path, width)
        for i, near in zip(below, peaks, strict=True)
    ]
    lines = _agreeing([item for item in found if item is not None], energy)
    if len(lines) <= SHARE * below.size:
        raise CalibrationError(
            "emission axis",
            f"only {len(lines)} of {below.size} spectra below the edge have an elastic line on one path",
            f"is the scan above its edge? {REMEDY}",
        )
    return lines


def _followed(
    pixel: Array, energy: Array, intensity: Array, errors: Array | None, order: Indices, below: Indices,
    lines: list[Line], width: float,
) -> list[Line]:  # fmt: skip
    """Return the lines below the edge, and those of all spectra above it in order of energy."""
    known = list(lines)
    path = PATH * width / WIDTHS[0]
    for i in order[np.isin(order, below, invert=True)]:
        place, error = _lead(known, energy, float(energy[i]))
        # A line too weak to be a peak of its own is still where the others lead.
        peaks = _peaks(pixel, intensity[i], width)
        item = _line(pixel, intensity, errors, peaks, int(i), place, path + 2 * error, width)
        known.append(item or (int(i), place, float(np.hypot(path, error)), lines[0][3]))
    return known


def _line(
    pixel: Array, intensity: Array, errors: Array | None, peaks: list[float], i: int, expected: float,
    within: float, width: float,
) -> Line | None:  # fmt: skip
    """Return the line of spectrum `i` at that of its peaks which is near `expected` (px)."""
    near = [p for p in peaks if abs(p - expected) < within]
    if not near:
        return None
    nearest = min(near, key=lambda p: abs(p - expected))
    fit = _fit_line(pixel, intensity[i], None if errors is None else errors[i], nearest, width)
    return None if fit is None else (i, *fit)


def _lead(lines: list[Line], energy: Array, at: float) -> tuple[float, float]:
    """Return where (px) lines lead at an energy, and the standard deviation of that."""
    x = np.array([energy[i] for i, *_ in lines])
    position, error = np.array([item[1:3] for item in lines]).T
    weight = 1 / np.hypot(error, KNOWN)
    design = np.column_stack([np.ones_like(x), x - at]) * weight[:, None]
    solution, *_ = np.linalg.lstsq(design, position * weight, rcond=None)
    return float(solution[0]), float(np.sqrt(np.linalg.inv(design.T @ design)[0, 0]))


def noise_of(spectrum: Array) -> float:
    """Return the standard deviation of neighbouring pixels of a spectrum, where no error is stated."""
    step = np.diff(spectrum[np.isfinite(spectrum)])
    return max(1.4826 * float(np.median(np.abs(step))) / float(np.sqrt(2)), 1e-12)


def _peaks(pixel: Array, spectrum: Array, width: float) -> list[float]:
    """Return the positions of the lines in a spectrum, the highest eight."""
    from scipy.ndimage import gaussian_filter1d

    filled = np.nan_to_num(spectrum, nan=float(np.nanmedian(spectrum)))
    line = gaussian_filter1d(filled, width) - gaussian_filter1d(filled, 4 * width)
    noise = 1.4826 * float(np.median(np.abs(line - np.median(line))))
    top = (line[1:-1] >= line[:-2]) & (line[1:-1] > line[2:]) & (line[1:-1] > HEIGHT * noise)
    found = np.flatnonzero(top) + 1
    return [float(pixel[i]) for i in sorted(found, key=lambda i: -line[i])[:8]]


def _path(energy: Array, peaks: list[list[float]], within: float) -> tuple[float, float]:
    """Return the straight path (px at the mean energy, px/eV) that passes peaks of the most spectra."""
    frame = np.array([i for i, row in enumerate(peaks) for _ in row], dtype=np.intp)
    position = np.array([p for row in peaks for p in row])
    x = energy[frame] - energy.mean() if frame.size else np.array([])
    first, second = np.triu_indices(frame.size, 1)
    step = x[second] - x[first]
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = (position[second] - position[first]) / step
        # Peaks closer than two paths say too little about a slope.
        possible = (np.abs(1 / slope) > DISPERSION[0]) & (np.abs(1 / slope) < DISPERSION[1])
    possible &= np.abs(position[second] - position[first]) >= 2 * within
    slopes = slope[possible]
    starts = position[first][possible] - slopes * x[first][possible]
    best = (0, 0.0, 0.0, 0.0)
    for a, b in zip(starts, slopes, strict=True):
        miss = np.abs(position - a - b * x)
        on_path = miss < within
        votes = len(set(frame[on_path].tolist()))
        if (votes, -float(miss[on_path].sum())) > (best[0], best[1]):
            best = (votes, -float(miss[on_path].sum()), a, b)
    if best[0] < 3:
        raise CalibrationError(
            "emission axis",
            "no elastic line: no three spectra have peaks that walk with the excitation energy",
            REMEDY,
        )
    return best[2], best[3]


def _fit_line(
    pixel: Array, spectrum: Array, errors: Array | None, start: float, width: float
) -> tuple[float, float, float] | None:
    """Return position, error and standard deviation (px) of the line near `start`, or None."""
    window = (np.abs(pixel - start) <= 3 * width) & np.isfinite(spectrum)
    x, y = pixel[window] - start, spectrum[window]
    if x.size < 6 or np.ptp(y) == 0:
        return None
    # A fit weighted with the counting error of each pixel would be drawn to pixels that fluctuated low.
    noise = 1.0 if errors is None else float(np.sqrt(np.mean(errors[window] ** 2)))
    at: Array = np.array([float(np.ptp(y)), float(y.min()), 0.0, width])
    damping, misfit = 1e-3, np.inf
    for _ in range(40):
        height, base, centre, sigma = at
        z = (x - centre) / sigma
        line = np.exp(-0.5 * z**2)
        rest = y - height * line - base
        now = float(rest @ rest)
        if now <= misfit:
            done = misfit - now < 1e-6 * now
            slopes = np.array(
                [line, np.ones_like(x), height * line * z / sigma, height * line * z**2 / sigma]
            )
            best, normal, gradient = at, slopes @ slopes.T, slopes @ rest
            misfit, damping = now, damping / 5
            if done:
                break
        else:
            damping *= 10
            if damping > 1e6:
                break
        try:
            step = np.linalg.solve(normal + damping * np.diag(np.diag(normal) + 1e-300), gradient)
        except np.linalg.LinAlgError:
            return None
        at = best + step
        at[2] = np.clip(at[2], -2 * width, 2 * width)
        at[3] = np.clip(at[3], 0.2 * width, 4 * width)
    height, _, centre, sigma = map(float, best)
    if height <= 0 or abs(centre) >= 2 * width:
        return None
    scale = noise**2 if errors is not None else misfit / (x.size - 4)
    variance = float(np.linalg.pinv(normal)[2, 2]) * scale
    error = float(np.sqrt(max(variance, 0.0)))
    return (start + centre, error, sigma) if 0 < error < width / 2 else None


def _agreeing(lines: list[Line], energies: Array) -> list[Line]:
    """Drop lines off the straight line through the others by more than `AGREES` of their errors."""
    while len(lines) > 3:
        energy = np.array([energies[i] for i, *_ in lines])
        position, error = np.array([item[1:3] for item in lines]).T
        slope, start = np.polyfit(energy - energy.mean(), position, 1, w=1 / error)
        miss = np.abs(position - start - slope * (energy - energy.mean()))
        pull = miss / np.hypot(error, KNOWN)
        if pull.max() <= AGREES:
            break
        lines = [item for i, item in enumerate(lines) if i != int(pull.argmax())]
    if len(lines) < 3:
        raise CalibrationError(
            "emission axis",
            f"{len(lines)} elastic lines are too few",
            REMEDY,
        )
    return lines


def _below_edge(order: Indices, intensity: Array) -> Indices:
    """Return the spectra below the edge in order of energy: before the emission has risen by `RISE`.

    Emission is what stands above the median of a spectrum: a pedestal, such as the one clipping leaves, does
    not count. Where it does not rise there is no edge, and all spectra are on one side of it.
    """
    total = np.array([np.nansum(row - np.nanmedian(row)) for row in intensity])[order]
    top = int(np.argmax(total))
    lowest = float(total[: top + 1].min())
    if total[top] < EDGE * lowest:
        return order
    low = total[: top + 1] < lowest + RISE * (total[top] - lowest)
    count = int(np.flatnonzero(low)[-1]) + 1
    if count < BELOW:
        raise CalibrationError(
            "emission axis",
            f"only {count} spectra lie below the edge, where the elastic line is alone; {BELOW} are needed",
            REMEDY,
        )
    return np.asarray(order[:count])
