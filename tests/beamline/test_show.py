"""A file says in words what it holds and how it came to be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import beamline
from beamline import model, provenance
from beamline.errors import DataFileError
from beamline.show import describe, describe_json
from tests.beamline.examples import channels, experiment, images, patterns


class Ruler:
    def to_record(self) -> dict[str, Any]:
        return {"distance": 0.5, "name": "ruler", "covariance": None}


@provenance.step("test.integrate", returns="xrd.patterns")
def integrate(
    data: xr.Dataset, ruler: Ruler, bins: int, mask: Any = None, edges: Any = None, dark: Any = None
) -> xr.Dataset:
    return patterns(frames=5).drop_vars("time")


def read(tmp_path: Path, number: int = 5) -> xr.Dataset:
    files = [tmp_path / f"frame_{index:05d}.tif" for index in range(1, number + 1)]
    for file in files:
        file.write_text(file.name)
    return provenance.record_read(images(), {"flip": True}, files)


@pytest.fixture
def made(tmp_path: Path) -> Path:
    beamline.save(integrate(read(tmp_path), Ruler(), bins=20), tmp_path / "made.nc")
    return tmp_path / "made.nc"


def test_history_reads_as_steps(made: Path) -> None:
    lines = describe(made).splitlines()
    assert lines[-2:] == [
        "  1. read 5 files (frame_00001.tif ... frame_00005.tif) flip=True",
        "  2. test.integrate ruler=Ruler(distance 0.5) bins=20",
    ]


def test_what_is_inside_is_said_with_ranges_units_and_gaps(made: Path) -> None:
    ds = beamline.open(made)
    assert isinstance(ds, xr.Dataset)
    lines = describe(made).splitlines()
    assert lines[0] == f"{made}: result"
    assert lines[2] == "xrd.patterns, 5 frame × 20 two_theta"
    assert lines[3].split() == ["two_theta", "1", "...", "5", "deg", "scattering", "angle", "2θ"]
    low, high = int(ds["intensity"].min()), int(ds["intensity"].max())
    error = float(ds["intensity_errors"].median())
    expected = f"  intensity  {low} ... {high} photon  intensity, ± {error:.6g} (median), 5 missing"
    assert lines[4] == expected
    assert not any("intensity_errors" in line for line in lines)


def test_json_says_the_same(made: Path) -> None:
    summary = json.loads(json.dumps(describe_json(made), allow_nan=False))
    assert summary["is"] == "result"
    (part,) = summary["parts"]
    assert part["kind"] == "xrd.patterns"
    assert part["dims"] == {"frame": 5, "two_theta": 20}
    (axis,) = part["coordinates"]
    assert (axis["minimum"], axis["maximum"], axis["units"]) == (1.0, 5.0, "deg")
    (intensity,) = part["variables"]
    assert intensity["missing"] == 5
    assert [step["number"] for step in part["history"]] == [1, 2]
    assert len(part["history"][0]["files"]) == 5


def test_parameters_are_shortened(tmp_path: Path) -> None:
    mask = tmp_path / "mask.npy"
    mask.write_bytes(b"mask")
    result = integrate(read(tmp_path, 1), Ruler(), bins=20, mask=mask, edges=list(range(100)))
    beamline.save(result, tmp_path / "x.nc")
    text = describe(tmp_path / "x.nc")
    assert "1. read 1 file (frame_00001.tif) flip=True" in text
    assert "mask=mask.npy edges=[0, 1, 2, 3, 4, 5, 6, 7, ... 100 values]" in text


def test_steps_that_join_branches_say_of_what(tmp_path: Path) -> None:
    raw = read(tmp_path)
    first = integrate(raw, Ruler(), bins=20)
    second = integrate(raw, Ruler(), bins=10)
    beamline.save(integrate(first, Ruler(), bins=5, dark=second), tmp_path / "x.nc")
    steps = [step["text"] for step in describe_json(tmp_path / "x.nc")["parts"][0]["history"]]
    assert steps[2] == "test.integrate ruler=Ruler(distance 0.5) bins=10 (of 1)"
    assert steps[3] == "test.integrate ruler=Ruler(distance 0.5) bins=5 (of 2, 3)"


def test_part_of_a_file_of_many_frames(tmp_path: Path) -> None:
    (tmp_path / "stack.h5").write_text("stack")
    whole = provenance.merge(
        [
            provenance.record_read(images(), {}, [tmp_path / "stack.h5"], frames=f)
            for f in ((0, 64), (64, 100))
        ]
    )
    beamline.save(provenance.with_history(patterns(), whole), tmp_path / "x.nc")
    assert "1. read 1 file (stack.h5, frames 0 to 99)" in describe(tmp_path / "x.nc")


def test_tree_is_described_leaf_by_leaf_and_one_leaf_alone(tmp_path: Path) -> None:
    beamline.save(experiment(), tmp_path / "x.nc")
    text = describe(tmp_path / "x.nc")
    assert "/xrd/first: xrd.patterns, 3 frame × 20 two_theta" in text
    assert "/echem: channels, 4 time" in text
    alone = describe_json(f"{tmp_path / 'x.nc'}::/xrd/second")
    assert [part["dims"]["frame"] for part in alone["parts"]] == [1]


def test_times_labels_and_nothing(tmp_path: Path) -> None:
    ds = channels().assign(current=("time", np.full(4, np.nan), {"units": "mA", "long_name": "current"}))
    beamline.save(ds, tmp_path / "x.nc")
    lines = {line.split()[0]: line for line in describe(tmp_path / "x.nc").splitlines()[3:]}
    assert "2026-03-01T12:00:00 ... 2026-03-01T12:00:03" in lines["time"]
    assert "rest, charge" in lines["label"]
    assert "nothing mA" in lines["current"]
    assert "4 missing" in lines["current"]
    part = json.loads(json.dumps(describe_json(tmp_path / "x.nc"), allow_nan=False))["parts"][0]
    (current,) = [v for v in part["variables"] if v["name"] == "current"]
    assert current["minimum"] is None


def test_many_labels_are_counted(tmp_path: Path) -> None:
    names = [f"frame_with_a_long_name_{index:05d}.tif" for index in range(3)]
    beamline.save(patterns().assign_coords(file=("frame", names)), tmp_path / "x.nc")
    assert f"{names[0]} ... (3 different)" in describe(tmp_path / "x.nc")
    part = describe_json(tmp_path / "x.nc")["parts"][0]
    assert next(c["values"] for c in part["coordinates"] if c["name"] == "file") == names


def test_flags_of_a_mask_are_counted(tmp_path: Path) -> None:
    flags = {"flag_masks": [1, 2, 4], "flag_meanings": "hot dead edge"}
    mask = ("two_theta", np.array([1, 3, 2] + [0] * 17), flags)
    beamline.save(patterns().assign(intensity_mask=mask), tmp_path / "x.nc")
    text = describe(tmp_path / "x.nc")
    assert "2 hot, 2 dead" in text
    assert "edge" not in text
    one = ("two_theta", np.array([1] + [0] * 19), {"flag_masks": [1], "flag_meanings": "hot"})
    beamline.save(patterns().assign(intensity_mask=one), tmp_path / "x.nc")
    assert "1 hot" in describe(tmp_path / "x.nc")


def test_raw_file_is_read(tmp_path: Path) -> None:
    lines = [f"{1 + i / 10} {100 + i} {10 + i / 10}" for i in range(5)]
    (tmp_path / "x.xye").write_text("\n".join(lines) + "\n")
    text = describe(tmp_path / "x.xye")
    assert text.startswith(f"{tmp_path / 'x.xye'}: raw file")
    assert "xrd.patterns, 1 frame × 5 two_theta" in text
    assert "1. read 1 file (x.xye)" in text


def test_damaged_and_missing_files_are_named(made: Path) -> None:
    with pytest.raises(DataFileError, match=r"none\.nc: No such file"):
        describe(made.with_name("none.nc"))
    made.write_bytes(made.read_bytes()[:500])
    with pytest.raises(DataFileError, match=r"made\.nc: cannot be read as a result .*truncated"):
        describe(made)


def test_numbers_json_does_not_know_are_null(tmp_path: Path) -> None:
    ds = integrate(read(tmp_path), Ruler(), bins=20, edges=[1.0, float("inf")])
    beamline.save(ds.assign_attrs(factor=float("nan"), note="x" * 100), tmp_path / "x.nc")
    (part,) = json.loads(json.dumps(describe_json(tmp_path / "x.nc"), allow_nan=False))["parts"]
    assert part["attributes"] == {"factor": None, "note": "x" * 100}
    assert part["history"][1]["parameters"]["edges"] == [1.0, None]
    assert "edges=[1, inf]" in describe(tmp_path / "x.nc")
    assert "xxx" not in describe(tmp_path / "x.nc")


@pytest.mark.parametrize("kind", model.KINDS)
def test_every_kind_is_described(kind: str, tmp_path: Path) -> None:
    from tests.beamline.test_model import of_kind

    beamline.save(of_kind(kind), tmp_path / "x.nc")
    assert kind in describe(tmp_path / "x.nc")
    json.dumps(describe_json(tmp_path / "x.nc"), allow_nan=False)


def test_equal_steps_that_follow_each_other_are_one_line(tmp_path: Path) -> None:
    raw = tmp_path / "all.prj"
    raw.write_text("scans")
    tree = xr.DataTree.from_dict({f"/scan_{i}": patterns(seed=i).drop_attrs(deep=False) for i in range(3)})
    leaves = [node.to_dataset() for node in provenance.record_read(tree, {"element": "Ni"}, [raw]).leaves]
    steps = [step for leaf in leaves for step in provenance.history(leaf)]
    result = provenance.with_history(patterns(), [*steps, {"step": "test.align", "version": "0"}])
    beamline.save(result, tmp_path / "x.nc")
    assert describe(tmp_path / "x.nc").splitlines()[-2:] == [
        "  1-3. read 1 file (all.prj) element=Ni, 3 parts of it",
        "  4. test.align",
    ]
    assert len(describe_json(tmp_path / "x.nc")["parts"][0]["history"]) == 4
