"""Files that are whole or absent, whatever happens while they are written.

A file is written under a temporary name in the folder it belongs to, flushed to disk, renamed over its
target in one step, and the folder is flushed too. Whoever looks, or comes back after a crash, finds the old
file or the new one, never a part of either.

A writer holds an advisory lock (``flock``) on its temporary file for as long as it lives; the system drops
the lock when the writer dies. So a temporary file that can be locked has no writer left, and `sweep` removes
it. On a file system without locks nothing is swept and writing works all the same.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
from io import FileIO
from pathlib import Path

from beamline.errors import DataFileError

PREFIX = ".redoxlight-"
SUFFIX = ".part"

CHUNK = 1 << 24
"""Bytes handed to the system at once, so that an interrupt does not wait for a whole file."""

_NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL})
_NO_FOLDER_SYNC = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EACCES})


def write_atomic(path: str | os.PathLike[str], data: bytes | bytearray | memoryview) -> None:
    """Write a file so that it is whole or absent, replacing an older one in one step.

    Missing folders are made. A symbolic link is followed: the file it points to is replaced. What killed
    writers left in the folder is removed. Threads and processes may write to one folder and to one target at
    the same time; the last one wins, whole.

    Raises
    ------
    DataFileError
        The file cannot be written (disk full, no permission, ...). Unless the sentence says otherwise, an
        older file is as it was.
    """
    target = Path(os.path.realpath(path))
    temporary: Path | None = None
    try:
        _make_folder(target.parent)
        sweep_folder(target.parent)
        temporary, file = _start(target.parent)
        with file:
            try:
                view = memoryview(data).cast("B")
                while view:
                    view = view[_write(file, view[:CHUNK]) :]
                _sync(file)
                _rename(temporary, target)
            except BaseException:
                with contextlib.suppress(OSError):
                    _remove(temporary)
                raise
    except OSError as error:
        raise DataFileError(path, f"cannot be written ({_reason(error)})", _remedy(error)) from error
    try:
        _sync_folder(target.parent)
    except OSError as error:
        problem = f"was written, but its folder could not be flushed to disk ({_reason(error)})"
        raise DataFileError(path, problem, "write it again before relying on it") from error


def sweep(folder: str | os.PathLike[str]) -> int:
    """Remove what killed writers left in `folder` and the folders below it; return the number of files.

    Files of writers still at work, and what cannot be removed, stay.
    """
    return sum(sweep_folder(Path(inner)) for inner, _, _ in os.walk(folder))


def sweep_folder(folder: Path) -> int:
    """Remove what killed writers left in `folder` itself; return the number of files."""
    try:
        names = [name for name in os.listdir(folder) if name.startswith(PREFIX) and name.endswith(SUFFIX)]
    except OSError:
        return 0
    return sum(_sweep_file(folder / name) for name in names)


def _sweep_file(temporary: Path) -> bool:
    """Remove a temporary file if it has no writer."""
    try:
        with FileIO(os.open(temporary, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "wb") as file:
            _lock(file)
            # Between opening and locking, its writer may have renamed it: then it is a target now, and the
            # name is gone. The names are random, so the name cannot have come back for another file.
            if not _is(temporary, file):
                return False
            _remove(temporary)
            return True
    except OSError:
        return False


def _start(folder: Path) -> tuple[Path, FileIO]:
    """Create a temporary file and lock it."""
    while True:
        temporary = folder / f"{PREFIX}{secrets.token_hex(8)}{SUFFIX}"
        file = _create(temporary)
        try:
            try:
                _lock(file)
            except BlockingIOError:  # a sweeper was quicker and is about to remove it
                file.close()
                continue
            except OSError as error:
                if error.errno not in _NO_LOCKS:
                    raise
            if _is(temporary, file):
                return temporary, file
            file.close()  # a sweeper came and went before the lock
        except BaseException:
            file.close()
            with contextlib.suppress(OSError):
                _remove(temporary)
            raise


def _is(path: Path, file: FileIO) -> bool:
    """Tell whether `path` still names the open file."""
    try:
        return os.path.samestat(os.stat(path, follow_symlinks=False), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def _make_folder(folder: Path) -> None:
    """Make `folder` and those above it, each entry flushed to disk."""
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    _mkdir(folder)
    _sync_folder(folder.parent)


def _reason(error: OSError) -> str:
    return error.strerror or type(error).__name__


def _remedy(error: OSError) -> str:
    if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        return "make room on the disk and try again"
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        return "choose a folder you may write to"
    return "check the path and the disk"


# The system calls, one function each, so that tests can make each of them fail.


def _mkdir(folder: Path) -> None:
    folder.mkdir(exist_ok=True)


def _create(temporary: Path) -> FileIO:
    return open(temporary, "xb", buffering=0)


def _lock(file: FileIO) -> None:
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _write(file: FileIO, data: memoryview) -> int:
    return file.write(data)


def _sync(file: FileIO) -> None:
    os.fsync(file.fileno())


def _rename(temporary: Path, target: Path) -> None:
    os.replace(temporary, target)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:  # some file systems have no such thing
            raise
    finally:
        os.close(descriptor)


def _remove(temporary: Path) -> None:
    os.unlink(temporary)
