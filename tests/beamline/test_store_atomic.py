"""A file is whole or absent: failing system calls, killed writers, racing sweepers."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import beamline
from beamline import atomic
from beamline.errors import DataFileError
from tests.beamline.examples import patterns

ROOT = Path(__file__).parents[2]
OLD, NEW = b"old" * 1000, b"new" * 2000
BEFORE_RENAME = ["_create", "_lock", "_write", "_sync", "_rename"]


def failing(error: BaseException) -> Callable[..., Any]:
    """A system call that raises `error`."""

    def call(*args: Any) -> Any:
        raise error

    return call


def parts(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith(atomic.PREFIX)]


def run(code: str, *args: str | Path, timeout: float = 100) -> str:
    """Run Python in a process of its own and return what it prints."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, *(["-c", code] if "\n" in code else [code]), *map(str, args)]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=timeout, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_killed_at_every_point_the_file_is_whole(tmp_path: Path) -> None:
    report = json.loads(run(str(Path(__file__).with_name("kill_driver.py")), tmp_path))
    assert report["violations"] == []
    assert report["forced"] > 60  # two settings, each with every system call before, within and after
    assert report["littered"] > 10  # most random kills came while a file was being written


@pytest.mark.parametrize("name", BEFORE_RENAME)
@pytest.mark.parametrize("exists", [True, False])
def test_failing_call_leaves_the_old_file(
    name: str, exists: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "x.nc"
    if exists:
        atomic.write_atomic(target, OLD)
    with monkeypatch.context() as patch:
        patch.setattr(atomic, name, failing(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))))
        with pytest.raises(DataFileError, match=r"x\.nc: cannot be written \(No space left on device\)"):
            atomic.write_atomic(target, NEW)
    assert (target.read_bytes() if target.exists() else None) == (OLD if exists else None)
    assert parts(tmp_path) == []


@pytest.mark.parametrize("name", BEFORE_RENAME)
@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit, MemoryError])
def test_interrupt_passes_and_leaves_the_old_file(
    name: str, interrupt: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "x.nc"
    atomic.write_atomic(target, OLD)
    monkeypatch.setattr(atomic, name, failing(interrupt()))
    with pytest.raises(interrupt):
        atomic.write_atomic(target, NEW)
    assert target.read_bytes() == OLD
    assert parts(tmp_path) == []


def test_disk_that_fills_up_half_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "x.nc"
    atomic.write_atomic(target, OLD)
    write, room = atomic._write, 2500

    def limited(file: Any, data: memoryview) -> int:
        nonlocal room
        if not room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        done = write(file, data[:room])
        room -= done
        return done

    monkeypatch.setattr(atomic, "_write", limited)
    with pytest.raises(DataFileError, match=r"No space left on device.*make room on the disk"):
        atomic.write_atomic(target, NEW)
    assert target.read_bytes() == OLD
    assert parts(tmp_path) == []


def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = atomic._write
    monkeypatch.setattr(atomic, "_write", lambda file, data: write(file, data[:7]))
    atomic.write_atomic(tmp_path / "x", NEW)
    assert (tmp_path / "x").read_bytes() == NEW


def test_folder_that_cannot_be_flushed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(atomic, "_sync_folder", failing(OSError(errno.EIO, os.strerror(errno.EIO))))
    with pytest.raises(DataFileError, match="was written, but its folder could not be flushed"):
        atomic.write_atomic(tmp_path / "x", NEW)
    assert (tmp_path / "x").read_bytes() == NEW
    assert parts(tmp_path) == []


def test_failure_to_clean_up_does_not_hide_the_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(atomic, "_write", failing(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))))
        patch.setattr(atomic, "_remove", failing(OSError(errno.EIO, os.strerror(errno.EIO))))
        with pytest.raises(DataFileError, match="No space left on device"):
            atomic.write_atomic(tmp_path / "x", NEW)
    assert len(parts(tmp_path)) == 1
    atomic.write_atomic(tmp_path / "x", NEW)
    assert parts(tmp_path) == []


LIMITED = """
import resource, sys
import beamline
from beamline.errors import DataFileError
from tests.beamline.examples import patterns
resource.setrlimit(resource.RLIMIT_FSIZE, (8192, resource.RLIM_INFINITY))
try:
    beamline.save(patterns(frames=50), sys.argv[1])
except DataFileError as error:
    print(error)
"""


def test_file_larger_than_the_system_allows(tmp_path: Path) -> None:
    target = tmp_path / "x.nc"
    beamline.save(patterns(), target)
    before = target.read_bytes()
    assert run(LIMITED, target).strip() == (
        f"{target}: cannot be written (File too large); make room on the disk and try again"
    )
    assert target.read_bytes() == before
    assert parts(tmp_path) == []


READ_ONLY = """
import os, tempfile
from pathlib import Path
from beamline import atomic
from beamline.errors import DataFileError
with tempfile.TemporaryDirectory() as name:
    folder = Path(name) / "inner"
    folder.mkdir()
    target = folder / "x.nc"
    atomic.write_atomic(target, b"old")
    os.chmod(name, 0o755)
    os.chmod(folder, 0o555)
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)  # nobody: the rights of folders do not bind root
    for path in (target, folder / "new" / "y.nc"):
        try:
            atomic.write_atomic(path, b"new")
        except DataFileError as error:
            print(error.problem, error.remedy, error.subject == str(path), target.read_bytes().decode())
    if root:
        os.seteuid(0)
    os.chmod(folder, 0o755)
"""


def test_folder_that_may_not_be_written(tmp_path: Path) -> None:
    line = "cannot be written (Permission denied) choose a folder you may write to True old\n"
    assert run(READ_ONLY) == line * 2


def test_missing_folders_are_made(tmp_path: Path) -> None:
    atomic.write_atomic(tmp_path / "a" / "b" / "x", NEW)
    assert (tmp_path / "a" / "b" / "x").read_bytes() == NEW


def test_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(OLD)
    for path in (tmp_path / "a" / "x", tmp_path / "a" / "b" / "x"):
        with pytest.raises(DataFileError, match="cannot be written"):
            atomic.write_atomic(path, NEW)
    assert (tmp_path / "a").read_bytes() == OLD


def test_target_that_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    with pytest.raises(DataFileError, match="Is a directory"):
        atomic.write_atomic(tmp_path / "x", NEW)
    assert parts(tmp_path) == []


def test_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "x").write_bytes(OLD)
    (tmp_path / "x").symlink_to(tmp_path / "disk" / "x")
    atomic.write_atomic(tmp_path / "x", NEW)
    assert (tmp_path / "x").is_symlink()
    assert (tmp_path / "disk" / "x").read_bytes() == NEW


def test_empty_file_and_longest_name(tmp_path: Path) -> None:
    atomic.write_atomic(tmp_path / ("x" * 255), b"")
    assert (tmp_path / ("x" * 255)).read_bytes() == b""


def test_rights_follow_the_umask(tmp_path: Path) -> None:
    atomic.write_atomic(tmp_path / "x", NEW)
    (tmp_path / "y").write_bytes(NEW)
    assert (tmp_path / "x").stat().st_mode == (tmp_path / "y").stat().st_mode


def test_sweep_removes_what_killed_writers_left_below(tmp_path: Path) -> None:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    for folder in (tmp_path, inner):
        (folder / f"{atomic.PREFIX}0{atomic.SUFFIX}").write_bytes(b"part")
    (inner / "x.part").write_bytes(OLD)
    assert atomic.sweep(tmp_path) == 2
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == ["x.part"]


def test_sweep_leaves_a_writer_at_work_alone(tmp_path: Path) -> None:
    temporary, file = atomic._start(tmp_path)
    with file:
        assert atomic.sweep(tmp_path) == 0
        assert temporary.exists()
    assert atomic.sweep(tmp_path) == 1


def test_sweep_of_a_missing_folder_finds_nothing(tmp_path: Path) -> None:
    assert atomic.sweep(tmp_path / "none") == 0


def test_link_in_the_place_of_a_temporary_file_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(OLD)
    (tmp_path / f"{atomic.PREFIX}0{atomic.SUFFIX}").symlink_to(tmp_path / "x")
    assert atomic.sweep(tmp_path) == 0
    assert (tmp_path / "x").read_bytes() == OLD


def test_sweeper_that_is_quicker_than_the_writers_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create, lock, taken = atomic._create, atomic._lock, []

    def create_and_lose(temporary: Path) -> Any:
        if not taken:
            file = create(temporary)
            taken.append(open(temporary, "r+b", buffering=0))  # noqa: SIM115
            lock(taken[0])
            return file
        return create(temporary)

    monkeypatch.setattr(atomic, "_create", create_and_lose)
    atomic.write_atomic(tmp_path / "x", NEW)
    assert (tmp_path / "x").read_bytes() == NEW
    assert len(parts(tmp_path)) == 1  # the one the other side holds
    taken[0].close()
    assert atomic.sweep(tmp_path) == 1


def test_file_swept_between_creating_and_locking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock, swept = atomic._lock, []

    def sweep_first(file: Any) -> None:
        if not swept:
            swept.append(True)
            assert len(parts(tmp_path)) == 1
            (tmp_path / parts(tmp_path)[0]).unlink()
        lock(file)

    monkeypatch.setattr(atomic, "_lock", sweep_first)
    atomic.write_atomic(tmp_path / "x", NEW)
    assert (tmp_path / "x").read_bytes() == NEW
    assert parts(tmp_path) == []


def test_sweeper_that_opened_a_file_before_it_became_the_target(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / f"{atomic.PREFIX}0{atomic.SUFFIX}"
    temporary.write_bytes(NEW)
    lock = atomic._lock

    def finish_first(file: Any) -> None:
        temporary.rename(tmp_path / "x")
        lock(file)

    monkeypatch.setattr(atomic, "_lock", finish_first)
    assert atomic.sweep(tmp_path) == 0
    assert (tmp_path / "x").read_bytes() == NEW


def test_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(atomic, "_lock", failing(OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))))
    left = tmp_path / f"{atomic.PREFIX}0{atomic.SUFFIX}"
    left.write_bytes(b"part")
    atomic.write_atomic(tmp_path / "x", NEW)
    assert (tmp_path / "x").read_bytes() == NEW
    assert left.exists()  # it cannot be known whether it has a writer


SEVERAL = """
import os, sys
from pathlib import Path
from beamline import atomic
folder, number = Path(sys.argv[1]), int(sys.argv[2])
atomic.CHUNK = 1024
for _ in range(60):
    atomic.write_atomic(folder / "same", bytes([number]) * 20000)
    atomic.write_atomic(folder / str(number), bytes([number]) * 10000)
    atomic.sweep(folder)
"""


def test_several_processes_in_one_folder(tmp_path: Path) -> None:
    outcomes: list[BaseException | None] = []

    def start(number: int) -> None:
        try:
            run(SEVERAL, tmp_path, str(number))
            outcomes.append(None)
        except BaseException as error:
            outcomes.append(error)

    threads = [threading.Thread(target=start, args=(number,)) for number in (1, 2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes == [None] * 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "2", "3", "same"]
    same = (tmp_path / "same").read_bytes()
    assert same in [bytes([number]) * 20000 for number in (1, 2, 3)]
    assert all((tmp_path / str(n)).read_bytes() == bytes([n]) * 10000 for n in (1, 2, 3))
