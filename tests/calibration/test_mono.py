from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from beamline import model
from beamline.errors import CalibrationError
from calibration import mono
from calibration.inflections import first_inflection
from calibration.records import load_record

D = 3.1356
EDGE = 8333.0


def rise(energy: np.ndarray, edge: float = EDGE) -> np.ndarray:
    """Return a foil with two rises of like steepness; that of the first is an error function at `edge`."""
    from scipy.special import erf

    first = 0.5 * (1 + erf((energy - edge) / 3.0))
    second = 0.5 * (1 + erf((energy - edge - 13.0) / 3.5))
    return 0.2 - 2e-4 * (energy - edge) + 0.5 * first + 0.5 * second


def foil(seed: int | None = 0, noise: float = 1e-3, delta: float = 0.0, edge: float = EDGE) -> xr.Dataset:
    """Return a foil as a monochromator shows it whose angle is off by `delta` deg."""
    true = np.concatenate([np.arange(edge - 150, edge - 20, 5.0), np.arange(edge - 20, edge + 80, 0.4)])
    mu = rise(true, edge)
    if seed is not None:
        mu = mu + np.random.default_rng(seed).normal(0, noise, true.size)
    ds = xr.Dataset(
        {"mu": ("energy", mu)},
        {"energy": mono.turned(true, -delta, D)},
        {"element": "Ni", "edge": "K", "d_spacing": D},
    )
    return model.with_defaults(ds, "xas.scans")


def test_the_first_of_two_rises_is_found_through_noise() -> None:
    found = [
        first_inflection(f["energy"].values, f["mu"].values)[0] for f in (foil(s, 0.01) for s in range(60))
    ]
    assert np.abs(np.array(found) - EDGE).max() < 0.5


def test_positions_and_their_errors_are_right() -> None:
    pulls = []
    for seed in range(120):
        ds = foil(seed, 5e-3)
        position, error = first_inflection(
            ds["energy"].values, ds["mu"].values, np.full(ds["mu"].shape, 5e-3)
        )
        pulls.append((position - EDGE) / error)
    assert abs(np.mean(pulls)) < 3 / np.sqrt(len(pulls))
    assert np.std(pulls) == pytest.approx(1.0, abs=0.2)


@given(delta=st.floats(-0.01, 0.01))
@settings(deadline=None, max_examples=15)
def test_an_angle_is_found_and_taken_off(delta: float) -> None:
    scan = foil(0, 1e-4, delta)
    found = mono.calibrate(scan, "Ni", D)
    assert found.delta_theta == pytest.approx(delta, abs=5 * np.sqrt(found.covariance[0][0]))
    true = mono.turned(scan["energy"].values, delta, D)
    np.testing.assert_allclose(mono.apply(scan, found)["energy"], true, atol=0.02)


def test_an_angle_is_no_constant_shift() -> None:
    delta = float(mono.angle_of(np.array([8338.0]), D)[0] - mono.angle_of(np.array([8333.0]), D)[0])
    np.testing.assert_allclose(
        mono.turned(np.array([8333.0, 9300.0]), delta, D), [8338.0, 9306.26], atol=0.01
    )


def test_two_foils_give_the_lattice_spacing() -> None:
    true_d, delta = 3.1347, 0.003
    scans = []
    for element, edge in (("Fe", 7112.0), ("Ni", 8333.0), ("Cu", 8979.0)):
        scan = foil(1, 1e-4, 0.0, edge).assign_attrs(element=element)
        shown = mono.turned(scan["energy"].values, -delta, true_d, D)
        scans.append(scan.assign_coords(energy=("energy", shown, scan["energy"].attrs)))
    found = mono.calibrate(scans, d_spacing=D)
    errors = np.sqrt(np.diag(found.covariance))
    assert abs(found.delta_theta - delta) < 4 * errors[0]
    assert abs(found.d_spacing - true_d) < 4 * errors[1]
    assert np.corrcoef(found.covariance)[0, 1] < 0


def test_foils_that_give_no_lattice_spacing_are_refused() -> None:
    with pytest.raises(CalibrationError, match=r"too close for a lattice spacing \(8333, 8333 eV\)"):
        mono.calibrate([foil(0, 1e-4), foil(1, 1e-4)], d_spacing=D)
    # two monochromators: one is off by 1 eV one way, the other as much the other way
    scans = [foil(0, 1e-4, -0.002), foil(0, 1e-4, 0.002, 8979.0).assign_attrs(element="Cu")]
    with pytest.raises(CalibrationError, match=r"angstrom, 3.1356 is stated"):
        mono.calibrate(scans, d_spacing=D)


@pytest.mark.parametrize("given", [{"reference": np.nan}, {"largest": np.nan}, {"d_spacing": -3.0}])
def test_numbers_that_are_none_are_refused(given: dict[str, float]) -> None:
    with pytest.raises(CalibrationError):
        mono.calibrate(foil(0, 1e-4), "Ni", **{"d_spacing": D, **given})


def test_one_foil_knows_the_energy_best_at_its_edge() -> None:
    found = mono.calibrate(foil(0, 1e-4), "Ni", D, d_error=1e-3)
    at, far = found.energy_errors(np.array([EDGE, 9300.0]))
    assert at < 0.02 < far


def test_energies_come_back() -> None:
    scan = foil(0, 1e-3, 0.004)
    found = mono.calibrate(scan)
    calibrated = mono.apply(scan, found)
    np.testing.assert_allclose(found.shown(calibrated["energy"].values), scan["energy"], atol=1e-8)
    assert json.loads(calibrated.attrs["mono_calibration"])["id"] == found.id
    with pytest.raises(CalibrationError, match="calibrated already"):
        mono.apply(calibrated, found)


def test_angles_become_energies() -> None:
    found = mono.calibrate(foil(0, 1e-4, 0.004))
    energy = np.array([8000.0, 9000.0])
    np.testing.assert_allclose(found.of_angle(mono.angle_of(energy, D)), found.energy(energy))


def test_a_constant_shift_is_noted_as_one(tmp_path: object) -> None:
    scan = foil(0, 1e-3, 0.004)
    found = mono.calibrate(scan)
    out = mono.apply(xr.DataTree.from_dict({"a": scan}), found, constant=True)
    ds = out["a"].to_dataset()
    assert float(ds["energy_shift"]) == found.shift
    np.testing.assert_allclose(ds["energy"] - scan["energy"].values, found.shift)


def test_a_record_is_saved_and_loaded(tmp_path: object) -> None:
    found = mono.calibrate(foil(0))
    path = f"{tmp_path}/mono.json"
    found.save(path)
    assert load_record(path) == found


@pytest.mark.parametrize(
    ("scan", "options", "problem"),
    [
        (foil(0, edge=8345.0), {}, "12.0 eV from 8333 eV"),
        (foil(0), {"element": "Xx"}, "no K edge is known"),
        (foil(0), {"element": ["Ni", "Co"]}, "for 2 of 1 foils"),
        (foil(0).drop_attrs(), {"element": "Ni"}, "is not known"),
        (foil(0), {"channel": "mu_ref"}, "has no mu_ref"),
        (foil(0).isel(energy=slice(0, 20)), {}, "no edge measured finely enough"),
    ],
)
def test_what_is_no_foil_is_refused(scan: xr.Dataset, options: dict[str, object], problem: str) -> None:
    with pytest.raises(CalibrationError, match=problem):
        mono.calibrate(scan, **options)  # type: ignore[arg-type]


def test_energies_the_crystal_cannot_reflect_are_refused() -> None:
    with pytest.raises(CalibrationError, match="reflects nothing"):
        mono.turned(np.array([1000.0]), 0.0, D)


def test_the_command_saves_a_record(tmp_path: Path) -> None:
    from calibration.mono_cli import mono as command

    files = []
    for element, edge in (("Ni", EDGE), ("Cu", 8979.0)):
        scan = foil(1, 1e-4, 0.002, edge)
        rows = zip(scan["energy"].values, scan["mu"].values, strict=True)
        head = f"# XDI/1.0\n# Element.symbol: {element}\n# Column.1: energy eV\n# Column.2: mutrans\n# ---\n"
        files.append(tmp_path / f"{element}.xdi")
        files[-1].write_text(head + "".join(f"{e:.4f} {m:.8f}\n" for e, m in rows))
    outcome = command(files, tmp_path / "mono.json", d_spacing=D)
    assert load_record(tmp_path / "mono.json").to_record()["delta_theta"] == outcome.document["delta_theta"]
    assert outcome.text.startswith("Ni: first inflection at 833")
    assert abs(outcome.document["delta_theta"] - 0.002) < 5 * outcome.document["delta_theta_errors"]
    single = command(files[:1], tmp_path / "one.json", element=["Ni"], d_spacing=D, reference=[8331.49])
    assert single.document["foils"][0][3] == 8331.49
