from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import beamline
import xas
from beamline import config
from beamline.errors import ConfigError, DataFileError
from beamline.readers.absorption import HC
from xas import cli, simulate
from xas.measurement import TEMPLATE, XasMeasurement, recipe
from xas.technique import TECHNIQUE

from .test_shells import ROCK_SALT


def write_xdi(file: Path, ds: xr.Dataset) -> None:
    """Write a simulated scan with its foil as a beamline would."""
    head = ["# XDI/1.0", "# Column.1: energy eV", "# Column.2: mutrans", "# Column.3: murefer"]
    head += ["# Element.symbol: Ni", "# Element.edge: K", "# ---", "# energy mutrans murefer"]
    rows = zip(ds["energy"].values, ds["mu"].values, ds["mu_ref"].values, strict=True)
    file.write_text("\n".join([*head, *(f"{e:.4f} {m:.8f} {r:.8f}" for e, m, r in rows)]) + "\n")


@pytest.fixture
def beamtime(tmp_path: Path) -> Path:
    (tmp_path / "raw").mkdir()
    for number, drift in enumerate((0.0, 1.5, -2.0)):
        scan = simulate.scan(number, noise=5e-4, drift=drift)
        write_xdi(tmp_path / f"raw/ni_{number}.xdi", scan)
    (tmp_path / "oxide.cif").write_text(ROCK_SALT)
    file = tmp_path / "beamtime.toml"
    file.write_text(
        '[beamtime]\nname = "made"\ntimezone = "UTC"\n\n[xas.ni]\nfiles = ["raw/ni_*.xdi"]\nkmax = 11.0\n'
        '\n[xas.ni.fit]\ncif = "oxide.cif"\nabsorber = "Ni"\n'
    )
    return file


def run(file: Path) -> xr.DataTree:
    """Go through the steps of the recipe as a scheduler does."""
    (measurement,) = config.load(file).measurements
    assert isinstance(measurement.config, XasMeasurement)
    made = recipe(measurement.place, measurement.config, file.parent)
    parts = [beamline.read(path, **made.read) for path in made.files]
    assert made.gather is not None
    value = made.gather(parts, [path.name for path in made.files])
    for step in made.then:
        value = step(value)
    assert isinstance(value, xr.DataTree)
    return value


def test_a_measurement_goes_from_files_to_distances(beamtime: Path) -> None:
    tree = run(beamtime)
    assert sorted(tree.children) == ["exafs", "scans"]
    np.testing.assert_allclose(tree["scans"]["energy_shift"], [0, 1.5, -2.0], atol=0.02)
    assert float(np.ptp(tree["scans"]["edge_energy"].values)) < 0.03
    assert tree["exafs"]["distance"].dims == ("scan", "shell")


def test_the_result_is_saved_and_opened(beamtime: Path, tmp_path: Path) -> None:
    tree = run(beamtime)
    beamline.save(tree, tmp_path / "out.nc")
    again = beamline.open(tmp_path / "out.nc")
    assert isinstance(again, xr.DataTree)
    np.testing.assert_array_equal(again["exafs"]["chi_r"], tree["exafs"]["chi_r"])
    steps = [s["step"] for s in json.loads(again["exafs"].attrs["history"])]
    # the fit is made twice: its shells are no background
    twice = ["xas.exafs", "xas.fourier", "xas.fit"] * 2
    assert steps[-9:] == ["xas.align", "xas.normalize", "xas.edge", *twice]


def test_xanes_alone_is_one_dataset(beamtime: Path) -> None:
    text = beamtime.read_text().split("[xas.ni.fit]")[0]
    beamtime.write_text(text + "exafs = false\n")
    (measurement,) = config.load(beamtime).measurements
    assert isinstance(measurement.config, XasMeasurement)
    made = recipe(measurement.place, measurement.config, beamtime.parent)
    assert [step.function.__name__ for step in made.then] == ["align", "normalize", "edge"]


def test_a_fit_without_exafs_is_refused(beamtime: Path) -> None:
    beamtime.write_text(beamtime.read_text().replace("kmax = 11.0", "exafs = false"))
    with pytest.raises(ConfigError, match="exafs = false"):
        config.load(beamtime)


def test_kmin_above_kmax_is_refused(beamtime: Path) -> None:
    beamtime.write_text(beamtime.read_text().replace("kmax = 11.0", "kmin = 11.0\nkmax = 3.0"))
    with pytest.raises(ConfigError, match="kmin must be smaller"):
        config.load(beamtime)


def test_the_template_is_right(tmp_path: Path) -> None:
    (tmp_path / "structure.cif").write_text(ROCK_SALT)
    (tmp_path / "mono.json").write_text("{}")
    everything = "\n".join(line.removeprefix("# ") for line in TEMPLATE.splitlines())
    everything = everything.replace("exafs = false", "exafs = true")
    file = tmp_path / "beamtime.toml"
    for text in (TEMPLATE, everything):
        file.write_text(f'[beamtime]\nname = "x"\ntimezone = "UTC"\n\n{text}')
        assert len(config.load(file).measurements) == 1


def test_what_the_technique_names_exists() -> None:
    from beamline.techniques import resolve

    parts = (TECHNIQUE.measurement, TECHNIQUE.recipe, TECHNIQUE.template)
    for target in (*parts, *TECHNIQUE.figures.values(), *TECHNIQUE.commands.values()):
        assert resolve(target) is not None


def test_the_commands_reduce_and_fit(beamtime: Path, tmp_path: Path) -> None:
    files = sorted((tmp_path / "raw").iterdir())
    out = tmp_path / "out.nc"
    outcome = cli.reduce(files, out, kmax=11.0)
    reduced = outcome.document
    for n in range(3):
        row = outcome.text.splitlines()[1 + n]
        assert row.startswith(f"ni_{n}")
        assert f"{reduced['edge_energy'][n]:.3f} ± " in row
        assert f"{reduced['edge_step'][n]:.5f} ± " in row
    assert reduced["scans"] == ["ni_0", "ni_1", "ni_2"]
    assert json.dumps(reduced)
    outcome = cli.fit(out, tmp_path / "oxide.cif", "Ni")
    fitted = outcome.document
    row = outcome.text.splitlines()[2]
    assert row.split()[:2] == ["ni_0", "Ni1"]
    assert f"{fitted['distance'][0][1]:.4f} ± " in row
    assert fitted["status"][0] in row
    assert fitted["shells"] == ["O1", "Ni1"]
    assert json.dumps(fitted)
    assert "distance" in beamline.open(out)["exafs"]


def test_valences_by_command_and_by_table(beamtime: Path, tmp_path: Path) -> None:
    for number, higher in enumerate((0.0, 1.5, 3.0)):
        scan = simulate.scan(number, noise=5e-4)
        edge = simulate.absorption(scan["energy"].values, 8345 + higher)
        scan["mu"] = scan["mu"] - simulate.absorption(scan["energy"].values) + edge
        write_xdi(tmp_path / f"raw/ni_{number}.xdi", scan)
    files = sorted((tmp_path / "raw").iterdir())
    out = tmp_path / "out.nc"
    outcome = cli.reduce(files, out, exafs=False, standard=["ni_0=2", "ni_2=4"])
    found = outcome.document["valence"]
    np.testing.assert_allclose(found, [2, 3, 4], atol=0.06)
    assert outcome.text.splitlines()[0].endswith("valence")
    assert f"{found[1]:.3f} ± " in outcome.text.splitlines()[2]
    text = beamtime.read_text().split("[xas.ni.fit]")[0]
    beamtime.write_text(text + "standards = { ni_0 = 2.0, ni_2 = 4.0 }\n")
    np.testing.assert_array_equal(run(beamtime)["scans"]["valence"], found)
    opened = beamline.open(out)
    assert isinstance(opened, xr.Dataset)
    again = beamline.replay(opened, search=[tmp_path / "raw"])
    assert isinstance(again.result, xr.Dataset)
    np.testing.assert_array_equal(again.result["valence"], found)
    for wrong in ("ni_0", "=2", "ni_0=two", "ni_0=nan"):
        with pytest.raises(ConfigError, match="--standard: has '"):
            cli.reduce(files, out, exafs=False, standard=[wrong, "ni_2=4"])


def test_where_all_scans_fail_the_command_says_why(
    beamtime: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from beamline.cli import main

    file = str(tmp_path / "raw/ni_0.xdi")
    assert main(["xas", file, "-o", str(tmp_path / "out.nc"), "--e0", "9990"]) == 1
    assert "ni_0: failed: E0 = 9990.0 eV leaves no room" in capsys.readouterr().err


def test_the_command_names_the_scans_that_failed(
    beamtime: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from beamline.cli import main

    good = sorted((tmp_path / "raw").iterdir())[:2]
    flat = simulate.scan(3, noise=5e-4)
    random = np.random.default_rng(0)
    flat["mu"] = ("energy", 0.5 + random.normal(0, 1e-3, flat.sizes["energy"]), flat["mu"].attrs)
    bad = tmp_path / "aborted.xdi"
    write_xdi(bad, flat)
    out = tmp_path / "out.nc"
    files = [str(file) for file in (*good, bad)]
    # its foil is fine, so that it is aligned; its sample has no edge
    assert main(["xas", *files, "-o", str(out), "--kmax", "11"]) == 1
    told = capsys.readouterr()
    assert "aborted: failed: " in told.err
    assert "no edge" in told.out or "falls across" in told.out or "eV from the Ni K edge" in told.out
    result = beamline.open(out)
    assert [str(text).partition(":")[0] for text in result["scans"]["status"].values] == [
        "ok",
        "ok",
        "failed",
    ]
    assert np.isfinite(result["exafs"]["chi_r"][:2]).all()
    assert np.isnan(result["exafs"]["chi_r"][2]).all()


def test_the_numbers_of_a_failed_fit_are_null() -> None:
    assert cli._without_nan([[1.0, float("nan")], []]) == [[1.0, None], []]


def test_the_command_takes_what_readers_and_normalisation_need(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from beamline.cli import main

    ds = simulate.scan(0, noise=5e-4)
    angle = np.rad2deg(np.arcsin(HC / (2 * 3.1356 * ds["energy"].values)))
    rows = zip(angle, np.exp(-ds["mu"].values), strict=True)
    file = tmp_path / "one.dat"
    file.write_text("no names here at all\n" + "".join(f"{a:.7f} 1.0 {t:.8f}\n" for a, t in rows))
    # one scan: nothing to align, no foil needed
    options = ["--columns", "angle,i0,it", "--d-spacing", "3.1356", "--mode", "transmission", "--no-exafs"]
    ranges = ["--pre", "-150", "-40", "--post", "100", "600"]
    assert main(["xas", str(file), "-o", str(tmp_path / "o.nc"), *options, *ranges, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    saved = beamline.open(tmp_path / "o.nc")
    assert json.loads(saved.attrs["normalization"])["pre"] == [-150.0, -40.0]
    assert json.loads(saved.attrs["normalization"])["post"] == [100.0, 600.0]
    assert told["edge_step"] == saved["edge_step"].values.tolist()
    expected = xas.normalize(ds, pre=(-150, -40), post=(100, 600))
    assert told["edge_step"][0] == pytest.approx(float(expected["edge_step"]), rel=1e-3)


def test_a_result_without_exafs_is_not_fitted(beamtime: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.nc"
    cli.reduce(sorted((tmp_path / "raw").iterdir()), out, exafs=False)
    with pytest.raises(DataFileError, match="holds no EXAFS"):
        cli.fit(out, tmp_path / "oxide.cif", "Ni")


def test_public_names_are_there() -> None:
    for name in xas.__all__:
        assert getattr(xas, name) is not None


def test_a_beamtime_is_processed(beamtime: Path, tmp_path: Path) -> None:
    report = beamline.process(beamtime)
    assert not report.failed
    (result,) = tmp_path.glob("processed/*.nc")
    opened = beamline.open(result)
    assert opened["xas/ni/exafs"]["distance"].sizes == {"scan": 3, "shell": 2}
