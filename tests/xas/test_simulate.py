"""Simulated scans are XDI files, and what went in comes out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import beamline
import xas
from xas import simulate
from xas.simulate import State

CHARGED = State("charged", 1.5, (1.905, 0.006), (2.840, 0.0055))
BACK = State("more", 1.0, (1.914, 0.007), (2.838, 0.0065))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    states = {"BR": (State("pristine", 0.0), CHARGED, BACK)}
    return simulate.write_scans(tmp_path_factory.mktemp("xas"), states, repeats=2, seed=4).parent


@pytest.fixture(scope="module")
def truth(folder: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((folder / "truth.json").read_text())["scans"]
    return record


@pytest.fixture(scope="module")
def scans(folder: Path, truth: dict[str, Any]) -> xr.Dataset:
    read = [beamline.read(folder / f"{name}.xdi", timezone="America/Chicago") for name in truth]
    aligned = xas.align([ds for ds in read if isinstance(ds, xr.Dataset)])
    return xas.edge(xas.normalize(aligned, post=(150, 620)))


def test_a_file_is_a_scan_with_foil_and_time(folder: Path) -> None:
    ds = beamline.read(folder / "BR_charged_001.xdi", timezone="America/Chicago")
    assert isinstance(ds, xr.Dataset)
    assert {"mu", "mu_ref", "i0"} <= set(ds.variables)
    assert (ds.attrs["element"], ds.attrs["edge"], ds.attrs["reference"]) == ("Ni", "K", "Ni foil")
    assert float(ds["exposure"]) == 720.0
    assert ds["time"].values == np.datetime64("2022-06-15T14:32:00")


def test_the_noise_is_that_of_the_counts(folder: Path, truth: dict[str, Any]) -> None:
    ds = beamline.read(folder / "BR_pristine_001.xdi")
    assert isinstance(ds, xr.Dataset)
    energy = ds["energy"].values
    before = energy < 8320
    assert truth["BR_pristine_001"]["mono_offset_deg"] == 0.0
    exact = simulate.absorption(energy, shells=())
    photons = ds["i0"].values
    pull = (ds["mu"].values - exact)[before] / np.sqrt((1 + np.exp(exact)) / photons)[before]
    assert abs(pull.mean()) < 3 / np.sqrt(before.sum())
    assert pull.std() == pytest.approx(1.0, abs=3 / np.sqrt(2 * before.sum()))


def test_the_foil_sees_the_monochromator(scans: xr.Dataset, truth: dict[str, Any]) -> None:
    shifts = np.array([scan["mono_shift_eV"] for scan in truth.values()])
    assert np.ptp(shifts) > 0.1
    errors = np.hypot(scans["energy_shift_errors"].values, scans["energy_shift_errors"].values[0])
    off = scans["energy_shift"].values - shifts
    # Over the foil's 90 eV the angle is not quite a constant shift: a few meV per eV.
    assert (np.abs(off) < 4 * errors + 5e-3 * np.abs(shifts)).all()


def test_the_edge_goes_up_and_back(scans: xr.Dataset, truth: dict[str, Any]) -> None:
    shift = scans["edge_energy"].values - scans["edge_energy"].values[0]
    expected = np.array([scan["edge_shift_eV"] for scan in truth.values()])
    # The post-edge line leans on EXAFS that differs from state to state: 0.02 eV, far above the noise.
    np.testing.assert_allclose(shift, expected, atol=0.02)
    assert shift[2] > shift[4] + 0.4


def test_the_distances_come_back(folder: Path, scans: xr.Dataset, truth: dict[str, Any]) -> None:
    chi = xas.fourier(xas.exafs(scans), kmin=3, kmax=12)
    fit = xas.fit(chi, xas.feff(folder / "structure.cif", "Ni"), rmin=1.2, rmax=3.2)
    expected = [[s["distance_angstrom"]["O"], s["distance_angstrom"]["Ni"]] for s in truth.values()]
    assert (fit["status"] == "ok").all()
    np.testing.assert_allclose(fit["distance"].values, expected, atol=0.003)
    assert (np.abs(fit["distance"].values - expected) < 3 * fit["distance_errors"].values).all()


def test_chi_of_paths_is_that_of_larch(folder: Path, tmp_path: Path) -> None:
    from larch.xafs import feffpath, path2chi

    paths = xas.feff(folder / "structure.cif", "Ni")
    path = next(p for p in paths if p.atoms == ("O",))
    (tmp_path / path.name).write_text(path.text)
    k = np.arange(0.0, 12.0, 0.05)
    theirs = feffpath(str(tmp_path / path.name), s02=simulate.S02, deltar=1.92 - path.reff, sigma2=0.006)
    path2chi(theirs, k=k)
    ours = simulate.chi_of_paths(k, paths, {"O": (1.92, 0.006)})
    far = k > 4
    assert np.abs(ours - theirs.chi)[far].max() < 0.01 * np.abs(ours)[far].max()


def test_the_same_seed_gives_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    simulate.write_scans(tmp_path, {"BR": (State("pristine", 0.0), CHARGED, BACK)}, repeats=2, seed=4)
    for path in sorted(folder.iterdir()):
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()
