"""The profile of a peak: against direct integration, and its compiled form against plain Python."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.integrate import quad

from calibration import axial, coarse_grid, profiles
from calibration.coarse_grid import tails
from calibration.profiles import EXACT, accumulate, partition

TWO_THETA = np.linspace(1.0, 6.0, 1200)


def _peak(position: float, variance: float, gamma: float, shl: float, rule: int = EXACT) -> Any:
    pattern = np.zeros(TWO_THETA.size)
    one = [np.array([value]) for value in (position, variance, gamma, 1.0)]
    accumulate(TWO_THETA, *one, shl, np.array([rule]), np.zeros((0, 1, 5)), pattern, np.zeros((0, 1200)))
    return pattern


def _pseudo_voigt(u: float, variance: float, gamma: float) -> float:
    fwhm, eta = profiles._shape.py_func(variance, gamma)[:2]  # type: ignore[attr-defined]
    gauss = np.sqrt(4 * np.log(2) / np.pi) / fwhm * np.exp(-4 * np.log(2) * (u / fwhm) ** 2)
    return float(eta * 2 / np.pi / fwhm / (1 + 4 * (u / fwhm) ** 2) + (1 - eta) * gauss)


def test_the_area_is_one_per_centidegree() -> None:
    pattern = _peak(3.5, 2.0, 0.02, 0.002)
    assert pattern.sum() * 100 * (TWO_THETA[1] - TWO_THETA[0]) == pytest.approx(1, abs=5e-3)


@pytest.mark.parametrize(("position", "shl"), [(1.5, 0.004), (2.5, 0.02), (4.0, 0.03)])
def test_axial_divergence_is_that_of_the_integral(position: float, shl: float) -> None:
    # The definition, integrated over the height h, in which the density has no pole.
    t = np.radians(position)

    def angle(h: float) -> float:
        return float(np.arccos(np.cos(t) * np.sqrt(1 + h * h)))

    def density(h: float) -> float:
        return (shl - h) / ((1 + h * h) * np.sin(angle(h)))

    total = quad(density, 0, shl)[0]
    pattern = _peak(position, 2.0, 1.0, shl)
    reached = np.flatnonzero(pattern)
    assert len(reached) > 500
    for i in reached[10:-10:37]:
        value = quad(
            lambda h, x=TWO_THETA[i]: density(h) * _pseudo_voigt(100 * (x - np.degrees(angle(h))), 2.0, 1.0),
            *(0, shl),
            epsabs=1e-14,
            limit=300,
        )[0]
        assert pattern[i] == pytest.approx(value / total, rel=2e-5, abs=1e-9), TWO_THETA[i]


def test_the_smallest_rule_of_gsas2_only_shifts_the_peak() -> None:
    position, shl = 1.5, 0.002
    span = position - np.degrees(np.arccos(np.sqrt(1 + shl**2) * np.cos(np.radians(position))))
    shifted = position - span * (1 - 1 / np.sqrt(3))
    pattern = _peak(position, 2.0, 1.0, shl, rule=0)
    expected = [_pseudo_voigt(100 * (x - shifted), 2.0, 1.0) for x in TWO_THETA]
    near = slice(0, 300)
    # 1 + s² in single precision moves the peak by 1 % of the shift.
    np.testing.assert_allclose(pattern[near], np.array(expected)[near], atol=0.004 * max(expected))


def test_rules_grow_with_the_spread_over_the_width() -> None:
    chosen = axial.gsas2_rules(np.array([1.5, 1.5, 1.5]), 0.02, np.array([50.0, 5.0, 0.5]))
    assert list(np.diff(chosen) > 0) == [True, True]
    assert axial.gsas2_rules(np.array([10.0]), 0.002, np.array([3.0]))[0] == 0


def test_quadrature_rules_are_those_of_gauss_and_legendre() -> None:
    sizes, nodes, weights = axial.rules()
    for size in (2, 30, 400):
        first = int(sum(sizes[: list(sizes).index(size)]) // 2)
        x, w = np.polynomial.legendre.leggauss(size)
        part = slice(first, first + size // 2)
        np.testing.assert_allclose(np.sort(nodes[part]), x[size // 2 :], atol=1e-13)
        np.testing.assert_allclose(weights[part][np.argsort(nodes[part])], w[size // 2 :], rtol=1e-9)


def test_tails_on_the_coarse_grid_are_those_of_every_point() -> None:
    x = np.linspace(1.0, 12.0, 3000)
    rng = np.random.default_rng(0)
    position, n = np.sort(rng.uniform(1.1, 11.9, 30)), 30
    slopes = rng.normal(size=(2, n, 5))
    found, every = [], []
    nothing = coarse_grid.Tails(np.empty(0), np.empty((0, coarse_grid.BLOCK, coarse_grid.NODES)))
    for into, coarse in ((found, tails(x)), (every, nothing)):
        pattern, jacobian = np.zeros(x.size), np.zeros((2, x.size))
        widths = np.full(n, 2.0), np.full(n, 2.5)
        accumulate(
            *(x, position, *widths, np.ones(n), 0.004, np.full(n, EXACT), slopes, pattern, jacobian),
            coarse=coarse,
        )
        into += [pattern, *jacobian]
    for fast, slow in zip(found, every, strict=True):
        assert np.abs(fast - slow).max() < 1e-7 * np.abs(slow).max()


def test_a_flat_ratio_is_its_own_mean_over_a_profile() -> None:
    one = np.array([3.5]), np.array([2.0]), np.array([1.0])
    assert partition(TWO_THETA, *one, 0.004, np.array([EXACT]), np.full(1200, 1.7))[0] == pytest.approx(1.7)


def _plain(function: Any) -> Callable[..., Any]:
    return function.py_func  # type: ignore[no-any-return]


def test_compiled_and_plain_kernels_agree() -> None:
    sizes, x, w = axial.rules()
    for kernel, option in ((axial.nodes_exact, 3.0), (axial.nodes_gsas2, 2)):
        compiled, plain = np.zeros((400, axial.COLUMNS)), np.zeros((400, axial.COLUMNS))
        count = kernel(2.0, 0.01, option, sizes, x, w, compiled)  # type: ignore[arg-type]
        assert _plain(kernel)(2.0, 0.01, option, sizes, x, w, plain) == count
        np.testing.assert_allclose(compiled[:count], plain[:count], rtol=1e-7)
        assert compiled[:count, 1].sum() == pytest.approx(1)
        pairs = np.zeros((2, axial.COLUMNS)), np.zeros((2, axial.COLUMNS))
        axial.fewer_nodes(compiled, count, pairs[0])
        _plain(axial.fewer_nodes)(plain, count, pairs[1])
        np.testing.assert_allclose(*pairs, rtol=1e-7)
        moments = [(compiled[:count, 1] * compiled[:count, 0] ** k).sum() for k in range(4)]
        np.testing.assert_allclose([(pairs[0][:, 1] * pairs[0][:, 0] ** k).sum() for k in range(4)], moments)
    points = np.linspace(1.0, 1.4, 7)
    parts = np.zeros((5, 7)), np.zeros((5, 7))
    arguments = (points, 0, 7, 1.2, 2.0, 1.5, np.array([[-0.01, 1.0, 0.1, 0.2, -1.0, 0.3]]), 1)
    profiles._profile(*arguments, parts[0], True)
    _plain(profiles._profile)(*arguments, parts[1], True)
    np.testing.assert_allclose(*parts, rtol=1e-10)
    totals = np.zeros(7), np.zeros(7)
    factor = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    profiles._combine(totals[0], factor, parts[0], 1, 6)
    _plain(profiles._combine)(totals[1], factor, parts[0], 1, 6)
    np.testing.assert_allclose(*totals)
