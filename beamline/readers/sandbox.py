"""fabio in a process of its own, under limits of time and memory.

A damaged file can hold fabio for ever (a truncated CBF does) or make it fill the memory. The process is
started when first needed and then kept; after a file that went wrong beyond repair it is killed and replaced.
Several threads get a process each. None outlives the interpreter: it ends when its standard input closes.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import select
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from beamline.errors import DataFileError

if TYPE_CHECKING:
    import numpy as np

START_SECONDS = 60.0
"""Limit for the start of the process: fabio may come from a slow disk."""

_SECONDS = 3.0
_SECONDS_PER_MB = 1.0
_BYTES = 512 * 2**20

Message = dict[str, Any]


def decode(
    path: Path, frames: tuple[int, int] | None = None, timeout: float | None = None
) -> tuple[int, np.ndarray[Any, Any], list[dict[str, str]]]:
    """Decode the frames of a file.

    Parameters
    ----------
    path
        The file.
    frames
        Half-open range of frames; None is all. What lies outside the file is left out.
    timeout
        Limit in s; by default 3 s and 1 s more per MB of the file.

    Returns
    -------
    total
        Number of frames in the file.
    counts
        Pixels, shape (frame, y, x), in the type of the file.
    headers
        One per frame.

    Raises
    ------
    DataFileError
        The file is damaged, or was not decoded in time.
    """
    import numpy as np

    total, blocks, headers = _run(path, frames, timeout)
    if len({(block.shape, block.dtype) for block in blocks}) > 1:
        raise DataFileError(path, "holds frames of different size or type", "read it as separate files")
    if not blocks:
        raise DataFileError(path, f"has frames 0 to {total}, none of them in {frames}")
    return total, blocks[0][np.newaxis] if len(blocks) == 1 else np.stack(blocks), headers


def count(path: Path, timeout: float | None = None) -> int:
    """Return the number of frames of a file.

    Raises
    ------
    DataFileError
        As `decode`.
    """
    return _run(path, (0, 0), timeout)[0]


def _run(
    path: Path, frames: tuple[int, int] | None, timeout: float | None
) -> tuple[int, list[np.ndarray[Any, Any]], list[dict[str, str]]]:
    size = os.stat(path).st_size
    seconds = _SECONDS + _SECONDS_PER_MB * size / 1e6 if timeout is None else timeout
    job = {
        "path": os.fspath(path.absolute()),
        "frames": frames,
        "seconds": seconds,
        "bytes": _BYTES + 2 * size,
    }
    decoder = _take()
    try:
        answer = decoder.run(job, time.monotonic() + seconds)
    except _DecodeError as error:
        _give_back(decoder)
        raise DataFileError(path, f"cannot be decoded ({error})", "is it complete?") from None
    except TimeoutError:
        decoder.kill()
        raise DataFileError(
            path, f"was not decoded within {seconds:.1f} s", "it is damaged, or needs timeout=... (in s)"
        ) from None
    except (EOFError, BrokenPipeError):
        decoder.kill()
        raise DataFileError(path, "made the decoder fail", "is it complete?") from None
    except BaseException:
        decoder.kill()
        raise
    _give_back(decoder)
    return answer


class _DecodeError(Exception):
    """fabio could not decode the file; its process is well."""


class _Decoder:
    """One process and its two pipes."""

    def __init__(self) -> None:
        script = Path(__file__).with_name("decoder.py")
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        self.process = subprocess.Popen(  # noqa: S603 - our own script, by its full path
            [sys.executable, "-P", os.fspath(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            env=os.environ | threads,
            start_new_session=True,  # an interrupt from the keyboard is ours to handle
        )
        assert self.process.stdin  # noqa: S101 - they are pipes
        assert self.process.stdout  # noqa: S101
        self.jobs, self.answers = self.process.stdin, self.process.stdout
        self.poll = select.poll()
        self.poll.register(self.answers, select.POLLIN)
        try:
            self.message(time.monotonic() + START_SECONDS)
        except BaseException:
            self.kill()
            raise

    def run(
        self, job: Message, deadline: float
    ) -> tuple[int, list[np.ndarray[Any, Any]], list[dict[str, str]]]:
        """Return the number of frames, the frames asked for and their headers.

        Raises
        ------
        TimeoutError, EOFError, BrokenPipeError
            The process did not answer in time, or ended.
        """
        import numpy as np

        self.jobs.write(json.dumps(job).encode() + b"\n")
        total = int(self.message(deadline)["frames"])
        blocks, headers = [], []
        while "end" not in (message := self.message(deadline)):
            block = np.empty(message["shape"], message["dtype"])
            self.receive(memoryview(block.reshape(-1).view(np.uint8).data), deadline)
            blocks.append(block)
            headers.append(message["header"])
        return total, blocks, headers

    def message(self, deadline: float) -> Message:
        """Return the next message."""
        length = bytearray(4)
        self.receive(memoryview(length), deadline)
        encoded = bytearray(struct.unpack("<I", length)[0])
        self.receive(memoryview(encoded), deadline)
        message: Message = json.loads(encoded)
        if "error" in message:
            raise _DecodeError(message["error"])
        return message

    def receive(self, buffer: memoryview, deadline: float) -> None:
        """Fill `buffer` from the pipe."""
        descriptor, filled = self.answers.fileno(), 0
        while filled < len(buffer):
            left = deadline - time.monotonic()
            if left <= 0 or not self.poll.poll(1000 * left):
                raise TimeoutError
            number = os.readv(descriptor, [buffer[filled:]])
            if number == 0:
                raise EOFError
            filled += number

    def kill(self) -> None:
        """End the process and leave nothing of it behind."""
        self.process.kill()
        for pipe in (self.jobs, self.answers):
            with contextlib.suppress(OSError):
                pipe.close()
        self.process.wait()


_idle: dict[int, list[_Decoder]] = {}
"""Idle processes, by the process that started them: a forked process must not use the pipes of another."""


def _take() -> _Decoder:
    try:
        decoder = _idle.setdefault(os.getpid(), []).pop()
    except IndexError:
        return _Decoder()
    if decoder.process.poll() is not None:  # somebody ended it
        decoder.kill()
        return _take()
    return decoder


def _give_back(decoder: _Decoder) -> None:
    _idle.setdefault(os.getpid(), []).append(decoder)


@atexit.register
def _end() -> None:
    for decoder in _idle.pop(os.getpid(), []):
        decoder.kill()
