"""A result is made again from its history and the raw files, wherever these are by now."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import beamline
from beamline import provenance
from beamline.cli import main
from beamline.errors import ReplayError
from beamline.replaying import Replay
from tests.beamline import fake

ROWS = {f"raw/f{i}.fake": [[float(i), 1.0, 2.0, 3.0], [4.0, 5.0, 6.0, i / 3]] for i in range(3)}


@dataclasses.dataclass(frozen=True)
class Weight:
    """A calibration."""

    value: float

    def to_record(self) -> dict[str, Any]:
        return {"value": self.value}

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Weight:
        return cls(**record)


@provenance.step("tests.beamline.test_replay.weigh", returns="xrd.patterns")
def weigh(patterns: xr.Dataset, weight: Weight, table: Path | None = None, **options: Any) -> xr.Dataset:
    factor = weight.value + (float(table.read_text()) if table else 0.0) + options.get("more", 0.0)
    return patterns.assign(intensity=patterns["intensity"] * factor)


@provenance.step("tests.beamline.test_replay.total", returns="xrd.patterns")
def total(parts: Any, mask: Any = None) -> xr.Dataset:
    """Weigh parts by the length of their names, so that a name that gets lost shows."""
    items = dict(parts) if isinstance(parts, dict) else None
    if isinstance(parts, xr.DataTree):
        items = {node.path: node.to_dataset() for node in parts.leaves}
    if items is None:
        items = {"x" * (i + 1): ds for i, ds in enumerate(parts)}
    first = next(iter(items.values()))
    summed = sum(ds["intensity"] * len(name) for name, ds in items.items())
    return first.assign(intensity=summed).assign_coords(first.coords)


@provenance.step("tests.beamline.test_replay.split")
def split(patterns: xr.Dataset) -> xr.DataTree:
    return xr.DataTree.from_dict({"/low": patterns, "/all/high": weigh(patterns, Weight(3.0))})


@pytest.fixture(autouse=True)
def _only_the_fake(monkeypatch: pytest.MonkeyPatch) -> None:
    fake.install(monkeypatch)


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    return fake.write(tmp_path / "bt", ROWS).parent


def processed(folder: Path, keys: str = "") -> Path:
    result = beamline.process(fake.write(folder, ROWS, keys)).result
    assert result is not None
    return result


def read(folder: Path, number: int = 0) -> xr.Dataset:
    ds = beamline.read(folder / f"raw/f{number}.fake", timezone="Europe/Paris")
    assert isinstance(ds, xr.Dataset)
    return ds


def replayed(result: Any, search: Path) -> Replay:
    made = beamline.replay(result, [search])
    assert made.differences == ()
    assert made.remarks == ()
    assert made.identical
    return made


@pytest.mark.parametrize("keys", ["", "average = true\nmode = 'median'", "frames_per_chunk = 1"])
def test_what_process_wrote_is_made_again(tmp_path: Path, keys: str) -> None:
    result = processed(tmp_path / "bt", keys)
    made = replayed(result, tmp_path)
    assert isinstance(made.result, xr.DataTree)
    again, before = made.result["fake/m"].to_dataset(), beamline.open(f"{result}::/fake/m")
    np.testing.assert_array_equal(again["intensity"].values, before["intensity"].values)


def test_part_of_a_tree_is_made_again_as_a_dataset(tmp_path: Path) -> None:
    made = replayed(f"{processed(tmp_path / 'bt')}::/fake/m", tmp_path)
    assert isinstance(made.result, xr.Dataset)
    assert made.result.sizes["frame"] == 6


def test_files_that_were_moved_and_renamed_are_found(tmp_path: Path, raw: Path) -> None:
    (raw / "raw/f1.side").write_text("belongs to it")
    result = weigh(read(raw, 1), Weight(2.0), more=0.5)
    archive = tmp_path / "archive" / "deep"
    (archive / "elsewhere").mkdir(parents=True)
    shutil.move(raw / "raw/f1.fake", archive / "run 17.dat")
    shutil.move(raw / "raw/f1.side", archive / "elsewhere" / "f1.side")
    replayed(result, tmp_path / "archive")


def test_files_of_one_name_are_told_apart(tmp_path: Path, raw: Path) -> None:
    parts = []
    for number in (0, 1):
        folder = tmp_path / f"day{number}"
        folder.mkdir()
        shutil.move(raw / f"raw/f{number}.fake", folder / "scan.fake")
        (folder / "scan.side").write_text(f"beside {number}")
        parts.append(folder / "scan.fake")
    result = beamline.read(parts)
    for number in (0, 1):  # what belongs to them goes elsewhere, so that they must be put together
        (tmp_path / f"sides{number}").mkdir()
        shutil.move(tmp_path / f"day{number}" / "scan.side", tmp_path / f"sides{number}" / "scan.side")
    replayed(result, tmp_path)


def test_records_and_files_are_parameters(tmp_path: Path, raw: Path) -> None:
    table = tmp_path / "table.txt"
    table.write_text("0.25")
    result = weigh(read(raw), Weight(2.0), table)
    table.rename(tmp_path / "other.md")
    replayed(result, tmp_path)


@pytest.mark.parametrize("form", ["list", "mapping", "tree", "list of one"])
def test_arrangement_of_inputs_is_kept(raw: Path, form: str) -> None:
    parts = [weigh(read(raw, i), Weight(1.0 + i)) for i in range(2)]
    arranged: Any = {
        "list": parts,
        "mapping": {"one": parts[0], "the other": parts[1]},
        "tree": xr.DataTree.from_dict({"/a": parts[0], "/long/name": parts[1]}),
        "list of one": parts[:1],
    }[form]
    replayed(total(arranged), raw)


def test_leaves_of_a_step_are_made_again(raw: Path) -> None:
    tree = split(read(raw))
    replayed(tree, raw)
    replayed(total(tree), raw)


def test_variable_that_was_changed_is_named(raw: Path) -> None:
    result = weigh(read(raw), Weight(2.0))
    result["intensity"].values[0, 1] += 0.5
    made = beamline.replay(result.assign(i2=result["intensity"]), [raw])
    assert made.differences == ("i2 is only in the original", "intensity differs by up to 0.5 count")
    assert not made.identical


def test_attribute_no_step_made_is_a_remark(raw: Path) -> None:
    made = beamline.replay(weigh(read(raw), Weight(2.0)).assign_attrs(note="mine"), [raw])
    assert made.identical
    assert made.remarks == ("attributes that the recorded steps do not give: note",)


def test_file_that_is_not_found_is_named_with_its_hash(raw: Path) -> None:
    result = weigh(read(raw), Weight(2.0))
    sha256 = provenance.file_hash(raw / "raw/f0.fake")
    (raw / "raw/f0.fake").write_text("1 2 3 4\n")
    with pytest.raises(ReplayError, match=rf"f0\.fake \(sha256 {sha256}\): not found below"):
        beamline.replay(result, [raw])


def test_values_given_by_hand_are_refused(raw: Path) -> None:
    with pytest.raises(ReplayError, match=r"total: mask: was given by hand"):
        beamline.replay(total([read(raw)], np.ones(3)), [raw])
    with pytest.raises(ReplayError, match=r"weigh: has arrays given by hand"):
        beamline.replay(weigh(read(raw), Weight(1.0), masks=[np.ones(3)]), [raw])
    with pytest.raises(ReplayError, match="has no history"):
        beamline.replay(read(raw).drop_attrs(deep=False), [raw])


def test_history_without_one_end_is_refused(raw: Path) -> None:
    steps = [provenance.history(weigh(read(raw, i), Weight(1.0 + i))) for i in range(2)]
    both = provenance.with_history(read(raw), [*steps[0], *steps[1]])
    with pytest.raises(ReplayError, match="was put together from 2 results"):
        beamline.replay(both, [raw])


def edited(ds: xr.Dataset, **changes: Any) -> xr.Dataset:
    """Return `ds` with its last step changed in its history."""
    *before, last = provenance.history(ds)
    return ds.assign_attrs(history=json.dumps([*before, {**last, **changes}]))


def test_no_code_but_ours_is_run(raw: Path) -> None:
    result = weigh(read(raw), Weight(2.0))
    with pytest.raises(ReplayError, match=r"os\.system: is of 'os'"):
        beamline.replay(edited(result, step="os.system"), [raw])
    with pytest.raises(ReplayError, match="is not a function of this version"):
        beamline.replay(edited(result, step="beamline.atomic.write_atomic"), [raw])
    record = {"record": "subprocess:Popen", "args": "true"}
    with pytest.raises(ReplayError, match="no installed technique"):
        beamline.replay(edited(result, parameters={"weight": record}), [raw])


def test_parameter_this_version_does_not_have(raw: Path) -> None:
    result = beamline.open(f"{processed(raw)}::/fake/m")
    assert isinstance(result, xr.Dataset)
    with pytest.raises(ReplayError, match="has no parameter power in this version"):
        beamline.replay(edited(result, parameters={"power": 2}), [raw])


def test_another_version_is_warned_of_and_replayed(raw: Path) -> None:
    result = weigh(read(raw), Weight(2.0))
    with pytest.warns(UserWarning, match=r"made with redoxlight 0\.0\.1"):
        made = beamline.replay(edited(result, version="0.0.1"), [raw])
    assert made.identical


def test_histories_without_arrangement_are_replayed(raw: Path) -> None:
    parts = [weigh(read(raw, i), Weight(1.0 + i)) for i in range(2)]
    result = total(parts)
    last = provenance.history(result)[-1]
    old = provenance.with_history(
        result,
        [*provenance.history(result)[:-1], {k: v for k, v in last.items() if k not in ("forms", "id")}],
    )
    made = beamline.replay(old, [raw])
    assert made.differences == ("history differs",)  # it says more today


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = processed(tmp_path / "bt")
    out = tmp_path / "again.nc"
    assert main(["replay", str(result), "--search", str(tmp_path), "-o", str(out)]) == 0
    assert "identical" in capsys.readouterr().out
    assert out.read_bytes() == result.read_bytes()
    beamline.save(beamline.open(out)["fake/m"].to_dataset().isel(frame=slice(1, None)), out)
    assert main(["replay", str(out), "--search", str(tmp_path), "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert not document["identical"]
    assert any("intensity" in text for text in document["differences"])
    assert main(["replay", str(result), "--search", str(tmp_path / "none")]) == 1
