from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any

import pytest

from beamline import provenance, tasks
from beamline.errors import DataFileError
from beamline.inventory import Raw
from beamline.readers.registry import concatenate
from beamline.recipe import Recipe, Step
from tests.beamline import fake

FILES = ({"name": "raw/a.fake", "sha256": "a" * 64},)
RECIPE = Recipe("fake/m", (), {"kind": "xrd.patterns"}, (Step(fake.scale, {"factor": 2.0}),), concatenate)


def key(recipe: Recipe = RECIPE, files: Any = FILES, frames: Any = None, zone: str = "UTC") -> str:
    return tasks.chunk_key(recipe, files, frames, zone)


def changed(**fields: Any) -> Recipe:
    return dataclasses.replace(RECIPE, **fields)


def test_equal_work_has_equal_keys() -> None:
    again = changed(each=(Step(fake.scale, {"factor": 2.0}),), frames_per_chunk=3, name="fake/other")
    assert key() == key(again)


def test_everything_that_decides_a_result_is_in_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [
        key(),
        key(changed(read={"kind": "images"})),
        key(changed(each=())),
        key(changed(each=(Step(fake.scale, {"factor": 3.0}),))),
        key(changed(each=(Step(fake.average, {"factor": 2.0}),))),
        key(changed(each=(Step(functools.partial(fake.scale, factor=2.0)),))),
        key(changed(each=(Step(functools.partial(fake.scale, factor=3.0)),))),
        key(files=({**FILES[0], "sha256": "b" * 64},)),
        key(files=({**FILES[0], "name": "raw/b.fake"},)),
        key(files=(*FILES, {"name": "raw/a.side", "sha256": "c" * 64})),
        key(frames=(0, 64)),
        key(frames=(64, 128)),
        key(zone="Europe/Paris"),
    ]
    monkeypatch.setattr(tasks, "__version__", "9")
    keys.append(key())
    assert len(set(keys)) == len(keys)


def test_a_step_over_the_whole_depends_on_those_before_it() -> None:
    def keys(*factors: float, chunks: tuple[str, ...] = ("a", "b")) -> list[str]:
        recipe = changed(then=tuple(Step(fake.scale, {"factor": factor}) for factor in factors))
        return tasks.whole_keys(recipe, chunks)[1]

    assert keys(1, 2)[0] == keys(1, 3)[0]
    assert keys(1, 2)[1] != keys(1, 3)[1]
    assert keys(1, 2)[1] != keys(0, 2)[1]
    assert keys(1)[0] != keys(1, chunks=("b", "a"))[0]


def test_a_function_made_on_the_fly_is_refused() -> None:
    with pytest.raises(TypeError, match="is not a function of a module"):
        key(changed(each=(Step(lambda data: data),)))


def test_steps_are_named_as_in_the_history() -> None:
    assert tasks.step_name(Step(fake.scale)) == "tests.beamline.fake.scale"
    assert tasks.step_name(Step(concatenate)) == "beamline.readers.registry:concatenate"


@pytest.mark.parametrize(
    ("frames", "expected"),
    [(None, [None]), (3, [None]), (4, [(0, 3), (3, 4)]), (6, [(0, 3), (3, 6)]), (0, [None])],
)
def test_chunks_cover_a_file_once(frames: int | None, expected: list[Any]) -> None:
    raw = Raw(((Path("a.fake"), "a" * 64),), frames, False)
    found = tasks.chunks(changed(frames_per_chunk=3), Path("a.fake"), raw, ["a.fake"], "UTC")
    assert [task.entry.frames for task in found] == expected
    assert {task.entry.chunks for task in found} == {len(expected)}
    assert len({task.entry.key for task in found}) == len(expected)


def test_a_file_that_changes_under_our_hands_is_not_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.install(monkeypatch)
    path = tmp_path / "a.fake"
    path.write_text("1 2")
    raw = Raw(((path, provenance.file_hash(path)),), None, False)
    (task,) = tasks.chunks(RECIPE, path, raw, ["a.fake"], "UTC")
    path.write_text("1 2 3")
    with pytest.raises(DataFileError, match="changed while it was processed"):
        tasks.run_chunk(RECIPE, task, tmp_path / "shard.nc")
    assert not (tmp_path / "shard.nc").exists()
