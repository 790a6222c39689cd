"""The process that decodes images with fabio for `sandbox`; it is run as a script and imports no other part.

It answers one job per line of its standard input. A job is JSON: the path, the range of frames (null: all),
and the limits of time (s) and memory (bytes beyond what the process has at its start). An answer is a
message of JSON behind its length in four bytes: first the number of frames, then one message with the shape,
type and header of each frame followed by its bytes, then the end; or an error instead of any of these.

What fabio logs as an error is an error here: several of its readers log and fill up with zeros.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import resource
import signal
import struct
import sys
from typing import Any, BinaryIO


class _Errors(logging.Handler):
    """Collects what was logged as an error."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


def main() -> None:
    """Answer jobs until the standard input ends."""
    # the answers get the pipe for themselves: what a library prints must not come between
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    import fabio

    errors = _Errors()
    logging.getLogger().addHandler(errors)
    logging.captureWarnings(True)
    resting = _memory()
    _send(answers, {"ready": True})
    for line in sys.stdin.buffer:
        job = json.loads(line)
        errors.messages.clear()
        # the kernel ends the process if the time is up and nobody else did
        signal.setitimer(signal.ITIMER_REAL, job["seconds"] + 1.0)
        if resting:
            _limit(resting + job["bytes"])
        try:
            _answer(answers, fabio, job, errors)
        except MemoryError:
            _send(answers, {"error": "needs more memory than a file of its size may"})
        except Exception as error:
            _send(answers, {"error": f"{type(error).__name__}: {error}"})
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        if resting:
            _limit(resource.RLIM_INFINITY)


def _answer(answers: BinaryIO, fabio: Any, job: dict[str, Any], errors: _Errors) -> None:
    import numpy as np

    with fabio.open(job["path"]) as image:
        total = int(image.nframes)
        start, stop = job["frames"] or (0, total)
        _send(answers, {"frames": total, "format": type(image).__name__})
        for index in range(max(start, 0), min(stop, total)):
            frame = image if total == 1 else image.getframe(index)
            data = frame.data
            if data is None:
                raise ValueError("the decoder found no pixels in it")
            if errors.messages:
                raise ValueError(errors.messages[0])
            data = np.ascontiguousarray(data)
            if data.ndim != 2 or data.dtype.kind not in "iuf" or data.size == 0:
                raise ValueError(f"it is no grey-level image: shape {data.shape}, type {data.dtype}")
            data = data.astype(data.dtype.newbyteorder("="), copy=False)
            header = {str(key): _plain(value) for key, value in frame.header.items()}
            _send(answers, {"shape": data.shape, "dtype": data.dtype.str, "header": header}, data)
    _send(answers, {"end": True})


def _plain(value: Any) -> str:
    if isinstance(value, bytes):
        value = value.split(b"\0")[0].decode("latin-1")
    return str(value).strip()


def _send(answers: BinaryIO, message: dict[str, Any], data: Any = None) -> None:
    encoded = json.dumps(message).encode()
    answers.write(struct.pack("<I", len(encoded)) + encoded)
    if data is not None:
        answers.write(memoryview(data).cast("B"))
    answers.flush()


def _memory() -> int:
    """Return the address space in use; 0 where the system does not tell."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[0]) * resource.getpagesize()
    except (OSError, ValueError):
        return 0


def _limit(size: int) -> None:
    with contextlib.suppress(ValueError, OSError):  # a system without such limits
        resource.setrlimit(resource.RLIMIT_AS, (size, resource.getrlimit(resource.RLIMIT_AS)[1]))


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
        main()
