"""AUTOBK is larch's, at its exact minimum, for a whole series at once."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from scipy.optimize import leastsq

import xas
from xas import simulate
from xas.autobk import Settings, fixed_point, plan
from xas.grid import Grid
from xas.transforms import WINDOWS

from .series import ENERGY, noisy, pulls, stack

E0 = 8346.0
SCANS = noisy(4, 1e-3, 5)
NORMALISED = xas.normalize(SCANS, e0=E0)


def by_larch(index: int, patient: bool = True, **options: Any) -> Any:
    """Return larch's group, its minimiser, if patient, told not to stop as early as it does by itself."""
    from larch import Group
    from larch.xafs import autobk

    def to_the_end(*given: Any, **more: Any) -> Any:
        return leastsq(*given, **{**more, "ftol": 1e-15, "xtol": 1e-15, "epsfcn": 1e-10, "maxfev": 20_000})

    patch = pytest.MonkeyPatch()
    group = Group(energy=ENERGY.copy(), mu=SCANS["mu"].values[index].copy())
    step = float(NORMALISED["edge_step"][index])
    with patch.context() as patched:
        if patient:
            patched.setattr(sys.modules["larch.xafs.autobk"], "leastsq", to_the_end)
        autobk(group, ek0=E0, edge_step=step, **{"kweight": 2, "rbkg": 1.0, **options})
    return group


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"rbkg": 0.8},
        {"rbkg": 1.6},
        {"kweight": 1},
        {"kweight": 3},
        {"kmax": 10.0},
        {"kmin": 1.0},
        {"clamp": (1, 1)},
        {"clamp": (0, 0)},
        {"clamp": (5, 24)},
        *({"window": name, "dk": 4.0 if name == "gaussian" else 1.0} for name in WINDOWS),
    ],
)
def test_it_is_that_of_larch(options: dict[str, Any]) -> None:
    chi = xas.exafs(NORMALISED, **options)
    theirs = dict(options)
    if "clamp" in theirs:
        theirs["clamp_lo"], theirs["clamp_hi"] = theirs.pop("clamp")
    if "window" in theirs:
        theirs["win"] = theirs.pop("window")
    for n in range(2):
        group = by_larch(n, **theirs)
        scale = np.abs(group.chi).max()
        # with numerical derivatives strong clamps are hard to get to the bottom of
        close = 1e-6 if options.get("clamp", (0, 1))[0] == 0 else 2e-3
        np.testing.assert_allclose(chi["chi"][n], group.chi, rtol=0, atol=close * scale)
        np.testing.assert_allclose(chi["background"][n], group.bkg, rtol=0, atol=close * scale)


def test_the_minimum_is_the_deepest_there_is() -> None:
    """Against a search over many l, weak and strong clamps, small and large scans."""
    random = np.random.default_rng(0)
    stiffness = np.array([0.0, 1e-3, 5.0])
    for scale in (1e-3, 1.0, 1e3, 1e6):
        lost, clamps = scale * random.uniform(0, 1, 20), scale * random.uniform(0, 1, (20, 3))
        level = fixed_point(lost, clamps, stiffness, 60)

        grid = np.geomspace(1e-6, 1e16, 20_000)
        best = _objective(np.broadcast_to(grid, (20, grid.size)), lost, clamps, stiffness).min(axis=1)
        assert (_objective(level, lost, clamps, stiffness) <= best * (1 + 1e-9)).all()


def _objective(level: Any, lost: Any, clamps: Any, stiffness: Any) -> Any:
    """Return f where the clamps have been given the weight `level`, of 60 numbers."""
    reduced = 1 / (1 + level[..., None] * stiffness) ** 2
    clamp = np.einsum("n...c,nc->n...", reduced, clamps)
    low = (lost + (level**2 * np.einsum("n...c,nc->n...", reduced, clamps * stiffness)).T).T
    return low + (0.1 + 10 * low / 60) ** 2 * clamp


@pytest.mark.parametrize("stated", [False, True])
def test_errors_are_right(stated: bool) -> None:
    """With one σ for the scan, and with one for every point."""
    count, level = 300, 1.5e-3
    profile = level * np.linspace(0.6, 1.6, ENERGY.size) if stated else np.full(ENERGY.size, level)
    clean = simulate.absorption(ENERGY)
    mu = clean + np.random.default_rng(2).normal(size=(count, ENERGY.size)) * profile
    errors = ("scan", "energy"), np.broadcast_to(profile, mu.shape).copy()
    scans = stack(mu, mu_errors=errors) if stated else stack(mu)
    truth = xas.exafs(xas.normalize(stack(clean + 1e-9 * mu[:1]), e0=E0))
    found = xas.exafs(xas.normalize(scans, e0=E0))
    # as χ Δμ: the error of the edge step is not in that of χ
    step = xas.normalize(scans, e0=E0)["edge_step"].values[:, None]
    exact = float(xas.normalize(stack(clean), e0=E0)["edge_step"][0])
    off = (found["chi"].values * step - truth["chi"].values * exact) / (found["chi_errors"].values * step)
    spread = off.std(axis=0)
    assert np.median(spread) == pytest.approx(1.0, abs=0.05)
    np.testing.assert_allclose(spread[1:], 1.0, atol=0.25)  # each k by itself: 300 draws, 280 of them
    assert np.abs(off.mean(axis=0)).max() < 4.5 / np.sqrt(count)
    assert pulls(found, truth, "chi").std() == pytest.approx(1.0, abs=0.12)


def test_a_standard_keeps_its_part_below_rbkg() -> None:
    """A shell so near that AUTOBK takes most of it comes back when it is known."""
    k = 0.05 * np.arange(281)
    near = ((2.0, 1.1, 0.003),)
    mu = simulate.absorption(ENERGY, E0, width=0.05, white_line=0.0, shells=near)
    scans = xas.normalize(stack(mu), e0=E0, post=(150, 700))
    exact = simulate.chi(k, near)
    alone = xas.exafs(scans)
    standard = alone.assign(chi=(("scan", "k"), exact[None, : alone.sizes["k"]]))
    known = xas.exafs(scans, standard=standard)
    far = (alone["k"] > 4) & (alone["k"] < 12)
    scale = 0.8 / float(scans["edge_step"][0])
    off = [np.abs(ds["chi"][0] - scale * exact[: ds.sizes["k"]])[far].max() for ds in (alone, known)]
    assert off[1] < 0.1 * off[0]


def test_the_next_edge_of_the_sample_ends_what_is_used() -> None:
    energy = simulate.energy_axis(7709.0, 16.0)
    scan = stack(simulate.absorption(energy, 7709.0), energy).assign_attrs(element="Co", edge="K")
    free = xas.exafs(xas.normalize(scan, e0=7709.0))
    ended = xas.normalize(scan, e0=7709.0, elements=["Ni", "Co", "Mn", "O"])
    chi = xas.exafs(ended)
    assert float(free["k"][-1]) == pytest.approx(16.0, abs=0.1)
    assert float(chi["k"][-1]) == pytest.approx(12.7, abs=0.05)  # 10 eV before the Ni edge, at k = 12.8
    # what comes after the edge of nickel changes nothing
    mu = scan["mu"].values + np.where(energy > 8333, 1.0, 0.0)
    jumps = xas.normalize(
        scan.assign(mu=(("scan", "energy"), mu, scan["mu"].attrs)), e0=7709.0, elements=["Ni", "Co"]
    )
    np.testing.assert_allclose(jumps["edge_step"], ended["edge_step"], rtol=1e-12)
    np.testing.assert_allclose(xas.exafs(jumps)["chi"], chi["chi"], rtol=0, atol=1e-12)


def test_what_athena_stored_is_used() -> None:
    stored = {"athena_rbkg": 1.2, "athena_kweight": 3.0, "athena_clamp1": 0.0, "athena_clamp2": 1.0}
    more = {"athena_spl1": 0.5, "athena_spl2": 11.0, "athena_e0": E0, "athena_nnorm": 3.0}
    scans = SCANS.assign_attrs(stored | more | {"athena_fixed_step": 1.0, "athena_edge_step": 0.7})
    out = xas.normalize(scans, convention="athena")
    np.testing.assert_array_equal(out["edge_step"], 0.7)
    chi = xas.exafs(out)
    group = by_larch(0, False, rbkg=1.2, kweight=3, kmin=0.5, kmax=11.0, nclamp=5, clamp_lo=0, clamp_hi=1)
    scale = np.abs(group.chi).max()
    theirs = group.chi * float(NORMALISED["edge_step"][0]) / 0.7
    np.testing.assert_allclose(chi["chi"][0], theirs, rtol=0, atol=1e-3 * scale)
    again = xas.exafs(out, rbkg=1.0, kweight=2, kmin=0.0, kmax=12.0, clamp=(0, 1))
    assert float(again["k"][-1]) > 11.5


def test_back_transform_is_that_of_larch() -> None:
    from larch import Group
    from larch.xafs import xftf, xftr

    chi = xas.fourier(xas.exafs(NORMALISED), 3, 12, 2, "hanning", 1)
    out = xas.back_transform(chi, 1.0, 3.2, "hanning", 0.2)
    group = Group(k=chi["k"].values, chi=chi["chi"].values[2])
    xftf(group, kmin=3, kmax=12, kweight=2, dk=1, window="hanning")
    xftr(group, rmin=1.0, rmax=3.2, dr=0.2, window="hanning")
    np.testing.assert_allclose(out["chi_q"][2], group.chiq[: chi.sizes["k"]], rtol=0, atol=1e-12)
    np.testing.assert_allclose(out["window_r"], group.rwin, rtol=0, atol=1e-12)


def test_all_of_r_transforms_back_to_what_it_was() -> None:
    chi = xas.fourier(xas.exafs(NORMALISED), 3, 12, 2, "hanning", 1)
    out = xas.back_transform(chi, 0.0, 9.9, "hanning", 0.1)
    windowed = chi["chi"] * chi["k"] ** 2 * chi["window"]
    assert float(np.abs(out["chi_q"].real - windowed)[:, 70:230].max()) < 0.05 * float(np.abs(windowed).max())


def test_too_few_points_are_told_about() -> None:
    energy = np.r_[np.arange(8150.0, 8345.0, 5), np.arange(8345.0, 9100.0, 60)]
    out = xas.exafs(xas.normalize(stack(simulate.absorption(energy), energy), e0=8345.0))
    assert "too few points" in str(out["status"].values[0])


def test_plans_are_kept() -> None:
    first = plan(Grid(ENERGY), E0, Settings())
    assert plan(Grid(ENERGY.copy()), E0, Settings()) is first


def test_larch_is_not_needed() -> None:
    code = (
        "import sys, numpy as np, xas; from xas import simulate\n"
        "ds = simulate.scan(0)\n"
        "xas.back_transform(xas.fourier(xas.exafs(xas.edge(xas.normalize(ds)))))\n"
        "xas.normalize(ds, convention='mback')\n"
        "print('larch' in sys.modules, 'lmfit' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
