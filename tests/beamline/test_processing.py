from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import beamline
from beamline import processing, provenance
from beamline.errors import ConfigError
from beamline.report import Counts, Report
from tests.beamline import fake

ROWS = {f"raw/f{i}.fake": [[i, i + 1.0, 2.0, 3.0]] for i in range(1, 12)}


@pytest.fixture(autouse=True)
def _fake(monkeypatch: pytest.MonkeyPatch) -> None:
    fake.install(monkeypatch)


def snapshot(output: Path) -> dict[str, bytes]:
    """Return every file that belongs to the results (no cache, no lock) with its content."""
    return {
        path.relative_to(output).as_posix(): path.read_bytes()
        for path in sorted(output.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }


def times(output: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in output.rglob("*") if path.is_file()}


def settle(folder: Path) -> None:
    """Make files and folders look as if nobody had touched them for a while."""
    for path in [folder, *folder.rglob("*")]:
        os.utime(path, ns=(10**18, 10**18))


def values(report: Report, place: str = "fake/m") -> np.ndarray:
    result = beamline.open(f"{report.result}::/{place}")
    assert isinstance(result, xr.Dataset)
    return result.intensity.values


def counts(report: Report, place: str = "fake/m") -> tuple[int, int, int, int]:
    found = report.measurements[place]
    return found.done, found.unchanged, found.failed, found.missing


def test_every_file_is_processed_in_natural_order(tmp_path: Path) -> None:
    report = beamline.process(fake.write(tmp_path, ROWS))
    assert counts(report) == (11, 0, 0, 0)
    assert not report.failed
    assert report.result == tmp_path / "out/results.nc"
    np.testing.assert_array_equal(values(report)[:, 0], 2.0 * np.arange(1, 12))


def test_the_history_is_that_of_the_users_own_script(tmp_path: Path) -> None:
    report = beamline.process(fake.write(tmp_path, ROWS, "average = true"))
    result = beamline.open(f"{report.result}::/fake/m")
    steps = provenance.history(result)
    assert [step["step"] for step in steps] == [
        "beamline.read",
        "tests.beamline.fake.scale",
        "tests.beamline.fake.average",
    ]
    assert [file["name"] for file in steps[0]["files"]] == [f"f{i}.fake" for i in range(1, 12)]
    assert "task" not in result.attrs


@pytest.mark.parametrize("settled", [True, False])
def test_a_second_run_writes_nothing(tmp_path: Path, settled: bool) -> None:
    path = fake.write(tmp_path, ROWS, "average = true")
    if settled:
        settle(tmp_path)
    before_run = beamline.process(path)
    before = times(tmp_path / "out")
    report = beamline.process(path)
    assert counts(report) == (0, 11, 0, 0)
    assert report.result == before_run.result
    after = times(tmp_path / "out")
    # The lock is taken anew, and files may have come of age between the runs: their stat is believed then.
    for name in (".lock", *(() if settled else (".inventory.json",))):
        before.pop(name), after.pop(name)
    assert after == before


def test_a_second_run_loads_nothing_heavy(tmp_path: Path) -> None:
    path = fake.write(tmp_path, ROWS, "average = true")
    settle(tmp_path)
    beamline.process(path)
    code = """if True:
        import sys
        from beamline import processing, techniques
        from beamline.config import MeasurementConfig
        from beamline.techniques import Technique
        class FakeMeasurement(MeasurementConfig):
            factor: float = 2.0
            bins: int = 4
            mode: str = "mean"
            average: bool = False
            reference: str | None = None
            window: tuple[float, float] | None = None
            frames_per_chunk: int = 64
        sys.modules["light"] = sys.modules["__main__"]
        light = Technique("fake", "", "light:FakeMeasurement", "none:none", "")
        techniques.techniques = lambda: {"fake": light}
        report = processing.process(sys.argv[1])
        assert report.measurements["fake/m"].unchanged == 11, report
        heavy = {"numpy", "xarray", "pint", "h5py", "h5netcdf", "scipy", "fabio", "pyFAI", "matplotlib"}
        print(sorted(heavy & set(sys.modules)))
    """
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[]", done.stderr


def test_an_added_file_is_the_only_one_done(tmp_path: Path) -> None:
    path = fake.write(tmp_path, ROWS)
    beamline.process(path)
    before = times(tmp_path / "out/shards")
    (tmp_path / "raw/f2b.fake").write_text("7 7 7 7")
    report = beamline.process(path)
    assert counts(report) == (1, 11, 0, 0)
    assert values(report)[2, 0] == 14.0
    after = times(tmp_path / "out/shards")
    assert {name: after[name] for name in before} == before


def test_a_changed_file_is_the_only_one_done(tmp_path: Path) -> None:
    path = fake.write(tmp_path, ROWS)
    beamline.process(path)
    (tmp_path / "raw/f3.fake").write_text("9 9 9 9")
    report = beamline.process(path)
    assert counts(report) == (1, 10, 0, 0)
    assert values(report)[2, 0] == 18.0
    assert len(list((tmp_path / "out/shards/fake/m").iterdir())) == 11


def test_a_changed_file_is_named(tmp_path: Path) -> None:
    path = fake.write(tmp_path, ROWS)
    assert beamline.process(path).changed == []
    (tmp_path / "raw/f3.fake").write_text("9 9 9 9")
    before = snapshot(tmp_path / "out")
    assert [failure.subject for failure in processing.changed(path)] == ["raw/f3.fake"]
    assert snapshot(tmp_path / "out") == before
    report = beamline.process(path)
    assert [str(failure) for failure in report.changed] == [
        "raw/f3.fake: changed since it was first processed; it is processed as a new file; restore it if it "
        "should not have changed"
    ]
    assert not report.failed
    assert processing.changed(path) == beamline.process(path).changed == []


def test_a_changed_companion_is_named(tmp_path: Path) -> None:
    path = fake.write(tmp_path, ROWS)
    (tmp_path / "raw/f3.side").write_text("exposure 3 s")
    beamline.process(path)
    (tmp_path / "raw/f3.side").write_text("exposure 4 s")
    assert [failure.subject for failure in beamline.process(path).changed] == ["raw/f3.side"]


def test_a_file_that_failed_and_was_mended_is_not_called_changed(tmp_path: Path) -> None:
    path = fake.write(tmp_path, ROWS)
    (tmp_path / "raw/f3.fake").write_text("nothing")
    assert len(beamline.process(path).failed) == 1
    (tmp_path / "raw/f3.fake").write_text("9 9 9 9")
    assert beamline.process(path).changed == []


def test_a_new_companion_redoes_its_file(tmp_path: Path) -> None:
    path = fake.write(tmp_path, ROWS)
    settle(tmp_path)
    beamline.process(path)
    (tmp_path / "raw/f3.side").write_text("exposure 3 s")
    assert counts(beamline.process(path)) == (1, 10, 0, 0)
    assert counts(beamline.process(path)) == (0, 11, 0, 0)


@pytest.mark.parametrize("settled", [True, False])
def test_a_changed_parameter_redoes_what_it_touches(tmp_path: Path, settled: bool) -> None:
    path = fake.write(tmp_path, ROWS, "average = true")
    beamline.process(path)
    before = snapshot(tmp_path / "out")
    fake.write(tmp_path, ROWS, 'average = true\nmode = "median"')
    if settled:
        settle(tmp_path)
    report = beamline.process(path)
    assert counts(report) == (0, 11, 0, 0)
    assert values(report)[0] == 12.0
    after = snapshot(tmp_path / "out")
    assert len(set(after) - set(before)) == 1
    assert len(set(before) - set(after)) == 1


def test_a_changed_calibration_redoes_everything(tmp_path: Path) -> None:
    (tmp_path / "cal.txt").write_text("3")
    path = fake.write(tmp_path, ROWS, 'reference = "cal.txt"')
    settle(tmp_path)
    beamline.process(path)
    (tmp_path / "cal.txt").write_text("5")
    report = beamline.process(path)
    assert counts(report) == (11, 0, 0, 0)
    assert values(report)[0, 0] == 5.0


def test_a_calibration_that_only_moved_redoes_nothing(tmp_path: Path) -> None:
    (tmp_path / "cal.txt").write_text("3")
    beamline.process(fake.write(tmp_path, ROWS, 'reference = "cal.txt"'))
    (tmp_path / "cal.txt").rename(tmp_path / "new.txt")
    report = beamline.process(fake.write(tmp_path, ROWS, 'reference = "new.txt"'))
    assert counts(report) == (0, 11, 0, 0)


def test_a_long_file_is_done_in_chunks(tmp_path: Path) -> None:
    rows = {"raw/long.fake": [[i, 0.0] for i in range(7)]}
    report = beamline.process(fake.write(tmp_path, rows, "frames_per_chunk = 3"))
    assert counts(report) == (1, 0, 0, 0)
    np.testing.assert_array_equal(values(report)[:, 0], 2.0 * np.arange(7))
    assert len(list((tmp_path / "out/shards/fake/m").iterdir())) == 3


def test_one_bad_file_fails_alone_and_is_tried_again(tmp_path: Path) -> None:
    path = fake.write(tmp_path, ROWS)
    (tmp_path / "raw/f4.fake").write_text("1 2 three 4")
    (tmp_path / "raw/f5.fake").write_text("")
    for run in range(2):
        report = beamline.process(path)
        assert counts(report) == ((0, 9, 2, 0) if run else (9, 0, 2, 0))
        assert [failure.subject for failure in report.failed] == ["raw/f4.fake", "raw/f5.fake"]
        assert "could not convert string to float" in str(report.failed[0])
        assert "is empty" in str(report.failed[1])
        assert len(values(report)) == 9
        assert not report.failed[0].traceback
    (tmp_path / "raw/f4.fake").write_text("4 2 3 4")
    assert counts(beamline.process(path)) == (1, 9, 1, 0)


def test_a_fault_of_the_code_fails_alone_and_keeps_its_traceback(tmp_path: Path) -> None:
    path = fake.write(tmp_path, {**ROWS, "raw/f4.fake": [[-1, 0, 0, 0]]})
    report = beamline.process(path)
    assert counts(report) == (10, 0, 1, 0)
    assert "RuntimeError: a fault in the code" in report.failed[0].problem
    assert "in scale" in report.failed[0].traceback


def test_only_bad_files_give_no_result_for_their_measurement(tmp_path: Path) -> None:
    path = fake.write(tmp_path, ROWS)
    (tmp_path / "bad.fake").write_text("x")
    path.write_text(path.read_text() + '[fake.bad]\nfiles = ["bad.fake"]\n')
    report = beamline.process(path)
    assert counts(report, "fake/bad") == (0, 0, 1, 0)
    assert counts(report) == (11, 0, 0, 0)
    assert report.result is not None
    assert set(xr.open_datatree(report.result, engine="h5netcdf")["fake"].children) == {"m"}


def test_nothing_but_bad_files_give_no_result_at_all(tmp_path: Path) -> None:
    path = fake.write(tmp_path, {"raw/a.fake": [[1, 2]]})
    beamline.process(path)
    (tmp_path / "raw/a.fake").write_text("x")
    report = beamline.process(path)
    assert report.result is None
    assert not (tmp_path / "out/results.nc").exists()
    assert len(list((tmp_path / "out/shards").rglob("*.nc"))) == 1  # what was stored is kept
    (tmp_path / "raw/a.fake").write_text("1 2")
    assert counts(beamline.process(path)) == (0, 1, 0, 0)


def test_a_calibration_that_cannot_be_used_fails_its_measurement_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from beamline.errors import CalibrationError

    path = fake.write(tmp_path, ROWS)
    path.write_text(path.read_text() + '[fake.other]\nfiles = ["raw/f1.fake"]\n')

    def recipe(name: str, config: fake.FakeMeasurement, folder: Path) -> object:
        if name == "fake/m":
            raise CalibrationError(folder / "geo.poni", "has no distance")
        return recipe_of(name, config, folder)

    recipe_of = fake.recipe
    monkeypatch.setattr(fake, "recipe", recipe)
    report = beamline.process(path)
    assert str(report.failed[0]) == "geo.poni: has no distance"
    assert counts(report) == (0, 0, 11, 0)
    assert counts(report, "fake/other") == (1, 0, 0, 0)


def test_frames_that_do_not_fit_together_fail_their_measurement(tmp_path: Path) -> None:
    path = fake.write(tmp_path, {"raw/a.fake": [[1, 2]], "raw/b.fake": [[1, 2, 3]]})
    for _ in range(2):
        report = beamline.process(path)
        assert report.result is None
        assert str(report.failed[0]).startswith("raw/b.fake: has 3 along 'two_theta'")


def test_a_step_over_the_whole_that_fails_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = fake.write(tmp_path, ROWS, "average = true")
    beamline.process(path)
    path = fake.write(tmp_path, ROWS, 'average = true\nmode = "median"')
    monkeypatch.setattr(xr.Dataset, "median", lambda *_, **__: 1 / 0)
    report = beamline.process(path)
    assert report.failed[0].subject == "fake/m"
    assert "ZeroDivisionError" in report.failed[0].problem
    assert report.result is None
    monkeypatch.undo()
    fake.install(monkeypatch)
    assert values(beamline.process(path))[0] == 12.0


def test_a_file_that_vanished_keeps_its_result_and_is_named(tmp_path: Path) -> None:
    path = fake.write(tmp_path, ROWS)
    beamline.process(path)
    before = snapshot(tmp_path / "out")
    (tmp_path / "raw/f3.fake").unlink()
    for _ in range(2):
        report = beamline.process(path)
        assert counts(report) == (0, 10, 0, 1)
        assert str(report.missing[0]).startswith("raw/f3.fake: is gone; its stored result stays")
        assert snapshot(tmp_path / "out") == before


def test_the_whole_archive_may_be_gone(tmp_path: Path) -> None:
    path = fake.write(tmp_path, ROWS)
    beamline.process(path)
    before = snapshot(tmp_path / "out")
    shutil.rmtree(tmp_path / "raw")
    assert counts(beamline.process(path)) == (0, 0, 0, 11)
    assert snapshot(tmp_path / "out") == before


def test_a_vanished_file_is_not_mixed_in_with_other_parameters(tmp_path: Path) -> None:
    path = fake.write(tmp_path, ROWS)
    beamline.process(path)
    (tmp_path / "raw/f3.fake").unlink()
    del (rest := dict(ROWS))["raw/f3.fake"]
    fake.write(tmp_path, rest, "factor = 3.0")
    for _ in range(2):
        report = beamline.process(path)
        assert report.measurements["fake/m"].failed == 1
        assert "made with other parameters" in str(report.failed[0])
        assert len(values(report)) == 10
    fake.write(tmp_path, rest)  # back to the first parameters: the shard that was kept is right again
    report = beamline.process(path)
    assert counts(report) == (10, 0, 0, 1)
    assert len(values(report)) == 11


def test_an_excluded_file_leaves_the_results(tmp_path: Path) -> None:
    path = fake.write(tmp_path, ROWS)
    beamline.process(path)
    (tmp_path / "raw/f3.fake").unlink()
    del (rest := dict(ROWS))["raw/f3.fake"]
    report = beamline.process(fake.write(tmp_path, rest, 'exclude = ["raw/f3.*"]'))
    assert counts(report) == (0, 10, 0, 0)
    assert len(list((tmp_path / "out/shards/fake/m").iterdir())) == 10


def test_a_vanished_file_keeps_its_place(tmp_path: Path) -> None:
    path = fake.write(tmp_path, ROWS)
    path.write_text(path.read_text().replace('"raw/*.fake"', '"raw/f1*.fake", "raw/*.fake"'))
    order = values(beamline.process(path))[:, 0]
    np.testing.assert_array_equal(order, 2.0 * np.array([1, 10, 11, *range(2, 10)]))
    for name in ("f10", "f11", "f4"):
        (tmp_path / f"raw/{name}.fake").unlink()
    (tmp_path / "raw/f12.fake").write_text("12 1 1 1")
    order = values(beamline.process(path))[:, 0]
    np.testing.assert_array_equal(order, 2.0 * np.array([1, 10, 11, 12, *range(2, 10)]))


def test_a_file_that_cannot_be_opened_keeps_its_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from beamline import work
    from beamline.errors import DataFileError
    from beamline.inventory import Inventory

    path = fake.write(tmp_path, ROWS)
    beamline.process(path)
    before = snapshot(tmp_path / "out")
    look, readable = Inventory.look, work._is_readable

    def denied(self: Inventory, file: Path, kind: str | None) -> object:
        if file.name == "f3.fake":
            raise DataFileError(file, "Permission denied")
        return look(self, file, kind)

    monkeypatch.setattr(Inventory, "look", denied)
    monkeypatch.setattr(work, "_is_readable", lambda file: file.name != "f3.fake" and readable(file))
    report = beamline.process(path)
    assert counts(report) == (0, 10, 0, 1)
    assert str(report.missing[0]).startswith("raw/f3.fake: cannot be read any more; its stored result stays")
    assert snapshot(tmp_path / "out") == before


def test_a_renamed_file_is_not_counted_twice(tmp_path: Path) -> None:
    path = fake.write(tmp_path, ROWS)
    beamline.process(path)
    (tmp_path / "raw/f3.fake").rename(tmp_path / "raw/f99.fake")
    report = beamline.process(path)
    assert counts(report) == (1, 10, 0, 0)
    assert values(report)[-1, 0] == 6.0


def test_only_leaves_the_others_as_they_are(tmp_path: Path) -> None:
    path = fake.write(tmp_path, ROWS)
    path.write_text(path.read_text() + '[fake.n]\nfiles = ["raw/f1.fake"]\n')
    report = beamline.process(path, only="fake.n")
    assert set(report.measurements) == {"fake/n"}
    beamline.process(path)
    clean = snapshot(tmp_path / "out")
    path.write_text(path.read_text().replace('["raw/f1.fake"]', '["raw/f2.fake"]'))
    report = beamline.process(path, only="fake/n")
    assert values(report, "fake/n")[0, 0] == 4.0
    assert len(values(report)) == 11
    path.write_text(path.read_text().replace('["raw/f2.fake"]', '["raw/f1.fake"]'))
    beamline.process(path, only="fake.n")
    assert snapshot(tmp_path / "out") == clean


def test_only_what_exists_can_be_chosen(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"only 'xrd': is no measurement .*; there are fake\.m"):
        beamline.process(fake.write(tmp_path, ROWS), only="xrd")


def test_a_measurement_taken_out_of_the_file_leaves_the_results(tmp_path: Path) -> None:
    path = fake.write(tmp_path, ROWS)
    beamline.process(path)
    clean = snapshot(tmp_path / "out")
    text = path.read_text()
    path.write_text(text + '[fake.n]\nfiles = ["raw/f1.fake"]\n')
    beamline.process(path)
    path.write_text(text)
    beamline.process(path)
    assert snapshot(tmp_path / "out") == clean


def test_threads_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        path = fake.write(tmp_path / name, ROWS, "average = true")
        (tmp_path / name / "raw/bad.fake").write_text("x")
        beamline.process(path, scheduler="serial" if name == "a" else "threads:3")
    assert snapshot(tmp_path / "a/out") == snapshot(tmp_path / "b/out")


@pytest.mark.parametrize(
    "damage",
    [
        lambda out: (out / "journal.jsonl").unlink(),
        lambda out: (out / "journal.jsonl").write_bytes(b"\0" * 50),
        lambda out: (out / "journal.jsonl").write_bytes((out / "journal.jsonl").read_bytes()[:-40]),
        lambda out: (out / ".inventory.json").write_text("{"),
        lambda out: (out / "results.nc").unlink(),
        lambda out: (out / "results.nc").write_bytes(b"x"),
        lambda out: shutil.rmtree(out / "shards"),
        lambda out: min((out / "shards/fake/m").iterdir()).unlink(),
        lambda out: [f.write_bytes(f.read_bytes()[:99]) for f in (out / "shards/fake/m").iterdir()],
    ],
)
def test_a_damaged_output_is_made_whole_again(tmp_path: Path, damage: object) -> None:
    path = fake.write(tmp_path, ROWS, "average = true")
    settle(tmp_path)
    beamline.process(path)
    clean = snapshot(tmp_path / "out")
    damage(tmp_path / "out")  # type: ignore[operator]
    (tmp_path / "out/results.nc").unlink(missing_ok=True)  # so that the shards are needed
    assert not beamline.process(path).failed
    assert snapshot(tmp_path / "out") == clean


def test_an_interrupt_leaves_a_state_to_go_on_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = fake.write(tmp_path / "a", ROWS)
    beamline.process(path)

    class Impatient:
        def started(self, what: str, total: int) -> None: ...
        def finished(self, what: str) -> None: ...
        def advanced(self, what: str) -> None:
            if what == "fake/m":
                raise KeyboardInterrupt

    path = fake.write(tmp_path / "b", ROWS)
    with pytest.raises(KeyboardInterrupt):
        beamline.process(path, progress=Impatient())
    assert counts(beamline.process(path)) == (10, 1, 0, 0)
    assert snapshot(tmp_path / "a/out") == snapshot(tmp_path / "b/out")


def test_progress_counts_what_is_done(tmp_path: Path) -> None:
    said: list[tuple[object, ...]] = []

    class Diary:
        def started(self, what: str, total: int) -> None:
            said.append(("started", what, total))

        def advanced(self, what: str) -> None:
            said.append(("advanced", what))

        def finished(self, what: str) -> None:
            said.append(("finished", what))

    beamline.process(fake.write(tmp_path, ROWS), progress=Diary())
    assert said.count(("advanced", "fake/m")) == 11
    assert ("started", "fake/m", 11) in said
    assert said[-1] == ("finished", "fake/m")


def test_another_beamtime_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    path = fake.write(tmp_path, ROWS)
    beamline.process(path)
    path.write_text(path.read_text().replace('"test"', '"other"'))
    with pytest.raises(ConfigError, match="holds the results of the beamtime 'test'"):
        beamline.process(path)


def test_patterns_without_files_end_the_run_before_it_begins(tmp_path: Path) -> None:
    path = fake.write(tmp_path, {})
    with pytest.raises(ConfigError, match=r"fake\.m\.files: 'raw/\*\.fake' matches no file"):
        beamline.process(path)
    assert not (tmp_path / "out").exists()


def test_the_report_can_be_read_by_programs(tmp_path: Path) -> None:
    report = beamline.process(fake.write(tmp_path, ROWS))
    assert json.loads(report.to_json()) == {
        "result": str(tmp_path / "out/results.nc"),
        "measurements": {"fake/m": {"done": 11, "unchanged": 0, "failed": 0, "missing": 0}},
        "failed": [],
        "missing": [],
        "changed": [],
    }
    assert report.measurements["fake/m"] == Counts(done=11)


@pytest.mark.parametrize(
    ("clock", "expected"),
    [(None, None), ("a stamp", "local"), ("a stamp and its moment", "Europe/Paris")],
)
def test_the_time_zone_is_for_clocks_that_state_none(
    tmp_path: Path, clock: str | None, expected: str | None
) -> None:
    path = fake.write(tmp_path, {"raw/a.fake": [[1, 2]]})
    if clock:
        (tmp_path / "raw/a.clock").write_text(clock)
    path.write_text(path.read_text().replace('"UTC"', '"Europe/Paris"'))
    report = beamline.process(path)
    assert beamline.open(f"{report.result}::/fake/m").attrs.get("zone") == expected


def test_a_name_that_is_no_text_fails_alone(tmp_path: Path) -> None:
    path = fake.write(tmp_path, ROWS)
    settle(tmp_path)
    odd = os.fsdecode(b"raw/odd\xff.fake")
    (tmp_path / odd).write_text("1 2 3 4")
    for _ in range(2):
        report = beamline.process(path)
        assert report.measurements["fake/m"].failed == 1
        assert odd in report.failed[0].subject
        assert not report.failed[0].traceback
        assert len(values(report)) == 11
        json.loads(report.to_json())
