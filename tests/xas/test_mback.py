"""MBACK is larch's, and its errors are right."""

from __future__ import annotations

import numpy as np
import pytest

import xas
from beamline.errors import FitError
from xas import simulate
from xas.mback import fit_mback

from .series import ENERGY, noisy, pulls, stack

E0 = 8346.0


def test_it_is_that_of_larch() -> None:
    from larch import Group
    from larch.xafs.mback import mback

    scans = noisy(3, 2e-3)
    out = xas.normalize(scans, convention="mback", e0=E0)
    for n in range(3):
        group = Group(energy=ENERGY.copy(), mu=scans["mu"].values[n].copy())
        mback(group, z=28, edge="K", e0=E0)
        assert float(out["edge_step"][n]) == pytest.approx(group.edge_step, rel=1e-9)
        np.testing.assert_allclose(out["norm"][n], group.norm, rtol=0, atol=1e-8)


def test_its_errors_are_right() -> None:
    truth = xas.edge(xas.normalize(noisy(1, 1e-9), convention="mback", e0=E0))
    found = xas.edge(xas.normalize(noisy(300, 1e-3), convention="mback", e0=E0))
    for name in ("edge_step", "edge_energy"):
        off = pulls(found, truth, name)
        assert off.std() == pytest.approx(1.0, abs=0.12)
        assert abs(off.mean()) < 4 / np.sqrt(off.size)  # noise of μ is noise of what is fitted with, too
    assert pulls(found, truth, "norm").std() == pytest.approx(1.0, abs=0.12)


def test_the_response_of_the_fit_is_its_derivative() -> None:
    mu = simulate.absorption(ENERGY)[None]
    sigma, choice = np.ones_like(mu), {"convention": "mback", "degree": 2}

    def fit(values: np.ndarray) -> object:
        return fit_mback(ENERGY, values, sigma, E0, choice, (-np.inf, np.inf), "Ni")

    exact, change = fit(mu), np.zeros_like(mu)
    for point in (5, 20, 300, 450):
        change[:] = 0
        change[0, point] = 1e-4
        up, down = fit(mu + change), fit(mu - change)
        slope = (up.step - down.step) / 2e-4  # type: ignore[attr-defined]
        assert slope[0] == pytest.approx(exact.step_response[0, point], rel=1e-4)  # type: ignore[attr-defined]
        line = (up.line - down.line)[0] / 2e-4  # type: ignore[attr-defined]
        np.testing.assert_allclose(line, exact.line_response[0, :, point], rtol=1e-3, atol=1e-9)  # type: ignore[attr-defined]


def test_the_edge_is_known_from_the_energy_alone() -> None:
    bare = noisy(1, 1e-3).drop_attrs(deep=False)
    known = xas.normalize(noisy(1, 1e-3), convention="mback")
    np.testing.assert_array_equal(xas.normalize(bare, convention="mback")["norm"], known["norm"])


def test_a_short_scan_is_refused() -> None:
    short = stack(simulate.absorption(ENERGY)).sel(energy=slice(8310, 8420)).isel(scan=0)
    with pytest.raises(FitError, match="50 eV below and 100 eV above"):
        xas.normalize(short, convention="mback")
