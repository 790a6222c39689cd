from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import xas
from beamline import model
from beamline.errors import ConfigError, FitError, SchemaError
from xas import simulate
from xas.transforms import KSTEP, WINDOWS, window_function

E0 = 8346.0


def chi_of(wave: np.ndarray, k: np.ndarray) -> xr.Dataset:
    ds = xr.Dataset({"chi": ("k", wave)}, {"k": k})
    return model.with_defaults(ds, "xas.exafs")


def test_a_sine_gives_a_peak_at_its_distance() -> None:
    k = KSTEP * np.arange(321)
    out = xas.fourier(chi_of(np.sin(2 * k * 2.5) / np.maximum(k, 0.1) ** 2, k), kmin=3, kmax=14)
    peak = float(out["r"][int(np.argmax(np.abs(out["chi_r"].values)))])
    assert peak == pytest.approx(2.5, abs=0.03)


def test_the_transform_is_the_sum_it_is_said_to_be() -> None:
    k = KSTEP * np.arange(281)
    chi = np.random.default_rng(0).normal(size=k.size)
    out = xas.fourier(chi_of(chi, k), kmin=3, kmax=12, kweight=2)
    weighted = chi * k**2 * out["window"].values
    for index in (0, 7, 80):
        r = float(out["r"][index])
        total = KSTEP / np.sqrt(np.pi) * np.sum(weighted * np.exp(-2j * k * r))
        assert complex(out["chi_r"][index]) == pytest.approx(total, abs=1e-9)
    assert out["chi_r"].attrs["units"] == "angstrom**-3"


@pytest.mark.parametrize("name", WINDOWS)
@pytest.mark.parametrize("dk", [0.1, 1.0, 4.0])
def test_windows_are_those_of_larch(name: str, dk: float) -> None:
    from larch.xafs.xafsft import ftwindow

    k = KSTEP * np.arange(341)
    ours = window_function(k, 3.0, 12.0, dk, name)
    np.testing.assert_allclose(ours, ftwindow(k, xmin=3.0, xmax=12.0, dx=dk, window=name), rtol=0, atol=1e-12)


def test_the_simulated_shells_come_out() -> None:
    chi = xas.exafs(xas.normalize(simulate.scan(0, noise=1e-5), e0=E0))
    at = chi.sel(k=slice(4, 11))
    expected = simulate.chi(np.sqrt(at["k"].values ** 2 + 0.2625))  # E0 was put 1 eV higher
    scale = 0.8 / float(xas.normalize(simulate.scan(0, noise=1e-5), e0=E0)["edge_step"])
    assert np.corrcoef(at["chi"], expected)[0, 1] > 0.99
    assert float(np.std(at["chi"]) / np.std(expected)) == pytest.approx(scale, rel=0.1)


def test_errors_of_chi_are_right() -> None:
    truth = xas.exafs(xas.normalize(simulate.scan(0, noise=1e-9), e0=E0))
    pulls = []
    for seed in range(40):
        chi = xas.exafs(xas.normalize(simulate.scan(seed, noise=1e-3), e0=E0))
        pulls.append(((chi["chi"] - truth["chi"]) / chi["chi_errors"]).values)
    # near k = 0 the background takes most of the noise; it must be in the error there too
    spread = np.std(pulls, axis=0)
    assert np.mean(spread[:20]) == pytest.approx(1.0, abs=0.25)
    assert np.mean(spread[20:]) == pytest.approx(1.0, abs=0.15)


def test_scans_of_different_reach_end_together() -> None:
    scans = xas.align([simulate.scan(0), simulate.scan(1, drift=2.0)])
    chi = xas.exafs(xas.normalize(scans))
    assert chi["chi"].dims == ("scan", "k")
    assert np.isfinite(chi["chi"]).all()


def test_a_short_scan_has_no_exafs() -> None:
    with pytest.raises(FitError, match="EXAFS needs at least 5"):
        xas.exafs(xas.normalize(simulate.scan(0).sel(energy=slice(None, 8430)), e0=E0))


def test_kmax_beyond_the_data_is_refused() -> None:
    chi = xas.exafs(xas.normalize(simulate.scan(0), e0=E0))
    with pytest.raises(FitError, match="the data end at"):
        xas.fourier(chi, kmax=20)


def test_an_unknown_window_is_refused() -> None:
    with pytest.raises(ConfigError, match="known: hanning"):
        xas.fourier(chi_of(np.zeros(321), KSTEP * np.arange(321)), window="boxcar")


def test_another_grid_is_refused() -> None:
    with pytest.raises(SchemaError, match="not a grid"):
        xas.fourier(chi_of(np.zeros(100), np.linspace(0, 14, 100)))


@pytest.mark.parametrize(
    ("parameter", "value"), [("rbkg", 0.4), ("rbkg", 3.5), ("kweight", 1.5), ("kweight", 2.0), ("kmax", 2.0)]
)
def test_a_background_of_nonsense_is_refused(parameter: str, value: float) -> None:
    scan = xas.normalize(simulate.scan(0), e0=E0)
    with pytest.raises(ConfigError, match=parameter):
        xas.exafs(scan, **{parameter: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("parameter", "value"), [("kmax", 3.0), ("kmin", -1.0), ("dk", -0.5), ("dk", np.nan), ("kweight", 1.5)]
)
def test_a_transform_of_nonsense_is_refused(parameter: str, value: float) -> None:
    with pytest.raises(ConfigError, match=parameter):
        xas.fourier(chi_of(np.zeros(321), KSTEP * np.arange(321)), **{parameter: value})
