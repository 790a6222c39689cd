"""The compiled loops do what they say, also as plain Python."""

from __future__ import annotations

import numpy as np

from xas import kernels
from xas.grid import Grid
from xas.noise import _weights

RANDOM = np.random.default_rng(1)
X = np.sort(RANDOM.uniform(0, 30, 25))


def test_the_spread_of_rows() -> None:
    mu, weights = RANDOM.normal(size=(3, 25)), _weights(Grid(X))
    mu[0, 12] += 50
    out = [np.empty((3, 2)), np.empty((3, 2))]
    kernels.spread_of_rows(mu, weights, 2, 20, 6.0, out[0])
    kernels.spread_of_rows.py_func(mu, weights, 2, 20, 6.0, out[1])
    np.testing.assert_allclose(*out, rtol=1e-12)
    residuals = np.einsum("nej,ej->ne", np.lib.stride_tricks.sliding_window_view(mu, 5, axis=1), weights)
    kept = np.abs(residuals[:, 2:20]) <= 6 * np.median(np.abs(residuals[:, 2:20]), axis=1, keepdims=True)
    expected = [np.sqrt(np.mean(row[use] ** 2)) for row, use in zip(residuals[:, 2:20], kept, strict=True)]
    np.testing.assert_allclose(out[0][:, 0], expected, rtol=1e-12)
    np.testing.assert_array_equal(out[0][:, 1], kept.sum(axis=1))
    assert out[0][0, 1] < 18


def test_glitches() -> None:
    mu, weights = np.zeros((3, 25)), _weights(Grid(X))
    mu[0, 7] = mu[1, 15] = 1.0
    near = np.array([[0, 5], [10, 20], [0, 0]])
    found = [np.empty(3, dtype=int), np.empty(3, dtype=int)]
    given = mu, weights, np.full(mu.shape, 0.01), near, 20.0, np.full(3, 0.03)
    kernels.find_glitches(*given, found[0])
    kernels.find_glitches.py_func(*given, found[1])
    np.testing.assert_array_equal(*found)
    assert abs(found[0][0] - 7) <= 1  # on an uneven axis a neighbour may stand out more
    assert found[0][2] == -1


def test_normalised_rows() -> None:
    mu, sigma = RANDOM.normal(1, 0.1, (2, 25)), RANDOM.uniform(0.1, 0.2, (2, 25))
    basis, line = RANDOM.normal(size=(25, 2)), RANDOM.normal(size=(2, 2))
    responses, step = RANDOM.normal(0, 0.1, (1, 2, 25)), np.array([1.2, 0.8])
    of_step, over, nearest = RANDOM.normal(0, 0.1, (2, 25)), RANDOM.normal(size=(2, 25)), np.array([3, 9])
    out = [[np.zeros((3, 25)) for _ in range(5)] for _ in range(2)]
    rows = np.array([2, 0])
    given = mu, sigma, basis, line, responses, step, of_step, over, nearest, rows
    kernels.normalise_rows(*given, *out[0])
    kernels.normalise_rows.py_func(*given, *out[1])
    np.testing.assert_allclose(out[0], out[1], rtol=1e-12)
    norm, errors, flat, pre_edge, post_edge = out[0]
    np.testing.assert_allclose(pre_edge[rows], line @ basis.T)
    np.testing.assert_allclose(norm[rows], (mu - line @ basis.T) / step[:, None])
    np.testing.assert_allclose(post_edge[rows], line @ basis.T + over)
    assert not norm[1].any()
    assert flat[2, 3] == norm[2, 3]
    # the errors: every point of norm as a linear function of mu
    for n, row in enumerate(rows):
        shared = basis @ responses[0] + norm[row][:, None] * of_step[n]
        operator = (np.eye(25) - shared) / step[n]
        np.testing.assert_allclose(errors[row], np.sqrt(operator**2 @ sigma[n] ** 2), rtol=1e-12)
