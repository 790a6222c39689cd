"""What is saved comes back, up to the stated normalisation."""

from __future__ import annotations

import datetime
import json
import threading
from pathlib import Path
from typing import Any

import h5py
import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import beamline
from beamline import model, provenance
from beamline.errors import DataFileError, SchemaError
from beamline.plain import plain_attributes
from tests.beamline.examples import channels, experiment, images, patterns

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
NUMBERS = st.integers(-(2**63), 2**63 - 1) | st.floats()
ATTRIBUTE = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
NAMES = TEXT.map(lambda text: "a " + text.replace("/", ""))
ATTRIBUTES = st.dictionaries(NAMES, ATTRIBUTE, max_size=4)
DTYPES = (
    hnp.boolean_dtypes()
    | hnp.integer_dtypes()
    | hnp.unsigned_integer_dtypes()
    | hnp.floating_dtypes(sizes=(16, 32, 64))
    | hnp.complex_number_dtypes()
    | hnp.datetime64_dtypes(max_period="ns", min_period="ns")
    | hnp.timedelta64_dtypes(max_period="ns", min_period="ns")
    | st.just(np.dtype("O"))
)
SIZES = {"frame": 3, "two_theta": 20, "some": 2, "none": 0}


@st.composite
def arrays(draw: st.DrawFn) -> xr.Variable:
    dims = draw(st.lists(st.sampled_from(sorted(SIZES)), max_size=2, unique=True))
    dtype = draw(DTYPES)
    shape = tuple(SIZES[dim] for dim in dims)
    elements = TEXT if dtype.kind == "O" else None
    values = draw(hnp.arrays(dtype, shape, elements=elements, fill=st.nothing()))
    attrs = draw(ATTRIBUTES)
    if dtype.kind not in "MmO":
        attrs |= {"units": "", "long_name": "any"}
    return xr.Variable(dims, values.astype(str) if dtype.kind == "O" else values, attrs)


@st.composite
def datasets(draw: st.DrawFn) -> xr.Dataset:
    ds = patterns()
    for index, variable in enumerate(draw(st.lists(arrays(), max_size=3))):
        name = f"extra{index}"
        ds = ds.assign_coords({name: variable}) if draw(st.booleans()) else ds.assign({name: variable})
    return ds.assign_attrs(draw(ATTRIBUTES))


def normalised(ds: xr.Dataset) -> xr.Dataset:
    ds = ds.copy()
    ds.attrs = plain_attributes(ds.attrs)
    for variable in ds.variables.values():
        variable.attrs = plain_attributes(variable.attrs)
    return ds


@given(ds=datasets())
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_dataset_comes_back(ds: xr.Dataset, tmp_path: Path) -> None:
    beamline.save(ds, tmp_path / "x.nc")
    back = beamline.open(tmp_path / "x.nc")
    expected = normalised(ds)
    xr.testing.assert_identical(back, expected)
    assert isinstance(back, xr.Dataset)
    for name, variable in expected.variables.items():
        if variable.dtype.kind != "U":
            assert back[name].dtype == variable.dtype.newbyteorder("=")
    beamline.save(back, tmp_path / "y.nc")
    xr.testing.assert_identical(beamline.open(tmp_path / "y.nc"), expected)


@given(attrs=ATTRIBUTES)
@settings(deadline=None)
def test_normalising_twice_changes_nothing(attrs: dict[str, Any]) -> None:
    plain = plain_attributes(attrs)
    again = plain_attributes(plain)
    assert repr(again) == repr(plain)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (True, 1),
        (np.False_, 0),
        (np.float32(0.5), 0.5),
        (np.int8(-3), -3),
        (["a", "b"], ["a", "b"]),
        (["a"], "a"),
        ([1, 2], [1, 2]),
        ([7], 7),
        ([1, 2.5], [1.0, 2.5]),
        ([True, False], [1, 0]),
        (np.array([1.0, 2.0]), [1.0, 2.0]),
        ([], "[]"),
        (["a", 1], '["a", 1]'),
        ([None, True], "[null, true]"),
        ({"b": 1, "a": [True, None]}, '{"b": 1, "a": [true, null]}'),
        (2**63, str(2**63)),
        (Path("a") / "b", "a/b"),
        (np.datetime64("2026-03-01", "D"), "2026-03-01"),
        (datetime.date(2026, 3, 1), "2026-03-01"),
        ("", ""),
    ],
)
def test_attribute_comes_back_as_documented(value: Any, expected: Any, tmp_path: Path) -> None:
    beamline.save(patterns().assign_attrs(x=value), tmp_path / "x.nc")
    back = beamline.open(tmp_path / "x.nc").attrs["x"]
    assert back == expected
    assert type(back) is type(expected)


def test_an_attribute_of_none_is_dropped(tmp_path: Path) -> None:
    beamline.save(patterns().assign_attrs(x=None), tmp_path / "x.nc")
    assert "x" not in beamline.open(tmp_path / "x.nc").attrs


@pytest.mark.parametrize("size", [70_000, 2_000_000])
def test_long_history_comes_back(size: int, tmp_path: Path) -> None:
    steps = [{"step": "test", "version": "0", "parameters": {"text": "ä" * size}}]
    ds = provenance.with_history(patterns(), steps)
    beamline.save(ds, tmp_path / "x.nc")
    assert beamline.open(tmp_path / "x.nc").attrs["history"] == ds.attrs["history"]


def test_long_list_of_numbers_comes_back_as_json(tmp_path: Path) -> None:
    beamline.save(patterns().assign_attrs(x=list(range(20_000))), tmp_path / "x.nc")
    assert json.loads(beamline.open(tmp_path / "x.nc").attrs["x"]) == list(range(20_000))


def test_times_are_exact_with_gaps(tmp_path: Path) -> None:
    ds = patterns()
    ds["seen"] = ("frame", np.array(["1700-01-01T00:00:00.000000001", "NaT", "2262-01-01"], "M8[ns]"))
    ds["took"] = ("frame", np.array([1, "NaT", -(2**62)], "m8[ns]"))
    beamline.save(ds, tmp_path / "x.nc")
    xr.testing.assert_identical(beamline.open(tmp_path / "x.nc"), ds)


def test_coarser_times_become_ns(tmp_path: Path) -> None:
    ds = patterns()
    ds["seen"] = ("frame", np.array(["2026-03-01", "NaT", "1999-12-31"], "M8[s]"))
    beamline.save(ds, tmp_path / "x.nc")
    back = beamline.open(tmp_path / "x.nc")["seen"]
    assert back.dtype == "M8[ns]"
    np.testing.assert_array_equal(back.values, ds["seen"].values)


def test_text_may_be_objects(tmp_path: Path) -> None:
    ds = patterns().assign_coords(label=("frame", np.array(["", "β phase", "x"], dtype=object)))
    beamline.save(ds, tmp_path / "x.nc")
    assert beamline.open(tmp_path / "x.nc")["label"].values.tolist() == ["", "β phase", "x"]


def test_complex_is_two_real_variables_in_the_file(tmp_path: Path) -> None:
    ds = patterns()
    ds["chi_r"] = ("two_theta", np.full(20, 1 - 2j), {"units": "", "long_name": "transform"})
    ds["chi_r"][0] = complex(np.nan, np.inf)
    beamline.save(ds, tmp_path / "x.nc")
    xr.testing.assert_identical(beamline.open(tmp_path / "x.nc"), ds)
    with xr.open_dataset(tmp_path / "x.nc", engine="h5netcdf") as plain:
        assert plain["chi_r_re"][1] == 1
        assert plain["chi_r_im"][1] == -2


def test_integer_images_are_compressed_and_floats_are_not(tmp_path: Path) -> None:
    beamline.save(images(), tmp_path / "images.nc")
    beamline.save(patterns(), tmp_path / "patterns.nc")
    with h5py.File(tmp_path / "images.nc") as file:
        counts = file["counts"]
        assert (counts.compression, counts.shuffle, counts.chunks) == ("gzip", True, (1, 40, 50))
        np.testing.assert_array_equal(counts[()], images()["counts"])
    with h5py.File(tmp_path / "patterns.nc") as file:
        assert file["intensity"].compression is None


def test_how_data_were_stored_before_does_not_matter(tmp_path: Path) -> None:
    ds = patterns()
    ds["intensity"].encoding = {"dtype": "int16", "scale_factor": 10.0, "_FillValue": -1}
    ds.encoding = {"unlimited_dims": {"frame"}}
    beamline.save(ds, tmp_path / "x.nc")
    xr.testing.assert_identical(beamline.open(tmp_path / "x.nc"), patterns())


def test_equal_results_are_equal_bytes(tmp_path: Path) -> None:
    for name in ("x.nc", "y.nc"):
        beamline.save(patterns(), tmp_path / name)
        beamline.save(experiment(), tmp_path / f"tree_{name}")
    assert (tmp_path / "x.nc").read_bytes() == (tmp_path / "y.nc").read_bytes()
    assert (tmp_path / "tree_x.nc").read_bytes() == (tmp_path / "tree_y.nc").read_bytes()


def test_tree_comes_back(tmp_path: Path) -> None:
    beamline.save(experiment(), tmp_path / "x.nc")
    back = beamline.open(tmp_path / "x.nc")
    assert isinstance(back, xr.DataTree)
    xr.testing.assert_identical(back, experiment())


def test_one_leaf_and_one_branch_of_a_tree(tmp_path: Path) -> None:
    beamline.save(experiment(), tmp_path / "x.nc")
    leaf = beamline.open(f"{tmp_path / 'x.nc'}::/xrd/second")
    xr.testing.assert_identical(leaf, patterns(frames=1, seed=1))
    branch = beamline.open(f"{tmp_path / 'x.nc'}::xrd")
    assert isinstance(branch, xr.DataTree)
    assert list(branch.children) == ["first", "second"]


def test_tree_with_a_complex_leaf(tmp_path: Path) -> None:
    ds = patterns()
    ds["wave"] = ("two_theta", np.full(20, 1j), {"units": "", "long_name": "wave"})
    beamline.save(xr.DataTree.from_dict({"/a": ds}), tmp_path / "x.nc")
    xr.testing.assert_identical(beamline.open(f"{tmp_path / 'x.nc'}::/a"), ds)


def test_variables_above_the_leaves_are_refused(tmp_path: Path) -> None:
    tree = xr.DataTree.from_dict({"/": patterns()[["two_theta"]], "/a": patterns()})
    with pytest.raises(SchemaError, match="above the leaves"):
        beamline.save(tree, tmp_path / "x.nc")


def test_tree_of_a_single_node_is_its_dataset(tmp_path: Path) -> None:
    beamline.save(xr.DataTree(patterns()), tmp_path / "x.nc")
    xr.testing.assert_identical(beamline.open(tmp_path / "x.nc"), patterns())


def test_plain_xarray_opens_both(tmp_path: Path) -> None:
    beamline.save(patterns(), tmp_path / "x.nc")
    with xr.open_dataset(tmp_path / "x.nc", engine="h5netcdf") as ds:
        xr.testing.assert_equal(ds, patterns())
    beamline.save(experiment(), tmp_path / "tree.nc")
    with xr.open_datatree(tmp_path / "tree.nc", engine="h5netcdf") as tree:
        xr.testing.assert_equal(tree["xrd/first"].to_dataset(), patterns())


def test_opened_file_is_neither_locked_nor_kept_open(tmp_path: Path) -> None:
    beamline.save(patterns(), tmp_path / "x.nc")
    result = beamline.open(tmp_path / "x.nc")
    with h5py.File(tmp_path / "x.nc", "r+"):  # a writer's lock would clash with a reader's
        pass
    (tmp_path / "x.nc").unlink()
    assert float(result["intensity"][0, 0]) > 0


@pytest.mark.parametrize("mode", ["r", "r+"])
def test_a_file_that_is_open_and_locked_elsewhere_can_be_read_and_replaced(mode: str, tmp_path: Path) -> None:
    beamline.save(patterns(), tmp_path / "x.nc")
    with h5py.File(tmp_path / "x.nc", mode, locking=True):
        assert beamline.open(tmp_path / "x.nc").sizes["frame"] == 3
        beamline.save(patterns(frames=4), tmp_path / "x.nc")
        assert beamline.open(tmp_path / "x.nc").sizes["frame"] == 4


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda ds: ds.drop_vars("intensity"), "'intensity' is missing"),
        (lambda ds: ds.drop_attrs(deep=False), "kind"),
        (lambda ds: ds.assign_attrs(scale_factor=2.0), "attribute 'scale_factor': has a meaning"),
        (lambda ds: ds.assign_attrs(x=1j), "attribute 'x': cannot be stored"),
        (lambda ds: ds.assign_attrs(x="a\0b"), "NUL"),
        (lambda ds: ds.assign_attrs({"a/b": 1}), "attribute 'a/b'"),
        (lambda ds: ds.assign(x=("frame", [b"a", b"b", b"c"])), "variable 'x'"),
        (lambda ds: ds.assign(x=("frame", np.array(["a", None, 1], object))), "other than text"),
        (lambda ds: ds.assign(x=("frame", ["a", "b\0c", ""])), "NUL"),
        (lambda ds: ds.assign(x=("frame", ["a", "\ud800", ""])), "not Unicode"),
        (lambda ds: ds.assign({"two words": ("frame", ["a", "b", "c"])}), "two words"),
        (lambda ds: ds.assign(x=("frame", np.array(["9999-01-01"] * 3, "M8[s]"))), "do not fit into ns"),
        (lambda ds: ds.assign(x=((), 1j, UNIT), x_re=((), 1.0, UNIT)), "'x_re' exists too"),
    ],
)
def test_what_a_file_cannot_keep_is_refused(change: Any, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match=sentence):
        beamline.save(change(patterns()), tmp_path / "x.nc")
    assert not (tmp_path / "x.nc").exists()


UNIT = {"units": "", "long_name": "any"}


def test_error_in_a_tree_names_the_leaf(tmp_path: Path) -> None:
    tree = xr.DataTree.from_dict({"/a": patterns(), "/b": patterns().drop_vars("intensity")})
    with pytest.raises(SchemaError, match=r"/b: .*'intensity' is missing"):
        beamline.save(tree, tmp_path / "x.nc")


def test_missing_file_and_missing_group(tmp_path: Path) -> None:
    with pytest.raises(DataFileError, match=r"none\.nc: No such file"):
        beamline.open(tmp_path / "none.nc")
    beamline.save(experiment(), tmp_path / "x.nc")
    for group in ("/xrd/third", "/xrd/first/intensity"):
        with pytest.raises(DataFileError, match="its groups: /echem, /xrd/first, /xrd/second"):
            beamline.open(f"{tmp_path / 'x.nc'}::{group}")


def test_a_colon_pair_in_a_name_of_a_file_is_no_group(tmp_path: Path) -> None:
    beamline.save(patterns(), tmp_path / "a::b.nc")
    assert beamline.open(tmp_path / "a::b.nc").sizes["frame"] == 3


def test_what_is_no_result_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.nc").write_text("not HDF5")
    (tmp_path / "empty.nc").touch()
    with h5py.File(tmp_path / "foreign.nc", "w") as file:
        file["entry/data"] = np.arange(3.0)
    xr.Dataset({"x": 1.0}).to_netcdf(tmp_path / "plain.nc", engine="h5netcdf")
    for name in ("text.nc", "empty.nc", "foreign.nc", "plain.nc"):
        with pytest.raises(DataFileError, match=rf"{name}: .*beamline\.read"):
            beamline.open(tmp_path / name)


def test_result_of_a_kind_to_come_is_named(tmp_path: Path) -> None:
    xr.Dataset({"x": 1.0}, attrs={"kind": "xrd.future"}).to_netcdf(tmp_path / "x.nc", engine="h5netcdf")
    with pytest.raises(DataFileError, match=r"unknown kind 'xrd\.future'"):
        beamline.open(tmp_path / "x.nc")


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9, 0.999])
def test_truncated_result_is_refused(part: float, tmp_path: Path) -> None:
    beamline.save(patterns(), tmp_path / "x.nc")
    whole = (tmp_path / "x.nc").read_bytes()
    (tmp_path / "x.nc").write_bytes(whole[: int(len(whole) * part)])
    with pytest.raises(DataFileError, match=r"x\.nc: cannot be read"):
        beamline.open(tmp_path / "x.nc")


def test_every_kind_of_the_examples_is_valid() -> None:
    for ds in (patterns(), images(), channels()):
        model.validate(ds, model.kind_of(ds))


def test_many_threads_save_to_one_folder_and_one_file(tmp_path: Path) -> None:
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for _ in range(5):
                beamline.save(patterns(seed=number), tmp_path / "same.nc")
                beamline.save(patterns(seed=number), tmp_path / f"{number}.nc")
                beamline.open(tmp_path / "same.nc")
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    for number in range(4):
        xr.testing.assert_identical(beamline.open(tmp_path / f"{number}.nc"), patterns(seed=number))
    last = beamline.open(tmp_path / "same.nc")
    assert any(last.identical(patterns(seed=number)) for number in range(4))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["0.nc", "1.nc", "2.nc", "3.nc", "same.nc"]
