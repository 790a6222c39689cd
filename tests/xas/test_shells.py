from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import xas
from beamline import model, provenance
from beamline.errors import ConfigError, DataFileError, SchemaError
from xas.shells import shells
from xas.transforms import KSTEP

ROCK_SALT = """\
data_oxide
_cell_length_a 4.1771
_cell_length_b 4.1771
_cell_length_c 4.1771
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_space_group_name_H-M_alt 'F m -3 m'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
Ni1 Ni 0 0 0 1
O1 O 0.5 0.5 0.5 1
"""


@pytest.fixture(scope="module")
def cif(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("cif") / "oxide.cif"
    file.write_text(ROCK_SALT)
    return file


@pytest.fixture(scope="module")
def paths(cif: Path) -> xas.Paths:
    return xas.feff(cif, absorber="Ni", radius=4.5)


def modelled(paths: xas.Paths, folder: Path, noise: float = 1e-4, seed: int = 0) -> xr.Dataset:
    """Return EXAFS made of the paths with S₀² 0.9, ΔE0 2 eV, ΔR ±0.02 Å, σ² 0.006 and 0.008 Å²."""
    from larch.xafs import feffpath, path2chi

    k = KSTEP * np.arange(301)
    total = np.zeros(k.size)
    for shell, delta, sigma2 in zip(shells(paths, 3.5), (0.02, -0.02), (0.006, 0.008), strict=True):
        for path in shell.paths:
            (folder / path.name).write_text(path.text)
            made = feffpath(str(folder / path.name), s02=0.9, e0=2.0, deltar=delta, sigma2=sigma2)
            path2chi(made, k=k)
            total += made.chi
    random = np.random.default_rng(seed)
    ds = xr.Dataset(
        {"chi": ("k", total + random.normal(0, noise, k.size)), "chi_errors": ("k", np.full(k.size, noise))},
        {"k": k},
        {"element": "Ni", "edge": "K", "label": "made"},
    )
    return xas.fourier(model.with_defaults(ds, "xas.exafs"))


def test_shells_are_those_of_rock_salt(paths: xas.Paths) -> None:
    found = [(s.name, s.coordination) for s in shells(paths, 3.5)]
    assert found == [("O1", 6.0), ("Ni1", 12.0)]
    assert shells(paths, 3.5)[0].reff == pytest.approx(4.1771 / 2, abs=1e-4)
    assert shells(paths, 3.5)[1].reff == pytest.approx(4.1771 / np.sqrt(2), abs=1e-4)


def test_what_was_put_in_comes_out(paths: xas.Paths, tmp_path: Path) -> None:
    fit = xas.fit(modelled(paths, tmp_path), paths)
    reff = fit["reff"].values
    assert float(fit["amplitude"]) == pytest.approx(0.9, abs=0.01)
    assert float(fit["e0_shift"]) == pytest.approx(2.0, abs=0.1)
    np.testing.assert_allclose(fit["distance"] - reff, [0.02, -0.02], atol=1e-3)
    np.testing.assert_allclose(fit["sigma2"], [0.006, 0.008], atol=2e-4)
    assert str(fit["status"].values) == "ok"


def test_errors_follow_the_noise_where_the_model_is_right(paths: xas.Paths, tmp_path: Path) -> None:
    pulls = []
    for seed in range(30):
        fit = xas.fit(modelled(paths, tmp_path, noise=1e-3, seed=seed), paths)
        truth = np.add(fit["reff"].values, [0.02, -0.02])
        pulls.append((fit["distance"].values - truth) / fit["distance_errors"].values)
    assert np.abs(np.mean(pulls, axis=0)).max() < 3 / np.sqrt(len(pulls))
    assert np.std(pulls) == pytest.approx(1.0, abs=0.35)


def test_every_scan_is_fitted(paths: xas.Paths, tmp_path: Path) -> None:
    one = modelled(paths, tmp_path)
    two = xr.concat([one, 0.8 * one.assign(chi_errors=one.chi_errors)], "scan", combine_attrs="override")
    two = xas.fourier(two.drop_vars(["chi_r", "window"]).assign(chi_errors=two["chi_errors"]))
    fit = xas.fit(two, paths)
    np.testing.assert_allclose(fit["amplitude"], [0.9, 0.72], atol=0.01)
    model.validate(fit, "xas.exafs")


def test_the_fit_writes_down_its_structure(paths: xas.Paths, tmp_path: Path) -> None:
    step = provenance.history(xas.fit(modelled(paths, tmp_path), paths))[-1]
    record = step["parameters"]["paths"]
    assert record["absorber"] == "Ni"
    again = xas.Paths.from_record(record)
    assert [p.text for p in again] == [p.text for p in paths]


def test_too_many_shells_are_refused(paths: xas.Paths, tmp_path: Path) -> None:
    chi = modelled(paths, tmp_path)
    with pytest.raises(ConfigError, match="6 parameters for 4"):
        xas.fit(chi, paths, rmin=2.4, rmax=3.0)


def test_a_range_beyond_the_cluster_is_refused(paths: xas.Paths, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"rmax.*cluster of 4\.5"):
        xas.fit(modelled(paths, tmp_path), paths, rmax=5.0)


def test_a_shell_that_is_not_there_cannot_be_left_out(paths: xas.Paths, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"ignore: names 'O2'.*the shells are O1, Ni1"):
        xas.fit(modelled(paths, tmp_path), paths, ignore=["O2"])


def test_nothing_to_fit_is_refused(paths: xas.Paths, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no shell"):
        xas.fit(modelled(paths, tmp_path), paths, ignore=["O1", "Ni1"])


def test_untransformed_exafs_is_refused(paths: xas.Paths) -> None:
    with pytest.raises(SchemaError, match=r"call xas\.fourier"):
        xas.fit(xr.Dataset(), paths)


def test_an_absent_absorber_is_refused(cif: Path) -> None:
    with pytest.raises(ConfigError, match=r"Co is not in the structure; sites: Ni1 \(Ni\), O1 \(O\)"):
        xas.feff(cif, absorber="Co")


def test_a_shared_site_of_unlike_elements_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "mixed.cif"
    file.write_text(ROCK_SALT.replace("Ni1 Ni 0 0 0 1", "Ni1 Ni 0 0 0 0.8\nLi1 Li 0 0 0 0.2"))
    with pytest.raises(ConfigError, match="share a site but scatter differently"):
        xas.feff(file, absorber="Ni")


def test_what_is_no_cif_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "no.cif"
    file.write_text("this is no structure")
    with pytest.raises(DataFileError, match="CIF"):
        xas.feff(file, absorber="Ni")


def test_what_is_no_path_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "feff0001.dat"
    file.write_text("1 2 3\n")
    with pytest.raises(DataFileError, match="not a path of FEFF"):
        xas.Paths.from_files([file])
