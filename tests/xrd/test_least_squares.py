"""The fit itself, on problems that make Gauss-Newton steps creep: bent valleys, large residuals, corners."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from calibration.extents import extents
from tests.xrd.refinable import INSTRUMENT, axis, calculator, phase_of
from xrd import Background, Model
from xrd.least_squares import Floats, Problem, Solution, solve
from xrd.normal_equations import damped_step, secant
from xrd.verdicts import verdict


def _solve(
    evaluate: Callable[[Floats], tuple[Floats, Floats]],
    observed: Floats,
    start: list[float],
    linear: tuple[bool, ...],
    hold: Callable[[Any], None] = lambda _: None,
    cycles: int = 100,
) -> Solution:
    count = len(start)
    free = np.full(count, np.inf)
    none = (np.zeros((0, count)), np.zeros(0), np.zeros(0))
    problem = Problem(
        evaluate, observed, np.ones_like(observed), -free, free, free, none, np.array(linear), hold
    )
    return solve(problem, np.array(start), cycles, 1e-6)


def test_a_bent_valley_is_followed_to_its_end() -> None:
    """Two decays on a background, which exchange amplitude and rate."""
    x = np.linspace(0, 4, 200)

    def evaluate(v: Floats) -> tuple[Floats, Floats]:
        first, second = np.exp(-v[1] * x), np.exp(-v[3] * x)
        rows = np.vstack([first, -v[0] * x * first, second, -v[2] * x * second, np.ones_like(x)])
        return v[0] * first + v[2] * second + v[4], rows

    truth = np.array([500.0, 1.0, 300.0, 3.0, 20.0])
    linear = (True, False, True, False, True)
    found = _solve(evaluate, evaluate(truth)[0], [100.0, 0.5, 100.0, 5.0, 0.0], linear)
    assert found.converged
    assert found.cycles < 30
    order = [0, 1, 2, 3, 4] if found.variables[1] < found.variables[3] else [2, 3, 0, 1, 4]
    np.testing.assert_allclose(found.variables[order], truth, rtol=1e-4)


def test_large_residuals_do_not_make_steps_overshoot() -> None:
    """A model that cannot describe the data: JᵀJ is far from the curvature at the minimum."""
    x = np.linspace(0, 3, 50)
    observed = 5 + 3 * np.cos(4 * x)

    def evaluate(v: Floats) -> tuple[Floats, Floats]:
        return 2 * np.cos(v[0] * x), (-2 * x * np.sin(v[0] * x))[None]

    found = _solve(evaluate, observed, [3.3], (False,))
    assert found.converged
    near = found.variables + np.linspace(-1e-2, 1e-2, 2001)[:, None]
    chi2 = [float(np.sum((observed - evaluate(v)[0]) ** 2)) for v in near]
    error = np.sqrt(found.covariance[0, 0])
    assert abs(near[int(np.argmin(chi2)), 0] - found.variables[0]) < 0.03 * error


def test_a_corner_is_no_convergence() -> None:
    """The minimum is where the slope jumps: no step lowers χ², and none says so beforehand."""

    def evaluate(v: Floats) -> tuple[Floats, Floats]:
        below = v[0] < 1.0
        first = v[0] if below else 2.0 - v[0]
        return np.array([first + v[1], v[1]]), np.array([[1.0 if below else -1.0, 0.0], [1.0, 1.0]])

    found = _solve(evaluate, np.array([5.0, 0.0]), [0.2, 0.0], (False, True))
    assert found.rough
    assert not found.converged
    assert found.variables[0] == pytest.approx(1.0, abs=1e-2)


def test_extents_are_held_where_a_step_starts() -> None:
    """χ² jumps with every point a tail reaches; with extents held it is smooth, and its minimum found."""
    x = np.linspace(0, 10, 2000)
    state: dict[str, float | None] = {"end": None}

    def curve(v: Floats) -> tuple[Floats, Floats]:
        end = 4 * abs(v[0]) if state["end"] is None else state["end"]
        inside = x < end
        shape = np.where(inside, 1 / (1 + (x / v[0]) ** 2), 0.0)
        return v[1] * shape, np.vstack([v[1] * 2 * x**2 / v[0] ** 3 * shape**2, shape])

    def hold(v: Floats | None) -> None:
        state["end"] = None if v is None else 4 * abs(v[0])

    rng = np.random.default_rng(20261128)
    observed = 100 / (1 + (x / 1.3) ** 2) + rng.normal(0, 1, x.size)
    found = _solve(curve, observed, [0.6, 50.0], (False, True), hold)
    assert found.converged or found.rough
    hold(found.variables)
    calculated, jacobian = curve(found.variables)
    gradient = jacobian @ (observed - calculated)
    errors = np.sqrt(np.diag(np.linalg.inv(jacobian @ jacobian.T)))
    assert np.abs(np.linalg.solve(jacobian @ jacobian.T, gradient) / errors).max() < 0.02


def test_the_secant_gives_the_curvature_of_a_quadratic() -> None:
    """What JᵀJ leaves out is found, along each of as many steps as there are variables."""
    rng = np.random.default_rng(3)
    part = rng.normal(size=(3, 3))
    missing, normal = part + part.T, 20 * np.eye(3)
    second = np.zeros((3, 3))
    for step in np.eye(3):
        second = secant(second, step, missing @ step, (normal + missing) @ step)
        np.testing.assert_allclose(second @ step, missing @ step, atol=1e-12)
        np.testing.assert_allclose(second, second.T, atol=1e-12)


def test_a_saddle_is_left_downwards() -> None:
    step, lower = damped_step(
        np.diag([2.0, -1.0]), np.array([1.0, 1.0]), np.ones(2), np.zeros(2, dtype=bool), 0.0
    )
    np.testing.assert_allclose(step, [0.5, 1.0])
    assert lower == pytest.approx(1.5)


def test_held_extents_make_derivatives_by_widths_right() -> None:
    """Strain, with tails that end within the pattern: its derivative is the difference quotient."""
    model = Model([phase_of("cubic")], INSTRUMENT, 3)
    two_theta = axis(points=3000)
    forward = calculator(model, two_theta)
    start = model.free_values()
    forward.settle(start)
    i = list(model.variables).index("cubic/strain")
    step = np.zeros_like(start)
    step[i] = 1e-3 * start[i]

    def off() -> float:
        slope = forward.pattern(start)[1][i]
        quotient = (forward.pattern(start + step)[0] - forward.pattern(start - step)[0]) / (2 * step[i])
        return float(np.linalg.norm(quotient - slope) / np.linalg.norm(slope))

    free = off()
    forward.hold(start)
    assert off() < 1e-5 < free
    forward.hold(None)
    assert off() == free


def test_extents_as_plain_python() -> None:
    position, variance, gamma = np.array([3.0, 120.0]), np.array([4.0, 9.0]), np.array([1.0, 2.0])
    ends = extents(position, variance, gamma, 0.002)
    np.testing.assert_array_equal(extents.py_func(position, variance, gamma, 0.002), ends)
    width = (2.355 * np.sqrt(variance) + gamma) / 100
    axial = 0.002 * np.abs(np.cos(np.radians(position)))
    np.testing.assert_allclose(position - ends[:, 0], [50 * (width[0] + axial[0]), 75 * width[1]])
    np.testing.assert_allclose(ends[:, 1] - position, [75 * width[0], 50 * (width[1] + axial[1])])


@pytest.mark.parametrize(
    ("V", "said"), [(-300.0, "have the smallest Gaussian width"), (-1.0, "tails end at other points")]
)
def test_what_makes_a_pattern_rough_is_said(V: float, said: str) -> None:
    model = Model([phase_of("cubic")], dataclasses.replace(INSTRUMENT, V=V), Background(3, (600.0, 0.0, 0.0)))
    values = model.free_values()
    none = np.zeros(values.size, dtype=bool)
    ended = SimpleNamespace(
        variables=values, at_bound=none, singular=none, blind=none, rough=True, converged=False
    )
    status, message = verdict(list(model.variables), ended, {}, calculator(model, axis()), values)  # type: ignore[arg-type]
    assert status == "rough"
    assert said in message
