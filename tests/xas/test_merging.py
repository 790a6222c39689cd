from __future__ import annotations

import warnings

import numpy as np
import pytest
import xarray as xr

import xas
from beamline.errors import JoinError, SchemaError
from xas import simulate

LEVELS = (1e-3, 2e-3, 1e-3, 3e-3)


def stack(seed: int, white_line: tuple[float, ...] = (0.6,) * 4, **options: float) -> xr.Dataset:
    """Return four aligned repeats of different noise."""
    return xas.align(
        [
            simulate.scan(1000 * seed + n, level, label=f"a_{n:03d}", white_line=white, **options)
            for n, (level, white) in enumerate(zip(LEVELS, white_line, strict=True))
        ],
        reference=None,
    )


def test_the_mean_its_error_and_the_agreement_are_right() -> None:
    truth = simulate.scan(0, noise=1e-12)["mu"].values
    pulls, chi2, p = [], [], []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of 40 series one may change by chance
        for seed in range(40):
            out = xas.merge(stack(seed))
            pulls.append((out["mu"][0] - truth) / out["mu_errors"][0])
            chi2.append(float(out["agreement_chi2"][0]))
            p.append(float(out["dose_p_value"][0]))
    assert np.std(pulls) == pytest.approx(1.0, abs=0.04)
    assert np.mean(chi2) == pytest.approx(1.0, abs=0.08)
    assert abs(np.mean(p) - 0.5) < 3 * np.sqrt(1 / 12 / 40)


def test_the_quiet_scans_weigh_more() -> None:
    out = xas.merge(stack(1))
    best = 1 / np.sqrt(np.sum(1 / np.square(LEVELS)))
    assert float(out["mu_errors"].sel(energy=slice(8450, None)).median()) == pytest.approx(best, rel=0.1)


def test_repeats_of_each_state_are_merged() -> None:
    labels = ["x_001", "y_001", "x_002", "y_002"]
    scans = stack(0).assign_coords(label=("scan", labels), voltage=("scan", [4.0, 4.5, 4.1, 4.5]))
    out = xas.merge(scans, by="_[0-9]+$")
    assert out["label"].values.tolist() == ["x", "y"]
    assert out["repeats"].values.tolist() == [2, 2]
    assert out["voltage"].values.tolist() == [4.05, 4.5]
    assert out.attrs["merged"] == "x: x_001, x_002; y: y_001, y_002"
    listed = xas.merge(scans, by=["x", "y", "x", "y"])
    np.testing.assert_array_equal(listed["mu"], out["mu"])
    assert "edge_energy" in xas.edge(xas.normalize(out))


def test_thickness_is_no_disagreement() -> None:
    scans = stack(0)
    scans["mu"] = scans["mu"] * xr.DataArray([1.0, 1.1, 0.9, 1.2], dims="scan") + 0.1
    assert float(xas.merge(scans)["agreement_chi2"][0]) < 2.0


def test_a_scan_that_stands_out_is_named_and_errors_grow() -> None:
    scans = stack(0)
    other = simulate.absorption(scans["energy"].values, white_line=0.9)
    scans["mu"][1] = other + np.random.default_rng(0).normal(0, 2e-3, other.size)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        out = xas.merge(scans)
    assert any("a_001 differs from the other repeats" in str(w.message) for w in told)
    assert float(out["agreement_chi2"][0]) > 3
    quiet = xas.merge(stack(0))
    assert float(out["mu_errors"].mean()) > 1.5 * float(quiet["mu_errors"].mean())


def test_a_change_with_dose_is_found_before_the_mean() -> None:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        out = xas.merge(stack(0, white_line=(0.6, 0.59, 0.58, 0.57)))
    assert any(str(w.message).startswith("merged: its repeats change with dose (p = ") for w in told)
    assert float(out["dose_p_value"][0]) < 1e-3
    # of 0.024 of an edge of 1.24 some is taken for thickness and background
    assert 0.5 < float(out["dose_change"][0]) / (0.024 / 1.24) < 1.0


def test_a_scan_that_failed_takes_no_part_and_a_partial_one_where_it_is() -> None:
    scans = stack(0)
    scans["mu"][1], scans["mu_errors"][1] = np.nan, np.nan
    far = scans["energy"] > 8500
    scans["mu"] = scans["mu"].where(~(far & (scans["mu"]["scan"] == 2)))
    scans["mu_errors"] = scans["mu_errors"].where(scans["mu"].notnull())
    out = xas.merge(scans)
    assert int(out["repeats"][0]) == 3
    assert np.isfinite(out["mu"]).all()
    near, beyond = (
        out["mu_errors"].sel(energy=part).mean() for part in (slice(8450, 8500), slice(8501, None))
    )
    assert float(beyond) > 1.3 * float(near)


def test_the_middle_of_the_times_is_kept() -> None:
    times = np.array(
        ["2024-01-01T00:00", "2024-01-01T00:10", "2024-01-01T00:20", "2024-01-01T00:30"], "M8[ns]"
    )
    out = xas.merge(stack(0).assign_coords(time=("scan", times), exposure=("scan", [60.0] * 4)))
    assert out["time"].values[0] == np.datetime64("2024-01-01T00:15", "ns")
    assert float(out["exposure"][0]) == 240.0


def test_what_cannot_be_merged_is_refused() -> None:
    with pytest.raises(SchemaError, match=r"xas\.align"):
        xas.merge(simulate.scan(0))
    with pytest.raises(JoinError, match="regular expression"):
        xas.merge(stack(0), by="(")
    with pytest.raises(JoinError, match=r"in none of the labels \(a_000"):
        xas.merge(stack(0), by="#[0-9]+$")
    with pytest.raises(JoinError, match="2 scans, there are 4"):
        xas.merge(stack(0), by=["a", "b"])
    nothing = stack(0)
    nothing["mu"] = nothing["mu"] * np.nan
    with pytest.raises(JoinError, match="no scan that could be aligned"):
        xas.merge(nothing)


def test_a_partial_scan_of_another_thickness_makes_no_step() -> None:
    scans = stack(0)
    scans["mu"][0] = 1.3 * scans["mu"][0] + 0.2
    scans["mu"] = scans["mu"].where(~((scans["energy"] > 8500) & (scans["mu"]["scan"] == 0)))
    scans["mu_errors"] = scans["mu_errors"].where(scans["mu"].notnull())
    out = xas.merge(scans)
    off = out["mu"][0] - simulate.absorption(scans["energy"].values)
    before, after = off.sel(energy=slice(8450, 8500)).mean(), off.sel(energy=slice(8500, 8550)).mean()
    assert abs(float(before - after)) < 1e-3
