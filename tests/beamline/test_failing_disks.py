"""A disk that is full, read-only, shared or away for a while: named, survived, and nothing stored is lost."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

import beamline
from beamline import atomic, journal, tasks
from beamline.errors import ConfigError, DataFileError
from beamline.report import Report
from tests.beamline import fake
from tests.beamline.test_processing import snapshot

OLD = {f"raw/f{i}.fake": [[i, i + 1.0, 2.0, 3.0]] for i in range(1, 4)}
NEW = OLD | {f"raw/f{i}.fake": [[i, i + 1.0, 2.0, 3.0]] for i in range(4, 8)}
KEYS = "average = true"


@pytest.fixture(autouse=True)
def _fake(monkeypatch: pytest.MonkeyPatch) -> None:
    fake.install(monkeypatch)


@pytest.fixture(name="stored")
def _stored(tmp_path: Path) -> tuple[Path, dict[str, bytes], dict[str, bytes]]:
    """Return a configuration with results of three files and four new ones; its results now and then."""
    path = fake.write(tmp_path / "clean", NEW, KEYS)
    beamline.process(path)
    path = fake.write(tmp_path / "work", OLD, KEYS)
    beamline.process(path)
    before = snapshot(path.parent / "out")
    fake.write(path.parent, NEW, KEYS)
    return path, before, snapshot(tmp_path / "clean" / "out")


def tried(path: Path) -> tuple[Report | None, list[str]]:
    """Process and return the report, and every sentence about what went wrong."""
    try:
        report = beamline.process(path)
    except DataFileError as error:
        return None, [str(error)]
    return report, [str(failure) for failure in report.failed]


def shards(files: dict[str, bytes]) -> dict[str, bytes]:
    return {name: content for name, content in files.items() if name.startswith("shards")}


@pytest.mark.parametrize("room", [0, 100, 2000, 20_000, 60_000, 100_000, 150_000])
@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_disk_that_fills_up(
    stored: tuple[Path, dict[str, bytes], dict[str, bytes]],
    room: int,
    error: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path, before, after = stored
    write, left = atomic._write, room

    def limited(file: Any, data: memoryview) -> int:
        nonlocal left
        if not left:
            raise OSError(error, os.strerror(error))
        done = write(file, data[:left])
        left -= done
        return done

    with monkeypatch.context() as patch:
        patch.setattr(atomic, "_write", limited)
        _, sentences = tried(path)
    assert (left > 0) != any(os.strerror(error) in sentence for sentence in sentences)
    now = snapshot(path.parent / "out")
    assert now["results.nc"] in (before["results.nc"], after["results.nc"])
    if now["results.nc"] == before["results.nc"]:
        assert shards(before).items() <= now.items()
    assert not beamline.process(path).failed
    assert snapshot(path.parent / "out") == after


LIMITED = """
import resource, sys, os
from pathlib import Path
from beamline import processing, techniques
from beamline.errors import RedoxlightError
from beamline.readers import registry
from tests.beamline import fake

techniques.techniques = lambda: {"fake": fake.TECHNIQUE}
registry.formats = lambda: (fake.FORMAT,)
import h5netcdf, xarray, beamline.store
processing.check(sys.argv[1])  # loads what nobody may not read
if sys.argv[2] == "size":
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), resource.RLIM_INFINITY))
elif os.geteuid() == 0:
    os.setgid(65534)
    os.setuid(65534)  # nobody: the rights of folders do not bind root
try:
    for failure in processing.process(sys.argv[1]).failed:
        print(failure)
except RedoxlightError as error:
    print(error)
"""


def limited(path: Path, *arguments: str) -> str:
    """Process in a process of its own under a limit and return what it says went wrong."""
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, path, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("size", [500, 5000])
def test_files_that_may_not_grow(stored: tuple[Path, dict[str, bytes], dict[str, bytes]], size: int) -> None:
    path, before, after = stored
    assert "File too large" in limited(path, "size", str(size))
    now = snapshot(path.parent / "out")
    assert before.items() - {("journal.jsonl", before["journal.jsonl"])} <= now.items()
    beamline.process(path)
    assert snapshot(path.parent / "out") == after


def test_an_output_folder_that_may_not_be_written(
    stored: tuple[Path, dict[str, bytes], dict[str, bytes]],
) -> None:
    path, before, after = stored
    with tempfile.TemporaryDirectory() as name:  # others may not look into the folders of pytest
        folder = Path(name) / "work"
        shutil.copytree(path.parent, folder)
        output = folder / "out"
        modes = [(item, item.stat().st_mode) for item in (output, *output.rglob("*"))]
        Path(name).chmod(0o755)
        for item, mode in modes:
            item.chmod(mode & ~0o222)
        said = limited(folder / path.name, "nobody")
        for item, mode in modes:
            item.chmod(mode)
        assert f"{output}: cannot be written to (Permission denied)" in said
        assert snapshot(output) == before
        beamline.process(folder / path.name)
        assert snapshot(output) == after


@pytest.mark.parametrize("gone", range(1, 4))
@pytest.mark.parametrize("back", [1, 2, 9])
def test_an_output_folder_that_vanishes_and_returns(
    stored: tuple[Path, dict[str, bytes], dict[str, bytes]],
    gone: int,
    back: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As a network folder does: what was written meanwhile is hidden when the folder is back."""
    path, before, after = stored
    output, away = path.parent / "out", path.parent / "away"
    run, count = tasks.run_chunk, 0

    def restore() -> None:
        if away.exists():
            shutil.rmtree(output, ignore_errors=True)
            away.rename(output)

    def run_chunk(*arguments: Any) -> None:
        nonlocal count
        count += 1
        if count == gone:
            output.rename(away)
        if count == gone + back:
            restore()
        run(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(tasks, "run_chunk", run_chunk)
        tried(path)
    restore()
    now = snapshot(output)
    assert now["results.nc"] in (before["results.nc"], after["results.nc"])
    if now["results.nc"] == before["results.nc"]:
        assert shards(before).items() <= now.items()
    beamline.process(path)
    assert snapshot(output) == after


def test_two_processes_on_one_output_folder(stored: tuple[Path, dict[str, bytes], dict[str, bytes]]) -> None:
    path, before, after = stored
    output = path.parent / "out"
    with journal.locked(output):
        said = limited(path, "size", "-1")
        with pytest.raises(ConfigError, match=f"is being worked on by process {os.getpid()}"):
            beamline.process(path)
    assert f"{output}: is being worked on by process {os.getpid()}; wait until it is done" in said
    assert snapshot(output) == before
    beamline.process(path)
    assert snapshot(output) == after
