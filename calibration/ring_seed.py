r"""First idea of a detector's geometry, from the crests of its rings alone.

1. The normals of concentric rings meet in the centre. Centres proposed by random pairs of crests are judged
   by how many normals pass close by (M. A. Fischler, R. C. Bolles, Commun. ACM 24 (1981) 381).
2. Every crest must be normal to the gradient of 2θ. To first order in the tilt τ the rings are conics with a
   common focus, :math:`1/ρ \propto \cot 2θ - \tan τ \cos φ`, so directions give the centre and
   :math:`\tan τ / L`, but hardly the distance :math:`L` itself: the fit is made for a ladder of distances.
3. With it every crest has a radius :math:`ρ = L \tan 2θ` that no longer depends on the azimuth. The radii at
   which crests gather are the rings; the distance is the one at which they and the calibrant's rings find
   each other, in both directions and beyond chance.
4. The best of these are refined with the crests themselves, each assigned to the nearest ring, and scored
   again.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from beamline.errors import CalibrationError
from calibration import flat_detector
from calibration.ridges import Ridges

Array = np.ndarray[Any, np.dtype[np.float64]]

LADDER = 1.6
"""Ratio of neighbouring distances at which directions are fitted."""

NEAREST, FARTHEST = 0.35, 60.0
"""Distances tried, in units of half the detector's diagonal."""

STEEPEST = math.radians(35)
"""Largest tilt sought."""

CANDIDATES = 8
"""Indexings that are refined and judged again."""

DISTINCT = 0.02
"""Distances that differ by less than this part are one indexing."""

SCHEDULES = (
    ((3.0, False), (3.0, True), (2.5, True), (2.0, True), (1.5, True), (1.5, True)),
    ((6.0, True), (4.0, True), (2.5, True), (1.5, True)),
)
"""Ways to refine: of each step the reach (px) of a ring, and whether the tilt is free."""

RESOLVED = 3.0
"""Rings closer together than so many pixels are left out of the refinement."""

FEWEST = 3
"""Rings an indexing needs: of two, the ratio of radii fits many pairs."""


class _Grid(NamedTuple):
    """Coarse grid of live pixels: y, x in m, and how many pixels each stands for."""

    y: Array
    x: Array
    weight: float


def find_seeds(
    ridges: Ridges,
    live: np.ndarray[Any, np.dtype[np.bool_]],
    pixel_size: tuple[float, float],
    rings: Array,
    guess: Array | None = None,
) -> list[Array]:
    """Return geometries at distinct distances, the one that explains the crests best first.

    Parameters
    ----------
    ridges
        Crests of the image.
    live
        Pixels (y, x) that measure.
    pixel_size
        Along (y, x), in m.
    rings
        2θ of the calibrant's rings in rad, rising.
    guess
        A geometry to look around first: distances beyond a factor 1.3 of it are not tried.

    Raises
    ------
    CalibrationError
        There are too few crests, or too few rings to tell the distance.
    """
    if ridges.y.size < 60:
        raise CalibrationError(
            "calibration image",
            "shows no rings",
            "is it the image of a calibrant? does the mask leave rings?",
        )
    y, x = ridges.y * pixel_size[0], ridges.x * pixel_size[1]
    # A normal in pixels is not one in metre where pixels are no squares.
    ny, nx = ridges.normal_y / pixel_size[0], ridges.normal_x / pixel_size[1]
    length = np.hypot(ny, nx)
    crests = np.stack([y, x, ny / length, nx / length])
    pixel = math.sqrt(pixel_size[0] * pixel_size[1])
    rows, columns = np.nonzero(live[2::4, 2::4])
    grid = _Grid(
        np.asarray((rows * 4 + 2.5) * pixel_size[0], dtype=np.float64),
        np.asarray((columns * 4 + 2.5) * pixel_size[1], dtype=np.float64),
        16.0,
    )
    half = 0.5 * math.hypot(live.shape[0] * pixel_size[0], live.shape[1] * pixel_size[1])
    angles = rings

    center = _center(crests, guess)
    candidates = []
    ladder = _ladder(half, guess)
    flat = _align(
        crests, flat_detector.from_center(ladder[ladder.size // 2], *center, 0.0, 0.0), tilted=False
    )
    for detector, reach in [
        # Most detectors stand upright, and a tilt that a short arc cannot tell is best left out at first.
        (flat, math.log(ladder[-1] / ladder[0]) / 2 + math.log(LADDER)),
        *(
            (_align(crests, flat_detector.from_center(d, *center, 0.0, 0.0)), 0.6 * math.log(LADDER))
            for d in ladder
        ),
    ]:
        radii = _radii(detector, crests, grid, pixel)
        candidates += _indexings(detector, radii, angles, grid, pixel, reach)
    candidates.sort(key=lambda candidate: -candidate[0])
    judged: list[tuple[float, Array]] = []
    tried: list[float] = []
    for _, first in candidates:
        if len(tried) == CANDIDATES:
            break
        if any(abs(math.log(first[0] / other)) < DISTINCT for other in tried):
            continue
        tried.append(float(first[0]))
        for schedule in SCHEDULES:
            refined = _refine(crests, first, angles, pixel, schedule)
            if refined is not None:
                radii = _radii(refined, crests, grid, pixel)
                judged.append((_score(radii, _expected(refined, angles, grid, pixel), 1.0), refined))
    judged.sort(key=lambda item: -item[0])
    if not judged:
        raise CalibrationError(
            "calibration image",
            f"shows fewer than {FEWEST} rings that fit the calibrant at any distance",
            "check calibrant, wavelength and pixel size; bring more rings onto the detector",
        )
    seeds: list[Array] = []
    for _, found in judged:
        if all(abs(math.log(found[0] / other[0])) > DISTINCT for other in seeds):
            seeds.append(found)
    return seeds


def _center(crests: Array, guess: Array | None) -> tuple[float, float]:
    """Return the point (m) most normals pass by."""
    rng = np.random.default_rng(0)
    y, x, ny, nx = crests[:, rng.permutation(crests.shape[1])[:1500]]
    first, second = rng.integers(0, y.size, (2, 4000))
    cross = ny[first] * nx[second] - nx[first] * ny[second]
    steep = np.abs(cross) > 0.05  # normals that run side by side meet nowhere in particular
    first, second, cross = first[steep], second[steep], cross[steep]
    step = ((y[second] - y[first]) * nx[second] - (x[second] - x[first]) * ny[second]) / cross
    proposed = np.stack([y[first] + step * ny[first], x[first] + step * nx[first]])[:, :1500]
    if guess is not None:
        proposed = np.concatenate([proposed, np.array(flat_detector.center(guess))[:, None]], axis=1)
    if not proposed.size:
        raise CalibrationError("calibration image", "shows lines, not rings", "is the detector too far off?")
    votes = np.zeros(proposed.shape[1])
    for i, (cy, cx) in enumerate(proposed.T):
        votes[i] = np.exp(-0.5 * (_sines(y, x, ny, nx, cy, cx) / 0.05) ** 2).sum()
    cy, cx = proposed[:, int(np.argmax(votes))]
    return float(cy), float(cx)


def _sines(y: Array, x: Array, ny: Array, nx: Array, cy: float, cx: float) -> Array:
    """Return the sine of the angle between normals and the directions to a point."""
    dy, dx = cy - y, cx - x
    return np.asarray((dy * nx - dx * ny) / np.maximum(np.hypot(dy, dx), 1e-9))


def _ladder(half: float, guess: Array | None) -> Array:
    """Return the distances (m) at which directions are fitted."""
    if guess is not None:
        return np.asarray(guess[0] * np.array([0.85, 1.0, 1.15]))
    steps = math.ceil(math.log(FARTHEST / NEAREST) / math.log(LADDER))
    return np.asarray(half * NEAREST * LADDER ** np.arange(steps + 1))


def _align(crests: Array, start: Array, tilted: bool = True) -> Array:
    """Return the detector at the distance of `start`, tilted or not, whose rings run as the crests do."""
    from scipy.optimize import least_squares

    y, x, ny, nx = crests[:, :: max(1, crests.shape[1] // 2500)]
    distance = float(start[0])
    scale = 0.1 * distance

    def detector(p: Array) -> Array:
        return flat_detector.from_center(
            distance, p[0] * scale, p[1] * scale, *(p[2:] if tilted else (0.0, 0.0))
        )

    def sines(p: Array) -> Array:
        sy, sx = flat_detector.slope(detector(p), y, x)
        return np.asarray((sy * nx - sx * ny) / np.maximum(np.hypot(sy, sx), 1e-30))

    cy, cx = flat_detector.center(start)
    free = 4 if tilted else 2
    limit = np.array([np.inf, np.inf, STEEPEST, STEEPEST])[:free]
    first = np.array([cy / scale, cx / scale, 0.0, 0.0])[:free]
    fit = least_squares(sines, first, bounds=(-limit, limit), loss="cauchy", f_scale=0.03, max_nfev=40)
    return detector(fit.x)


class _Radii(NamedTuple):
    """Rings found: radius ρ (px) and how much of the circumference on the detector shows a crest."""

    position: Array
    weight: Array


def _rho(detector: Array, y: Array, x: Array, pixel: float) -> Array:
    angle = np.minimum(flat_detector.two_theta(detector, y, x), math.radians(85))
    return np.asarray(detector[0] * np.tan(angle) / pixel)


def _radii(detector: Array, crests: Array, grid: _Grid, pixel: float) -> _Radii:
    """Return where crests gather."""
    from scipy.ndimage import gaussian_filter1d
    from scipy.signal import find_peaks

    step = 0.5
    rho = _rho(detector, crests[0], crests[1], pixel)
    on_grid = _rho(detector, grid.y, grid.x, pixel)
    edges = np.arange(0.0, min(on_grid.max(), 20000.0) + 10 * step, step)
    found = gaussian_filter1d(np.histogram(rho, edges)[0].astype(float), 1.2 / step)
    pixels = gaussian_filter1d(grid.weight * np.histogram(on_grid, edges)[0].astype(float), 8 / step)
    # An arc of n pixels that is shown by one crest per pixel has found ~ n.
    share = found / np.maximum(pixels, 20.0 * step)
    top = float(np.percentile(share[found > 0], 99)) if (found > 0).any() else 0.0
    at, _ = find_peaks(share, height=0.08 * top, prominence=0.06 * top, distance=int(2 / step))
    at = at[found[at] > 2.0]
    return _Radii(edges[at] + step / 2, np.sqrt(np.minimum(share[at] / max(top, 1e-12), 1.0)))


def _expected(detector: Array, angles: Array, grid: _Grid, pixel: float) -> Array:
    """Return the radii (px) of the calibrant's rings that fall on live pixels; those that merge once."""
    rho = detector[0] * np.tan(angles[angles < math.radians(80)]) / pixel
    on_grid = _rho(detector, grid.y, grid.x, pixel)
    rho = rho[(rho > on_grid.min()) & (rho < on_grid.max())]
    return np.asarray(rho[np.diff(rho, prepend=-np.inf) > 1.0])


def _score(radii: _Radii, expected: Array, width: float) -> float:
    """Return how well rings found and rings expected match: 1 all of both, 0 no better than chance."""
    found, weight = radii
    if found.size < FEWEST or expected.size < FEWEST:
        return 0.0
    expected = expected[expected < found[-1] + 3 * width]
    if expected.size < FEWEST:
        return 0.0
    precision = _matched(found, weight, expected, width)
    recall = _matched(expected, np.ones(expected.size), found, width)
    total = precision + recall
    return 2 * precision * recall / total if min(precision, recall) > 0 else 0.0


def _matched(these: Array, weight: Array, those: Array, width: float) -> float:
    """Return the part of `these` that lie on one of `those`, beyond what chance would give."""
    right = np.clip(np.searchsorted(those, these), 1, those.size - 1)
    gap = np.minimum(np.abs(these - those[right - 1]), np.abs(these - those[right]))
    met = np.exp(-0.5 * (gap / width) ** 2)
    # The chance to meet one of `those` grows with how close together they lie.
    span = np.maximum(those[np.minimum(right + 1, those.size - 1)] - those[np.maximum(right - 2, 0)], 1e-9)
    count = np.minimum(right + 1, those.size - 1) - np.maximum(right - 2, 0)
    chance = np.minimum(width * math.sqrt(2 * math.pi) * count / span, 0.95)
    return float((weight * (met - chance)).sum() / (weight * (1 - chance)).sum())


def _indexings(
    detector: Array, radii: _Radii, angles: Array, grid: _Grid, pixel: float, reach: float
) -> list[tuple[float, Array]]:
    """Return scores and detectors at distances up to a factor exp(reach) away."""
    if radii.position.size < FEWEST:
        return []
    step = min(0.5 / radii.position[-1], 0.002)
    count = math.ceil(reach / step)
    factors = np.exp(step * np.arange(-count, count + 1))
    tangents = np.tan(angles[angles < math.radians(80)])
    lowest = _rho(detector, grid.y, grid.x, pixel).min()
    scores = []
    for factor in factors:
        rho = detector[0] * factor / pixel * tangents
        rho = rho[(rho > lowest) & (rho < radii.position[-1] + 5)]
        scores.append(_score(radii, rho, 1.5))
    from scipy.signal import find_peaks

    scores_array = np.array(scores)
    at, _ = find_peaks(np.concatenate([[-1.0], scores_array, [-1.0]]), height=0.02)
    best = sorted(at - 1, key=lambda i: -scores_array[i])[:CANDIDATES]
    cy, cx = flat_detector.center(detector)
    tan1, tan2 = np.tan(detector[3]), np.tan(detector[4])
    return [
        (
            float(scores_array[i]),
            # Directions fix tan(tilt) / distance.
            flat_detector.from_center(
                float(detector[0] * factors[i]),
                cy,
                cx,
                float(np.clip(np.arctan(tan1 * factors[i]), -STEEPEST, STEEPEST)),
                float(np.clip(np.arctan(tan2 * factors[i]), -STEEPEST, STEEPEST)),
            ),
        )
        for i in best
    ]


def _refine(
    crests: Array, start: Array, angles: Array, pixel: float, schedule: tuple[tuple[float, bool], ...]
) -> Array | None:
    """Return the detector that puts the crests onto the rings nearest to them; None where too few are."""
    from scipy.optimize import least_squares

    y, x = crests[:2, :: max(1, crests.shape[1] // 4000)]
    detector = start
    unit = float(start[0])
    for reach, tilted in schedule:
        found = flat_detector.two_theta(detector, y, x)
        per_pixel = np.hypot(*flat_detector.slope(detector, y, x)) * pixel
        right = np.clip(np.searchsorted(angles, found), 1, angles.size - 1)
        nearest = np.where(found - angles[right - 1] < angles[right] - found, right - 1, right)
        off = (found - angles[nearest]) / per_pixel
        # Where rings lie close, the nearest is any: between them nothing is assigned.
        gap = np.minimum(np.diff(angles, prepend=-np.inf)[nearest], np.diff(angles, append=np.inf)[nearest])
        gap /= per_pixel
        used = (np.abs(off) < np.minimum(reach, 0.4 * gap)) & (gap > RESOLVED)
        if used.sum() < 30 or np.unique(nearest[used]).size < FEWEST:
            return None
        target, uy, ux, scale = angles[nearest[used]], y[used], x[used], per_pixel[used]

        tilt = detector[3:]

        def moved(p: Array, tilt: Array = tilt, tilted: bool = tilted) -> Array:
            return flat_detector.from_center(*(p[:3] * unit), *(p[3:] if tilted else tilt))

        def miss(
            p: Array,
            uy: Array = uy,
            ux: Array = ux,
            target: Array = target,
            scale: Array = scale,
            moved: Any = moved,
        ) -> Array:
            return np.asarray((flat_detector.two_theta(moved(p), uy, ux) - target) / scale)

        first = np.array([detector[0], *flat_detector.center(detector), *tilt])
        first[:3] /= unit
        fit = least_squares(miss, first[: 5 if tilted else 3], loss="cauchy", f_scale=0.5, max_nfev=30)
        detector = moved(fit.x)
        if not (detector[0] > 0 and abs(detector[3]) < STEEPEST and abs(detector[4]) < STEEPEST):
            return None
    return np.asarray(detector)
