"""The compiled loops: each as plain Python too, and against sums done by numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from calibration.geometry import Geometry
from xrd import kernel, pixels, robust, sharing, sums
from xrd.kernel import Setup, kernel_of

Array = np.ndarray[Any, np.dtype[Any]]

SIZE, BINS = 40, 6
RNG = np.random.default_rng(4)
FRAME = RNG.poisson(9.0, SIZE).astype(np.uint16)
FRAME[[3, 17]] = 65535
PLACE = RNG.integers(0, BINS + 1, SIZE).astype(np.uint16)
NORM = RNG.uniform(0.5, 1.0, SIZE).astype(np.float32)
DARK = RNG.uniform(0.0, 2.0, SIZE).astype(np.float32)
NO_DARK = np.empty(0, np.float32)
LOW, TOP = np.uint16(0), np.uint16(65534)
FIRST = RNG.integers(0, BINS - 3, SIZE).astype(np.uint32)
NUMBER = RNG.integers(0, 4, SIZE).astype(np.uint16)
WEIGHTS = RNG.uniform(0.1, 1.0, int(NUMBER.sum())).astype(np.float32)
RUNS = (FIRST, NUMBER, WEIGHTS)
FOUR = np.stack([FRAME, FRAME[::-1], FRAME, FRAME + np.uint16(1)])
MEANS = RNG.uniform(5.0, 10.0, BINS + 1)
STARTS = np.array([0, 9, 9, 20, 21, SIZE])


def zeros(*shape: int) -> Array:
    return np.zeros(shape)


def lost() -> Array:
    return zeros(BINS + 1, 5)


CALLS: dict[str, tuple[Any, tuple[Any, ...], tuple[Array, ...]]] = {
    "settle_whole": (sums.settle_whole, (PLACE, NORM, DARK), (lost(),)),
    "settle_shared": (sums.settle_shared, (*RUNS, NORM, DARK), (lost(),)),
    "add_whole": (
        sums.add_whole,
        (FRAME, PLACE, NORM, DARK, LOW, TOP),
        (np.zeros(BINS + 1, np.int64), lost()),
    ),
    "add_shared": (sums.add_shared, (FRAME, *RUNS, NORM, DARK, LOW, TOP), (zeros(BINS + 1, 2), lost())),
    "add_shared_four": (
        sums.add_shared_four,
        (FOUR, *RUNS, NORM, NO_DARK, LOW, TOP),
        (zeros(BINS + 1, 8), zeros(4, BINS + 1, 5)),
    ),
    "scatter_whole": (sums.scatter_whole, (FRAME, PLACE, NORM, DARK, LOW, TOP, MEANS), (zeros(BINS + 1),)),
    "scatter_shared": (sums.scatter_shared, (FRAME, *RUNS, NORM, DARK, LOW, TOP, MEANS), (zeros(BINS + 1),)),
    "correlation": (sums.correlation, (*RUNS, NORM), (zeros(BINS + 1), zeros(BINS + 1))),
    "sort_by_bin": (
        sums.sort_by_bin,
        (FRAME, RNG.permutation(SIZE).astype(np.int32)),
        (np.zeros(SIZE, np.uint16),),
    ),
    "clipped": (robust.clipped, (STARTS, FRAME, NORM, DARK, LOW, TOP, 2.0, 1.0), (zeros(5, 5),)),
    "trimmed": (robust.trimmed, (STARTS, FRAME, NORM, NO_DARK, LOW, TOP, 0.1), (zeros(5, 5),)),
    "places": (
        kernel._places,
        (np.linspace(0, 1, SIZE), np.zeros(SIZE, np.int32), 0.2, 0.8, BINS),
        (np.full(SIZE, BINS, np.uint16),),
    ),
    "slots": (
        kernel._slots,
        (PLACE, np.concatenate([[0], np.bincount(PLACE, minlength=BINS + 1).cumsum()])),
        (np.zeros(SIZE, np.int32),),
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_compiled_loop_does_what_it_says_in_python(name: str) -> None:
    function, given, empty = CALLS[name]
    results = []
    for call in (function, function.py_func):
        out = [array.copy() for array in empty]
        call(*(value.copy() if isinstance(value, np.ndarray) else value for value in given), *out)
        results.append(out)
    for compiled, plain in zip(*results, strict=True):
        assert np.asarray(plain).any()
        np.testing.assert_allclose(compiled, plain, rtol=1e-6)


def test_the_maps_of_a_detector_are_those_of_python(geometry: Geometry) -> None:
    y, x = (axis.ravel()[:7] for axis in geometry.positions())
    turns = pixels._turns(geometry)
    for axis in pixels.AXES.values():
        np.testing.assert_allclose(
            pixels._positions(y, x, turns, axis, 0.1173), pixels._positions.py_func(y, x, turns, axis, 0.1173)
        )
    np.testing.assert_allclose(pixels._azimuths(y, x, turns), pixels._azimuths.py_func(y, x, turns))
    arguments = (y, x, turns, 0.9, True, 0.4)
    np.testing.assert_allclose(
        pixels._normalization(*arguments), pixels._normalization.py_func(*arguments), rtol=1e-6
    )


def test_runs_of_a_few_pixels_are_those_of_python() -> None:
    y, x = np.mgrid[:4, :5].astype(float)
    corners, around = 3 * y + x, 90 * y - 40 * x
    center = corners[:-1, :-1] + 2.0
    row = np.zeros((3, 4), np.int32)
    row[0, 0] = -1
    found = []
    for mode in ("py_func", None):
        made = []
        for extent, fill, more in (
            (sharing._bbox_extent, sharing._bbox_weights, (center, corners)),
            (sharing._full_extent, sharing._full_weights, (corners,)),
        ):
            grow, weigh = (getattr(call, mode) if mode else call for call in (extent, fill))
            first, number = grow(*more, row, 1.0, 11.0, 20)
            weights = np.zeros(int(number.sum()), np.float32)
            if extent is sharing._bbox_extent:
                weigh(*more, number, 1.0, 11.0, 20, weights)
            else:
                weigh(corners, around, first, number, 1.0, 11.0, 20, weights)
            made += [first, number, weights]
        found.append(made)
    for plain, compiled in zip(*found, strict=True):
        np.testing.assert_allclose(plain, compiled, rtol=1e-6)


@pytest.mark.parametrize("splitting", ["bbox", "full"])
def test_the_parts_of_a_pixel_within_the_range_make_it_whole(splitting: str, geometry: Geometry) -> None:
    wide = kernel_of(Setup(geometry, (100, 120), 90, range=(0.0, 20.0), splitting=splitting))
    ends = np.cumsum(wide._runs.number, dtype=np.int64)
    total = np.add.reduceat(wide._runs.weights, np.concatenate([[0], ends[:-1]]))
    np.testing.assert_allclose(total, 1.0, rtol=1e-5)


def test_a_pixel_of_the_beam_is_whole_in_full_splitting() -> None:
    direct = Geometry(0.1, 0.00051, 0.00049, 0.0, 0.0, 0.0, 0.1173, (1e-4, 1e-4), (10, 10), 3)
    kernel = kernel_of(Setup(direct, (10, 10), 40, range=(0.0, 1.0), splitting="full"))
    assert float(kernel._settled[:, 0].sum()) == pytest.approx(100, rel=1e-5)


@pytest.mark.parametrize(
    ("dtype", "is_counts", "saturation", "dead", "live"),
    [
        (np.uint16, False, None, [65535], [0, 65534]),
        (np.uint16, False, 100.5, [101, 65535], [0, 100]),
        (np.int32, True, None, [-1, -2], [0, 2**31 - 1]),
        (np.int32, False, None, [], [-5, 2**31 - 1]),
        (np.int32, False, 7.0, [7], [-5, 6]),
        (np.float32, True, None, [-1.0, np.nan, np.inf], [0.0, 3e38]),
        (np.float32, False, 10.0, [10.0, np.nan, np.inf, -np.inf], [-3e38, 9.999999]),
    ],
)
def test_what_has_not_measured(
    dtype: Any, is_counts: bool, saturation: Any, dead: list[Any], live: list[Any]
) -> None:
    low, top = sums.limits(np.dtype(dtype), is_counts, saturation)
    assert low.dtype == top.dtype == dtype
    assert not any(low <= dtype(value) <= top for value in dead)
    assert all(low <= dtype(value) <= top for value in live)
