from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import xas
from beamline import model
from beamline.errors import ConfigError, FitError, SchemaError
from xas import simulate
from xas.detectors import paralysable_factor

ENERGY = simulate.energy_axis()
MU = simulate.absorption(ENERGY)
TAU = 2e-6


def scan(seed: int, factor: bool = True, channels: int = 4) -> xr.Dataset:
    """Return a fluorescence scan of detectors that miss photons."""
    rng = np.random.default_rng(seed)
    true = np.linspace(2e4, 8e4, channels)[:, None] * MU
    counts = rng.poisson(true * np.exp(-true * TAU)).astype(float)
    ds = xr.Dataset(
        {
            "mu": ("energy", counts.sum(axis=0) / 1e6),
            "i0": ("energy", np.full(ENERGY.size, 1e6), {"units": "count"}),
            "detector_counts": (("detector", "energy"), counts, {"units": "count"}),
        },
        {"energy": ENERGY, "detector": [f"mca{n}" for n in range(1, channels + 1)]},
        {"element": "Ni", "edge": "K", "label": "fluorescence"},
    )
    if factor:
        ds["dead_time_factor"] = (("detector", "energy"), np.exp(true * TAU))
    return model.with_defaults(ds, "xas.scans")


@pytest.mark.parametrize("options", [{}, {"dead_time": TAU}])
def test_the_sum_is_right_with_its_errors(options: dict[str, float]) -> None:
    truth = np.linspace(2e4, 8e4, 4).sum() * MU / 1e6
    pulls = []
    for seed in range(20):
        out = xas.sum_detectors(scan(seed, factor=not options), **options)  # type: ignore[arg-type]
        pulls.append((out["mu"] - truth) / out["mu_errors"])
    assert abs(np.mean(pulls)) < 3 / np.sqrt(np.size(pulls))
    # with τ the factor is noisy, too: of a tenth of missed photons each count tells twice
    assert np.std(pulls) == pytest.approx(1.0 if not options else 1.13, abs=0.05)


def test_without_a_correction_the_white_line_is_too_low() -> None:
    plain = xas.sum_detectors(scan(0, factor=False))
    right = xas.sum_detectors(scan(0))
    assert "not corrected" in plain.attrs["mu_from"]
    high, low = ((right["mu"] / plain["mu"]).sel(energy=e, method="nearest") for e in (8349.0, 8200.0))
    assert float(high) > 1.05 * float(low)


def test_bad_detectors_are_named_and_left_out() -> None:
    ds = scan(0, channels=5)
    ds["detector_counts"][1] = 0
    ds["detector_counts"][3] = np.random.default_rng(0).poisson(3e4 * (1 + np.sin(ENERGY / 5) ** 2))
    with pytest.warns(UserWarning, match=r"detector\(s\) mca2, mca4 not summed"):
        out = xas.sum_detectors(ds)
    assert out.attrs["bad_detectors"].startswith("mca2: counts nothing; mca4: differs from the others by")
    assert out.attrs["mu_from"] == "sum of mca1, mca3, mca5 over i0, dead time corrected"


def test_detectors_can_be_left_out() -> None:
    out = xas.sum_detectors(scan(0), exclude=["mca1"])
    assert out.attrs["bad_detectors"] == "mca1: left out"
    with pytest.raises(ConfigError, match="there are mca1, mca2"):
        xas.sum_detectors(scan(0), exclude=["sdd1"])


def test_the_factor_is_that_of_a_paralysable_detector() -> None:
    true = np.array([0.0, 1e3, 1e5, 4e5])
    np.testing.assert_allclose(
        paralysable_factor(true * np.exp(-true * TAU), TAU), np.exp(true * TAU), rtol=1e-9
    )
    with pytest.raises(ConfigError, match=r"allows 1\.84e\+05 counts per second"):
        paralysable_factor(np.array([2e5]), TAU)


def test_what_has_no_good_detectors_is_refused() -> None:
    with pytest.raises(SchemaError, match="detector_counts"):
        xas.sum_detectors(simulate.scan(0))
    with pytest.raises(FitError, match="no good detector"):
        xas.sum_detectors(scan(0) * 0)
