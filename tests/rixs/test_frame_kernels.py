"""The loops as plain Python, on frames one can count by hand."""

from __future__ import annotations

import numpy as np
import pytest

from rixs import frame_kernels as kernels


def test_rows_are_summed_with_what_is_near_a_photon() -> None:
    signal = np.zeros((3, 6))
    signal[1, 2] = 100.0
    signal[0, 5] = 7.0
    mask = np.zeros((3, 6), np.uint8)
    mask[0, 5] = 1
    sums = np.zeros((5, 8))
    kernels.sum_rows.py_func(signal, mask, 50.0, np.array([1, 1, 1]), np.array([0.0, 0.25, 0.0]), sums)
    np.testing.assert_array_equal(sums[0], [0, 0, 0, 75, 25, 0, 0, 0])
    np.testing.assert_array_equal(sums[1], [0, 0, 0, 0, 0, 0, -1, 0])
    np.testing.assert_array_equal(sums[2], sums[0])
    np.testing.assert_array_equal(sums[3], [0, 0, 2.75, 3, 3, 0.25, 0, 0])
    np.testing.assert_array_equal(sums[4], [0, 0, 0, 0.75, 0.25, 0, 0, 0])


def test_profiles_hold_what_is_above_the_gate() -> None:
    signal = np.array([[1.0, 60.0], [70.0, 80.0]])
    mask = np.array([[0, 0], [0, 1]], np.uint8)
    profiles = np.zeros((2, 2))
    kernels.photon_profiles.py_func(signal, mask, 50.0, np.array([0, 1]), profiles)
    np.testing.assert_array_equal(profiles, [[0, 60], [70, 0]])


@pytest.mark.parametrize("rows", [1, 5])
def test_pairs_and_tracks_are_hit_below_the_limit_of_one(rows: int) -> None:
    signal = np.zeros((5, 8))
    signal[2, 1] = 10.0  # alone above the limit
    signal[1, 4] = signal[2, 5] = 6.0  # a pair
    signal[3, 6] = 4.0  # its track
    signal[4, 1] = 6.0  # as high, but alone
    mask = np.zeros(signal.shape, np.uint8)
    y, x = np.nonzero(signal)
    hits = np.zeros((2, 20), np.int64)
    limits = (np.full((rows, 8), 9.0), np.full((rows, 8), 5.0), np.full((rows, 8), 3.0))
    count = kernels.mark_hits.py_func(signal, y, x, *limits, mask, hits, 0)
    assert count == 4
    assert {tuple(hit) for hit in hits[:, :4].T} == {(2, 1), (1, 4), (2, 5), (3, 6)}
    kernels.mark_neighbours.py_func(hits[0, :1], hits[1, :1], mask)
    assert (mask == kernels.NEIGHBOUR).sum() >= 5


def test_bright_pixels_are_listed_and_counted_beyond_the_place_there_is() -> None:
    signal = np.array([[0.0, 5.0], [6.0, 7.0]])
    y, x = np.zeros((2, 2), np.int64)
    assert kernels.brighter_pixels.py_func(signal, 1.0, y, x) == 3
    np.testing.assert_array_equal([y, x], [[0, 1], [1, 0]])


def test_an_event_is_counted_once_at_its_centre() -> None:
    signal = np.zeros((5, 9))
    signal[2, 4], signal[2, 5] = 90.0, 30.0
    mask = np.zeros(signal.shape, np.uint8)
    y, x = np.nonzero(signal > 20)
    counts = np.zeros(2 * 9)
    kernels.count_events.py_func(signal, mask, y, x, 0.0, 118.0, np.zeros(5), 0, 2, counts)
    assert counts.sum() == 1
    # 4.25 px: the second half of pixel 4.
    assert np.argmax(counts) == 9
