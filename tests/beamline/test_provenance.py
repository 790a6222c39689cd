"""A history says how a number came to be: the same work gives the same bytes."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from beamline import provenance
from beamline.errors import DataFileError, SchemaError
from tests.beamline.examples import images, patterns


class Ruler:
    """A calibration: something a history writes out in full."""

    def to_record(self) -> dict[str, Any]:
        return {"length": 2.0, "esd": None}


@provenance.step("test.scale")
def scale(data: xr.Dataset, factor: float = 2.0, **options: Any) -> xr.Dataset:
    return data.assign(
        intensity=data["intensity"] * factor, intensity_errors=data["intensity_errors"] * factor
    )


@provenance.step("test.twice")
def scale_twice(data: xr.Dataset) -> xr.Dataset:
    return scale(scale(data))


@provenance.step("test.subtract")
def subtract(data: xr.Dataset, dark: xr.Dataset) -> xr.Dataset:
    return data.assign(intensity=data["intensity"] - dark["intensity"])


@provenance.step("test.broken", returns="xrd.patterns")
def broken(data: xr.Dataset) -> xr.Dataset:
    return data.drop_vars("intensity")


@provenance.step("test.split")
def split(data: xr.Dataset) -> xr.DataTree:
    tree = xr.DataTree.from_dict({"/all/a": data, "/all/b": data})
    tree["all"].attrs["note"] = "kept"
    return tree


def read(path: Path, value: float = 1.0) -> xr.Dataset:
    """Stand in for a reader: patterns said to come from a file."""
    return provenance.record_read(patterns(frames=1).drop_attrs(deep=False) * value, {}, [path])


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{name}.tif" for name in "abc"]
    for path in paths:
        path.write_text(path.name)
    return paths


def test_the_outermost_step_is_recorded_once() -> None:
    before = provenance.history(patterns())
    steps = provenance.history(scale_twice(patterns()))
    assert [s["step"] for s in steps] == ["test.make", "test.twice"]
    assert steps[:1] == before
    assert steps[1]["inputs"] == {"data": [before[0]["id"]]}


def test_a_step_called_by_the_user_after_one_that_failed_is_recorded() -> None:
    with pytest.raises(SchemaError):
        broken(patterns())
    assert [s["step"] for s in provenance.history(scale(patterns()))] == ["test.make", "test.scale"]


def test_steps_stand_after_what_they_used() -> None:
    steps = provenance.history(scale(scale(patterns())))
    assert [s["step"] for s in steps] == ["test.make", "test.scale", "test.scale"]
    assert steps[2]["inputs"] == {"data": [steps[1]["id"]]}


def test_two_branches_are_both_there_and_what_they_share_stands_once() -> None:
    raw = patterns()
    steps = provenance.history(subtract(scale(raw), scale(raw, factor=0.5)))
    assert [s["step"] for s in steps] == ["test.make", "test.scale", "test.scale", "test.subtract"]
    assert steps[3]["inputs"] == {"data": [steps[1]["id"]], "dark": [steps[2]["id"]]}


def test_parameters_are_written_with_their_defaults() -> None:
    step = provenance.history(scale(patterns(), mode="fast"))[-1]
    assert step["parameters"] == {"factor": 2.0, "options": {"mode": "fast"}}


def test_the_input_is_not_changed() -> None:
    raw = patterns()
    scale(raw)
    xr.testing.assert_identical(raw, patterns())


def test_input_without_a_history_is_named_by_its_values() -> None:
    raw = patterns().drop_attrs(deep=False)
    one, same = scale(raw), scale(raw.copy(deep=True))
    other = scale(raw * 2)
    (name,) = provenance.history(one)[0]["inputs"]["data"]
    assert name.startswith("values:")
    assert provenance.history(one) == provenance.history(same)
    assert provenance.history(one)[0]["id"] != provenance.history(other)[0]["id"]


def test_bare_array_is_an_input_named_by_its_values() -> None:
    @provenance.step("test.mask")
    def mask(data: xr.Dataset, where: np.ndarray[Any, Any]) -> xr.Dataset:
        return data

    ids = {
        provenance.history(mask(patterns(), np.arange(3) == i))[-1]["inputs"]["where"][0] for i in range(3)
    }
    assert len(ids) == 3


def test_id_does_not_depend_on_the_order_of_keys() -> None:
    one = provenance.history(scale(patterns(), a=1, b={"x": 1, "y": 2}))
    same = provenance.history(scale(patterns(), b={"y": 2, "x": 1}, a=1))
    assert one[-1]["id"] == same[-1]["id"]


@pytest.mark.parametrize("other", [{"factor": 2.5}, {"mode": "fast"}])
def test_id_depends_on_the_parameters(other: dict[str, Any]) -> None:
    ids = {provenance.history(scale(patterns(), **p))[-1]["id"] for p in ({}, other)}
    assert len(ids) == 2


def test_id_is_the_hash_of_everything_else_in_the_step() -> None:
    step = provenance.history(scale(patterns()))[-1]
    content = {key: value for key, value in step.items() if key != "id"}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert step["id"] == hashlib.sha256(text.encode()).hexdigest()[:16]


def test_record_is_written_in_full() -> None:
    parameters = provenance.history(scale(patterns(), ruler=Ruler()))[-1]["parameters"]
    assert parameters["options"]["ruler"] == {"record": f"{__name__}:Ruler", "length": 2.0, "esd": None}


def test_path_is_written_by_name_and_content(files: list[Path]) -> None:
    parameters = provenance.history(scale(patterns(), mask=files[0]))[-1]["parameters"]
    content = hashlib.sha256(b"a.tif").hexdigest()
    assert parameters["options"]["mask"] == {"file": "a.tif", "sha256": content}


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (np.float64(0.5), 0.5),
        (np.int32(3), 3),
        ((1, 2), [1, 2]),
        ({3, 1}, [1, 3]),
        (np.datetime64("2026-03-01"), "2026-03-01"),
        (None, None),
        ({1: True}, {"1": True}),
    ],
)
def test_plain_parameters(value: Any, written: Any) -> None:
    steps = provenance.history(scale(patterns(), value=value))
    assert steps[-1]["parameters"]["options"]["value"] == written


@pytest.mark.parametrize("value", [object(), lambda x: x, b"bytes", 1j])
def test_parameter_that_cannot_be_written_down_is_refused(value: Any) -> None:
    with pytest.raises(TypeError, match="cannot be written into a history"):
        scale(patterns(), value=value)


def test_result_is_completed_and_validated() -> None:
    @provenance.step("test.make", returns="xrd.patterns")
    def make() -> xr.Dataset:
        return xr.Dataset({"intensity": ("two_theta", [1.0], {"units": ""})}, coords={"two_theta": [1.0]})

    assert make().attrs["kind"] == "xrd.patterns"
    assert make()["two_theta"].attrs["units"] == "deg"
    with pytest.raises(SchemaError, match="'intensity' is missing"):
        broken(patterns())


def test_result_that_is_no_dataset_passes() -> None:
    @provenance.step("test.number")
    def number(data: xr.Dataset) -> float:
        return float(data["intensity"].max())

    assert number(patterns()) == float(patterns()["intensity"].max())


def test_every_leaf_of_a_tree_has_a_history_of_its_own() -> None:
    tree = split(patterns())
    steps = {node.path: provenance.history(node.to_dataset()) for node in tree.leaves}
    assert set(steps) == {"/all/a", "/all/b"}
    assert steps["/all/a"][-1]["leaf"] == "/all/a"
    assert steps["/all/a"][-1]["id"] != steps["/all/b"][-1]["id"]


def test_attributes_above_the_leaves_are_kept(files: list[Path]) -> None:
    assert split(patterns())["all"].attrs == {"note": "kept"}
    raw = xr.DataTree.from_dict({"/": xr.Dataset(attrs={"sample": "BF"}), "/a": patterns()})
    assert provenance.record_read(raw, {}, files[:1]).attrs == {"sample": "BF"}


def test_tree_and_list_are_inputs_by_their_datasets() -> None:
    @provenance.step("test.sum")
    def total(data: Any) -> xr.Dataset:
        return patterns()

    tree = split(patterns())
    ids = [provenance.result_id(node.to_dataset()) for node in tree.leaves]
    assert provenance.history(total(tree))[-1]["inputs"]["data"] == ids
    parts = [scale(patterns()), scale(patterns(), factor=3.0)]
    ids = [provenance.result_id(part) for part in parts]
    assert provenance.history(total(parts))[-1]["inputs"]["data"] == ids


def test_read_names_its_files_without_their_folder(files: list[Path]) -> None:
    (step,) = provenance.history(provenance.record_read(images(), {"flip": True}, files[:2], frames=(0, 2)))
    assert step["step"] == "beamline.read"
    assert step["parameters"] == {"flip": True}
    hashes = [hashlib.sha256(name.encode()).hexdigest() for name in ("a.tif", "b.tif")]
    assert step["files"] == [
        {"name": "a.tif", "sha256": hashes[0], "frames": [0, 2]},
        {"name": "b.tif", "sha256": hashes[1], "frames": [0, 2], "companion": True},
    ]


def test_companion_is_named_by_its_place_and_the_kind_is_known(tmp_path: Path) -> None:
    for name in ("scan.txt", "Andor/a.tif"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    read = provenance.record_read(images(), {}, [tmp_path / "scan.txt", tmp_path / "Andor/a.tif"])
    (step,) = provenance.history(read)
    assert [(f["name"], f.get("companion")) for f in step["files"]] == [
        ("scan.txt", None),
        ("Andor/a.tif", True),
    ]
    assert step["kind"] == "images"


def test_arrangement_of_inputs_is_recorded() -> None:
    @provenance.step("test.any")
    def anything(data: Any) -> xr.Dataset:
        return patterns()

    def form(data: Any) -> Any:
        return provenance.history(anything(data))[-1].get("forms", {}).get("data")

    a, b = patterns(), scale(patterns())
    assert form(a) is None
    assert form([a]) == [0]
    assert form({"x": a, "y": [b, None]}) == {"mapping": {"x": 0, "y": [1, {"value": None}]}}
    assert form(split(a)) == {"tree": {"/all/a": 0, "/all/b": 1}}
    assert (
        provenance.history(anything({"x": a}))[-1]["id"] != provenance.history(anything({"y": a}))[-1]["id"]
    )


def test_file_is_hashed_once_while_it_does_not_change(
    files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    digest = hashlib.file_digest

    def counted(file: Any, name: str) -> Any:
        calls.append(file.name)
        return digest(file, name)

    monkeypatch.setattr(hashlib, "file_digest", counted)
    first = provenance.file_hash(files[0])
    read(files[0])
    read(files[0])
    assert len(calls) == 1
    files[0].write_text("something else")
    assert provenance.file_hash(files[0]) != first
    assert len(calls) == 2


def test_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(DataFileError, match=r"none\.tif: No such file"):
        provenance.file_hash(tmp_path / "none.tif")


def test_merged_frames_read_as_one_reading_and_each_step_once(files: list[Path]) -> None:
    parts = [scale(read(path)) for path in files]
    steps = provenance.merge(parts)
    assert [s["step"] for s in steps] == ["beamline.read", "test.scale"]
    assert [f["name"] for f in steps[0]["files"]] == ["a.tif", "b.tif", "c.tif"]
    assert steps[1]["inputs"] == {"data": [steps[0]["id"]]}


def test_merging_equals_reading_all_at_once(files: list[Path]) -> None:
    at_once = provenance.with_history(patterns(frames=3), provenance.merge([read(path) for path in files]))
    assert provenance.merge([scale(read(path)) for path in files]) == provenance.history(scale(at_once))


def test_frames_that_went_other_ways_are_listed_step_by_step(files: list[Path]) -> None:
    parts = [scale(read(files[0])), scale(read(files[1]), factor=3.0)]
    steps = provenance.merge(parts)
    assert [s["step"] for s in steps] == ["beamline.read", "test.scale"] * 2


def test_what_all_frames_used_is_not_repeated(files: list[Path]) -> None:
    dark = read(files[2])
    steps = provenance.merge([subtract(read(path), dark) for path in files[:2]])
    assert [s["step"] for s in steps] == ["beamline.read", "beamline.read", "test.subtract"]
    assert [[f["name"] for f in s["files"]] for s in steps[:2]] == [["a.tif", "b.tif"], ["c.tif"]]
    assert steps[2]["inputs"] == {"data": [steps[0]["id"]], "dark": [steps[1]["id"]]}


def test_inputs_without_a_history_must_be_the_same_to_be_merged(files: list[Path]) -> None:
    darks = [patterns(frames=1, seed=i).drop_attrs(deep=False) for i in range(2)]
    other = provenance.merge([subtract(read(p), d) for p, d in zip(files, darks, strict=False)])
    assert len([s for s in other if s["step"] == "test.subtract"]) == 2
    same = provenance.merge([subtract(read(p), darks[0]) for p in files])
    assert [s["step"] for s in same] == ["beamline.read", "test.subtract"]
    assert same[1]["inputs"]["dark"] == [provenance.result_id(darks[0])]


def test_the_same_frame_twice_is_read_twice(files: list[Path]) -> None:
    steps = provenance.merge([scale(read(files[0]))] * 2)
    assert [f["name"] for f in steps[0]["files"]] == ["a.tif", "a.tif"]


def test_merging_nothing_recorded_gives_nothing() -> None:
    assert provenance.merge([patterns().drop_attrs(deep=False)] * 2) == []


RUN = """
import sys
from tests.beamline.test_provenance import *
print(scale(subtract(read(Path(sys.argv[1])), patterns(frames=1)), b=1, a={2, 1}).attrs["history"])
"""


def test_two_runs_elsewhere_give_the_same_bytes(tmp_path: Path) -> None:
    outputs = []
    for folder in ("one", "other"):
        path = tmp_path / folder / "frame.tif"
        path.parent.mkdir()
        path.write_text("frame")
        command = [sys.executable, "-W", "error", "-c", RUN, str(path)]
        root = Path(__file__).parents[2]
        outputs.append(subprocess.run(command, check=True, capture_output=True, cwd=root, timeout=100).stdout)
    assert outputs[0] == outputs[1]
    assert [s["step"] for s in json.loads(outputs[0])][-2:] == ["test.subtract", "test.scale"]
