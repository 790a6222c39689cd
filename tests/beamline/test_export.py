"""What is exported reads back as what was stored."""

from __future__ import annotations

import csv
from pathlib import Path
from urllib.parse import unquote

import h5py
import numpy as np
import pytest
import xarray as xr

import beamline
from beamline import export, export_patterns, model, provenance
from beamline.errors import ConfigError, DataFileError, SchemaError
from beamline.export import export_result
from tests.beamline.examples import channels, experiment, images, patterns


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    beamline.save(patterns(), tmp_path / "run 7.nc")
    return tmp_path / "run 7.nc"


def table(path: Path) -> tuple[list[str], dict[str, list[str]]]:
    """Return comment lines and columns of a .csv file."""
    lines = path.read_text().splitlines()
    comments = [line for line in lines if line.startswith("#")]
    titles, *rows = csv.reader(lines[len(comments) :])
    return comments, dict(zip(titles, map(list, zip(*rows, strict=True)), strict=True))


def numbers(column: list[str]) -> np.ndarray:
    return np.array([float(cell) if cell else np.nan for cell in column])


def awkward() -> xr.Dataset:
    """Patterns with numbers over many orders of magnitude."""
    ds = patterns(frames=2)
    factor = 10.0 ** np.linspace(-12, 15, 20)
    return ds.assign(
        intensity=ds["intensity"] * factor / 3.0,
        intensity_errors=ds["intensity_errors"] * factor / 7.0,
    )


def with_units(ds: xr.Dataset) -> xr.Dataset:
    for name in ("intensity", "intensity_errors"):
        ds[name].attrs = {"units": "photon", "long_name": name}
    return ds


def test_xye_holds_every_measured_point_of_every_frame(tmp_path: Path) -> None:
    ds = with_units(awkward())
    beamline.save(ds, tmp_path / "x.nc")
    paths = export_result(tmp_path / "x.nc", tmp_path / "out", "xye")
    assert [path.name for path in paths] == ["x_0000.xye", "x_0001.xye"]
    for index, path in enumerate(paths):
        columns = np.loadtxt(path, comments="'").T
        measured = np.isfinite(ds["intensity"][index].values)
        assert columns.shape == (3, 19)
        for column, name in zip(columns, ("two_theta", "intensity", "intensity_errors"), strict=True):
            values = ds[name].values if name == "two_theta" else ds[name][index].values
            np.testing.assert_allclose(column, values[measured], rtol=1e-9)


def test_xye_says_what_it_is(stored: Path, tmp_path: Path) -> None:
    ds = patterns().assign_attrs(wavelength=0.1173)
    beamline.save(ds, stored)
    path = export_result(stored, tmp_path, "xye")[1]
    comments = [line for line in path.read_text().splitlines() if line.startswith("'")]
    assert comments == [
        "' xrd.patterns, frame 1 of 3, numbered from 0",
        "' wavelength: 0.1173 angstrom",
        "' time: 2026-03-01T12:01:00.123456789 UTC",
        f"' redoxlight {beamline.__version__}, history {provenance.result_id(ds)}",
        "' empty bins left out: 1 of 20",
        "' two_theta (deg), intensity (photon), standard deviation",
    ]


def test_xye_has_no_comment_gsas_would_take_for_one_about_scattering_vectors(tmp_path: Path) -> None:
    ds = patterns().assign_coords(sequence=("frame", [1.0, 2.0, 3.0], {"units": "", "long_name": "sequence"}))
    beamline.save(ds, tmp_path / "x.nc")
    for path in export_result(tmp_path / "x.nc", tmp_path, "xye"):
        assert "q" not in path.read_text()
        assert "' se%71uence: " in path.read_text()


def test_xye_names_the_raw_file_of_its_frame(tmp_path: Path) -> None:
    names = ["BCC1_00001.tif", "Quartz 100%_seq.tif", "two\nlines.tif"]
    beamline.save(patterns().assign_coords(file=("frame", names)), tmp_path / "x.nc")
    written = [
        [line for line in path.read_text().splitlines() if line.startswith("' file: ")]
        for path in export_result(tmp_path / "x.nc", tmp_path, "xye")
    ]
    assert written == [
        ["' file: BCC1_00001.tif"],
        ["' file: Quartz 100%25_se%71.tif"],
        ["' file: two%0Alines.tif"],
    ]
    assert [unquote(line.removeprefix("' file: ")) for (line,) in written] == names


def test_xye_of_one_pattern_has_no_number(tmp_path: Path) -> None:
    for name, ds in (("one", patterns(frames=1)), ("flat", patterns().isel(frame=0))):
        beamline.save(ds, tmp_path / f"{name}.nc")
        (path,) = export_result(tmp_path / f"{name}.nc", tmp_path, "xye")
        assert path.name == f"{name}.xye"
        assert len(np.loadtxt(path, comments="'")) == 19


def test_xye_reads_back_as_patterns(stored: Path, tmp_path: Path) -> None:
    beamline.save(patterns().assign_attrs(wavelength=0.1173), stored)
    back = beamline.read(export_result(stored, tmp_path, "xye"))
    assert isinstance(back, xr.Dataset)
    measured = np.isfinite(patterns()["intensity"].values[0])
    for name in ("intensity", "intensity_errors"):
        np.testing.assert_allclose(back[name], patterns()[name].values[:, measured], rtol=1e-9)
    np.testing.assert_allclose(back["two_theta"], patterns()["two_theta"].values[measured], rtol=1e-9)
    assert back.attrs["wavelength"] == 0.1173


def test_xye_needs_errors(tmp_path: Path) -> None:
    beamline.save(patterns().drop_vars("intensity_errors"), tmp_path / "x.nc")
    with pytest.raises(
        SchemaError, match="x: intensity: has no errors, which the format needs; export it as csv"
    ):
        export_result(tmp_path / "x.nc", tmp_path, "xye")


def test_more_than_ten_thousand_frames_still_sort_by_name(tmp_path: Path) -> None:
    ds = patterns(frames=1).isel(two_theta=slice(2), frame=np.zeros(10_001, dtype=int)).drop_vars("time")
    names = [name for name, _ in export_patterns.xye("x", ds)]
    assert names[0] == "x_00000.xye"
    assert names == sorted(names)


def test_csv_of_patterns_is_one_column_per_frame_and_errors_apart(tmp_path: Path) -> None:
    ds = with_units(awkward())
    beamline.save(ds, tmp_path / "x.nc")
    paths = export_result(tmp_path / "x.nc", tmp_path, "csv")
    assert [path.name for path in paths] == ["x_intensity.csv", "x_intensity_errors.csv", "x_frame.csv"]
    for path, name in zip(paths, ("intensity", "intensity_errors"), strict=False):
        comments, columns = table(path)
        assert list(columns) == ["two_theta (deg)", f"{name}[frame 0] (photon)", f"{name}[frame 1] (photon)"]
        assert comments[0] == f"# xrd.patterns: {name}"
        assert f"history {provenance.result_id(ds)}" in comments[1]
        np.testing.assert_allclose(numbers(columns["two_theta (deg)"]), ds["two_theta"], rtol=1e-9)
        for index in range(2):
            column = numbers(columns[f"{name}[frame {index}] (photon)"])
            np.testing.assert_allclose(column, ds[name][index], rtol=1e-9)  # NaN where nothing was measured
    _, frames = table(paths[2])
    assert frames == {
        "frame": ["0", "1"],
        "time (UTC)": ["2026-03-01T12:00:00.123456789", "2026-03-01T12:01:00.123456789"],
    }


def test_csv_lists_what_else_is_known_of_an_axis(tmp_path: Path) -> None:
    q = ("two_theta", np.linspace(0.1, 0.5, 20), {"units": "1/angstrom", "long_name": "q"})
    beamline.save(patterns().assign_coords(q=q), tmp_path / "x.nc")
    export_result(tmp_path / "x.nc", tmp_path, "csv")
    assert list(table(tmp_path / "x_intensity.csv")[1])[:2] == [
        "two_theta (deg)",
        "intensity[frame 0] (photon)",
    ]
    assert list(table(tmp_path / "x_two_theta.csv")[1]) == ["two_theta (deg)", "q (1/angstrom)"]


def test_csv_of_one_pattern_is_one_table(tmp_path: Path) -> None:
    ds = patterns().isel(frame=0, drop=True)
    beamline.save(ds, tmp_path / "x.nc")
    (path,) = export_result(tmp_path / "x.nc", tmp_path, "csv")
    _, columns = table(path)
    assert list(columns) == ["two_theta (deg)", "intensity (photon)", "intensity_errors (photon)"]
    assert columns["intensity (photon)"][3] == ""


def test_csv_of_a_refinement_is_one_row_per_frame(tmp_path: Path) -> None:
    ds = xr.Dataset(
        {"a": (("frame", "phase"), [[2.87, 8.1], [2.86, 8.2]]), "rwp": ("frame", [0.05, 0.06])},
        coords={
            "phase": ["layered", 'spinel "B"'],
            "voltage": ("frame", [3.7, 4.1]),
            "label": ("frame", ["x,y", ""]),
        },
    )
    beamline.save(model.with_defaults(ds, "xrd.series"), tmp_path / "x.nc")
    (path,) = export_result(tmp_path / "x.nc", tmp_path, "csv")
    _, columns = table(path)
    assert columns == {
        "frame": ["0", "1"],
        "voltage (V)": ["3.7", "4.1"],
        "label": ["x,y", ""],
        "a[layered] (angstrom)": ["2.87", "2.86"],
        'a[spinel "B"] (angstrom)': ["8.1", "8.2"],
        "rwp": ["0.05", "0.06"],
    }


def test_csv_of_what_has_many_columns_is_a_table_of_its_own(tmp_path: Path) -> None:
    cells = xr.Dataset({"a": (("frame", "phase"), [[2.87], [2.86]])}, coords={"phase": ["layered"]})
    many = cells.assign(tick=(("frame", "reflection"), np.ones((2, 21)), {"units": "deg", "long_name": "2θ"}))
    beamline.save(model.with_defaults(many, "xrd.series"), tmp_path / "s.nc")
    names = [path.name for path in export_result(tmp_path / "s.nc", tmp_path, "csv")]
    assert names == ["s_frame.csv", "s_tick.csv"]
    assert list(table(tmp_path / "s_frame.csv")[1]) == ["frame", "a[layered] (angstrom)"]
    assert len(table(tmp_path / "s_tick.csv")[1]) == 22


def test_csv_of_channels_has_a_row_per_time(tmp_path: Path) -> None:
    beamline.save(channels(), tmp_path / "x.nc")
    (path,) = export_result(tmp_path / "x.nc", tmp_path, "csv")
    _, columns = table(path)
    assert columns["time (UTC)"][0] == "2026-03-01T12:00:00.000000000"
    assert columns["voltage (V)"] == ["3", "3.1", "", "3.3"]
    assert columns["label"] == ["rest", "charge", "charge", ""]


def test_csv_of_a_map_keeps_what_has_two_dims_and_single_numbers(tmp_path: Path) -> None:
    energies = {"excitation_energy": [530.5, 531.0], "emission_energy": [523.0, 524.0, 525.0]}
    ds = xr.Dataset(
        {"intensity": (tuple(energies), np.arange(6.0).reshape(2, 3), {"units": ""})}, coords=energies
    )
    ds = ds.assign_coords(energy_loss=ds["excitation_energy"] - ds["emission_energy"], i0=((), 5.0))
    ds["i0"].attrs["units"] = ""
    ds["gap"] = ((), 1 + 2j, {"units": "", "long_name": "a complex number"})
    beamline.save(model.with_defaults(ds, "rixs.map"), tmp_path / "x.nc")
    paths = export_result(tmp_path / "x.nc", tmp_path, "csv")
    assert {path.name for path in paths} == {"x_intensity.csv", "x_energy_loss.csv", "x_numbers.csv"}
    _, columns = table(tmp_path / "x_intensity.csv")
    assert columns["intensity[531]"] == ["3", "4", "5"]
    assert table(tmp_path / "x_energy_loss.csv")[1]["energy_loss[530.5] (eV)"] == ["7.5", "6.5", "5.5"]
    assert table(tmp_path / "x_numbers.csv")[1] == {"i0": ["5"], "gap_re": ["1"], "gap_im": ["2"]}


def test_csv_of_reflections_lists_them(tmp_path: Path) -> None:
    ds = xr.Dataset(
        {"position": (("frame", "reflection"), [[1.4, 2.8]]), "hits": (("frame",), [True])},
        coords={
            "h": ("reflection", [0, 1]),
            "k": ("reflection", [0, 0]),
            "l": ("reflection", [3, 4]),
            "phase": ("reflection", ["layered"] * 2),
        },
    )
    beamline.save(model.with_defaults(ds, "xrd.peaks"), tmp_path / "x.nc")
    export_result(tmp_path / "x.nc", tmp_path, "csv")
    _, peaks = table(tmp_path / "x_frame.csv")
    assert peaks["position[reflection 1] (deg)"] == ["2.8"]
    assert peaks["hits"] == ["1"]
    _, listed = table(tmp_path / "x_reflection.csv")
    assert listed["l"] == ["3", "4"]


def test_nxs_of_patterns_follows_nxazint1d(tmp_path: Path) -> None:
    known = {"wavelength": 0.1173, "solid_angle_corrected": 1, "polarization_corrected": 0}
    ds = patterns().assign_attrs(known)
    beamline.save(ds, tmp_path / "x.nc")
    (path,) = export_result(tmp_path / "x.nc", tmp_path, "nxs")
    assert path.name == "x.nxs"
    with h5py.File(path) as file:
        entry = file["entry"]
        assert entry.attrs["NX_class"] == "NXentry"
        assert entry["definition"].asstr()[()] == "NXazint1d"
        assert bool(entry["solid_angle_applied"][()])
        assert not bool(entry["polarization_applied"][()])
        beam = entry["instrument/monochromator"]
        assert beam["wavelength"][()] == 0.1173
        assert beam["energy"][()] == pytest.approx(105.698, abs=1e-3)
        data = entry["data"]
        assert data.attrs["signal"] == "I"
        assert list(data.attrs["axes"]) == [".", "radial_axis"]
        assert data.attrs["interpretation"] == "spectrum"
        np.testing.assert_array_equal(data["I"], ds["intensity"])
        np.testing.assert_array_equal(data["I_errors"], ds["intensity_errors"])
        np.testing.assert_array_equal(data["radial_axis"], ds["two_theta"])
        assert data["radial_axis"].attrs["units"] == "deg"
        assert data["I"].attrs["units"] == "photon"
        assert data["time"].attrs["start"] == "2026-03-01T12:00:00.123456789Z"
        np.testing.assert_array_equal(data["time"], [0.0, 60.0, 120.0])
        assert entry["reduction/history"].asstr()[()] == ds.attrs["history"]


def test_nxs_states_no_definition_it_cannot_fill(stored: Path, tmp_path: Path) -> None:
    (path,) = export_result(stored, tmp_path, "nxs")
    with h5py.File(path) as file:
        assert "definition" not in file["entry"]
        assert file["entry/data"].attrs["signal"] == "I"


def test_nxs_of_a_single_pattern_has_a_frame(tmp_path: Path) -> None:
    beamline.save(patterns().isel(frame=0), tmp_path / "x.nc")
    (path,) = export_result(tmp_path / "x.nc", tmp_path, "nxs")
    with h5py.File(path) as file:
        assert file["entry/data/I"].shape == (1, 20)
        assert list(file["entry/data"].attrs["axes"]) == [".", "radial_axis"]


def test_nxs_keeps_text_durations_and_complex_numbers(tmp_path: Path) -> None:
    ds = channels()
    ds["took"] = ("time", np.array([1, 2, "NaT", 4], "m8[s]"))
    ds["wave"] = ("time", [1j, 2.0, 3.0, 4.0], {"units": "", "long_name": "wave"})
    beamline.save(ds, tmp_path / "x.nc")
    (path,) = export_result(tmp_path / "x.nc", tmp_path, "nxs")
    with h5py.File(path) as file:
        data = file["entry/data"]
        assert data["label"].asstr()[:].tolist() == ["rest", "charge", "charge", ""]
        np.testing.assert_array_equal(data["took"], [1.0, 2.0, np.nan, 4.0])
        assert data["took"].attrs["units"] == "s"
        assert data["wave_im"][0] == 1.0
        assert data.attrs["signal"] == "voltage"


@pytest.mark.parametrize("name", ["xye", "csv", "nxs"])
def test_equal_results_give_equal_bytes(name: str, stored: Path, tmp_path: Path) -> None:
    first = export_result(stored, tmp_path / "a", name)
    second = export_result(stored, tmp_path / "b", name)
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_leaves_of_a_tree_are_named_by_their_places(tmp_path: Path) -> None:
    beamline.save(experiment(), tmp_path / "x.nc")
    names = [path.name for path in export_result(tmp_path / "x.nc", tmp_path, "nxs")]
    assert sorted(names) == ["echem.nxs", "xrd_first.nxs", "xrd_second.nxs"]
    names = [path.name for path in export_result(f"{tmp_path / 'x.nc'}::/xrd/second", tmp_path, "xye")]
    assert names == ["xrd_second.xye"]
    names = [path.name for path in export_result(f"{tmp_path / 'x.nc'}::/xrd", tmp_path, "nxs")]
    assert sorted(names) == ["xrd_first.nxs", "xrd_second.nxs"]


def test_names_never_leave_the_folder(tmp_path: Path) -> None:
    tree = xr.DataTree.from_dict({"/..hidden": patterns(frames=1), "/a b*?": patterns(frames=1)})
    beamline.save(tree, tmp_path / "x.nc")
    names = [path.name for path in export_result(tmp_path / "x.nc", tmp_path / "out", "xye")]
    assert sorted(names) == ["a_b.xye", "hidden.xye"]


def test_two_parts_of_one_name_are_refused(tmp_path: Path) -> None:
    tree = xr.DataTree.from_dict({"/a/b": patterns(frames=1), "/a_b": patterns(frames=1)})
    beamline.save(tree, tmp_path / "x.nc")
    with pytest.raises(ConfigError, match="a_b: is the name of two parts"):
        export_result(tmp_path / "x.nc", tmp_path, "xye")


def test_times_of_an_unknown_zone_are_not_called_utc(tmp_path: Path) -> None:
    noted = np.datetime64("2016-11-02T21:58:12", "ns") + np.arange(3) * np.timedelta64(1, "s")
    beamline.save(patterns().assign_coords(local_time=("frame", noted)), tmp_path / "x.nc")
    assert "\n' local_time: 2016-11-02T21:58:12.000000000\n" in (
        export_result(tmp_path / "x.nc", tmp_path, "xye")[0].read_text()
    )
    export_result(tmp_path / "x.nc", tmp_path, "csv")
    assert "local_time" in table(tmp_path / "x_frame.csv")[1]
    (path,) = export_result(tmp_path / "x.nc", tmp_path, "nxs")
    with h5py.File(path) as file:
        assert file["entry/data/local_time"].attrs["start"] == "2016-11-02T21:58:12.000000000"


def test_format_that_is_not_known(stored: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="format 'xls': is not known; one of xye, fxye, chi, csv, nxs"):
        export_result(stored, tmp_path, "xls")


def test_kind_a_format_cannot_hold(tmp_path: Path) -> None:
    beamline.save(images(), tmp_path / "x.nc")
    for name in ("xye", "csv"):
        with pytest.raises(ConfigError, match=f"format '{name}': cannot hold images; it is for"):
            export_result(tmp_path / "x.nc", tmp_path, name)


def test_missing_result(tmp_path: Path) -> None:
    with pytest.raises(DataFileError, match="No such file"):
        export_result(tmp_path / "none.nc", tmp_path, "csv")


@pytest.mark.parametrize("kind", [kind for kind in model.KINDS if kind != "images"])
def test_every_kind_is_written_by_every_format_that_says_so(kind: str, tmp_path: Path) -> None:
    from tests.beamline.test_model import of_kind

    beamline.save(of_kind(kind), tmp_path / "x.nc")
    for name, form in export.FORMATS.items():
        if kind in form.kinds and name not in ("xye", "fxye", "chi"):
            assert export_result(tmp_path / "x.nc", tmp_path, name)


def integrated(frames: int = 2) -> xr.Dataset:
    """Patterns with an empty bin inside and at either end."""
    ds = with_units(patterns(frames)).assign_attrs(wavelength=0.1173, polarization_corrected=1)
    for name in ("intensity", "intensity_errors"):
        ds[name].values[:, [0, 7, -1]] = np.nan
    return ds


@pytest.mark.parametrize("name", ["fxye", "chi"])
def test_what_refinement_programs_read_reads_back(name: str, tmp_path: Path) -> None:
    ds = integrated()
    beamline.save(ds, tmp_path / "x.nc")
    paths = export_result(tmp_path / "x.nc", tmp_path / "out", name)
    files = [path for path in paths if path.suffix == f".{name}"]
    assert [path.name for path in files] == [f"x_0000.{name}", f"x_0001.{name}"]
    for index, path in enumerate(files):
        back = beamline.read(path, kind="xrd.patterns")
        assert isinstance(back, xr.Dataset)
        expected = ds.isel(frame=index)
        expected = expected.where(np.isfinite(expected["intensity"]), drop=True)
        found = back.isel(frame=0).where(np.isfinite(back["intensity"].isel(frame=0)), drop=True)
        for column in ("two_theta", "intensity", "intensity_errors"):
            np.testing.assert_allclose(found[column], expected[column], rtol=1e-8)


def test_gsas_reads_lines_of_eighty_characters_in_centidegrees(tmp_path: Path) -> None:
    ds = integrated(1)
    beamline.save(ds, tmp_path / "x.nc")
    pattern, instrument = export_result(tmp_path / "x.nc", tmp_path / "out", "fxye")
    raw = pattern.read_bytes()
    lines = raw.split(b"\r\n")
    assert lines.pop() == b""
    assert {len(line) for line in lines} == {80}
    bank = lines[1].split()
    step = float(ds["two_theta"][1] - ds["two_theta"][0])
    assert bank[:2] == [b"BANK", b"1"]
    assert int(bank[2]) == int(bank[3]) == len(lines) - 2 == ds.sizes["two_theta"] - 2
    assert bank[4] == b"CONS"
    assert float(bank[5]) == pytest.approx(100 * float(ds["two_theta"][1]))
    assert float(bank[6]) == pytest.approx(100 * step)
    assert bank[7:] == [b"0", b"0", b"FXYE"]
    gap = lines[2 + 6].split()  # bin 7, after the first that was left out
    assert (float(gap[1]), float(gap[2])) == (0.0, 0.0)
    values = dict(line.split(":") for line in instrument.read_text().splitlines()[1:])
    assert (values["Type"], float(values["Lam"]), float(values["Polariz."])) == ("PXC", 0.1173, 1.0)


def test_polarisation_that_is_left_stands_in_the_instrument(tmp_path: Path) -> None:
    beamline.save(integrated(1).assign_attrs(polarization_corrected=0), tmp_path / "x.nc")
    _, instrument = export_result(tmp_path / "x.nc", tmp_path / "out", "fxye")
    assert "Polariz.:0.5" in instrument.read_text().splitlines()


def test_gsas_needs_even_bins(tmp_path: Path) -> None:
    ds = integrated(1)
    beamline.save(ds.assign_coords(two_theta=ds["two_theta"] ** 2), tmp_path / "x.nc")
    with pytest.raises(SchemaError, match=r"not even.*axis"):
        export_result(tmp_path / "x.nc", tmp_path / "out", "fxye")


def test_a_cake_has_the_names_of_its_definition(tmp_path: Path) -> None:
    azimuth = [-90.0, 0.0, 90.0]
    ds = integrated().drop_vars("time", errors="ignore").expand_dims(azimuth=azimuth, axis=1)
    names = ("intensity", "intensity_errors")
    ds = model.with_defaults(ds[list(names)].assign_attrs(solid_angle_corrected=1), "xrd.cakes")
    beamline.save(ds, tmp_path / "x.nc")
    (path,) = export_result(tmp_path / "x.nc", tmp_path / "out", "nxs")
    with h5py.File(path) as file:
        entry = file["entry"]
        assert entry["definition"].asstr()[()] == "NXazint2d"
        data = entry["data"]
        assert data["I"].shape == (2, 3, ds.sizes["two_theta"])
        assert list(data.attrs["axes"]) == [".", "azimuthal_axis", "radial_axis"]
        assert data.attrs["interpretation"] == "image"
        np.testing.assert_array_equal(data["azimuthal_axis"], azimuth)
