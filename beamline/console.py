"""How the command speaks: results to stdout, errors and progress to stderr, JSON to programs."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TextIO

from beamline.errors import RedoxlightError

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

DONE, SOME_FAILED, WRONG, INTERRUPTED = 0, 1, 2, 130
"""Exit codes: done; some inputs failed, the others are done; the command or the configuration is wrong."""

PATIENCE = 2.0
"""Seconds of work before a progress bar appears."""


@dataclass(frozen=True)
class Outcome:
    """What a command has to say when it is through.

    Attributes
    ----------
    document
        For programs; plain values.
    text
        For people.
    errors
        Sentences about what did not work out, for stderr.
    code
        Exit code.
    """

    document: Any
    text: str = ""
    errors: list[str] = field(default_factory=list)
    code: int = DONE

    @classmethod
    def of(cls, value: Any) -> Outcome:
        """Return the outcome of any command: of one that has printed itself, the value is the document."""
        if isinstance(value, cls):
            return value
        if isinstance(value, os.PathLike):
            value = {"result": os.fspath(value)}
        return cls({} if value is None else _plain(value))

    @classmethod
    def of_error(cls, error: RedoxlightError, code: int) -> Outcome:
        """Return the outcome of a command that ended with an error."""
        parts = {"subject": error.subject, "problem": error.problem, "remedy": error.remedy}
        document = {"error": {"type": type(error).__name__, "message": str(error), **parts}}
        return cls(document, errors=[str(error)], code=code)


def tell(outcome: Outcome, as_json: bool) -> int:
    """Print an outcome and return its exit code; whoever stops reading is not an error."""
    try:
        if as_json:
            sys.stdout.write(json.dumps(outcome.document, allow_nan=False) + "\n")
        else:
            for sentence in outcome.errors:
                sys.stderr.write(f"redoxlight: {sentence}\n")
            if outcome.text:
                sys.stdout.write(outcome.text.rstrip("\n") + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        quiet_stdout()
    return outcome.code


def warn(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Print a warning as a sentence; where in the program it arose is of no use to who reads it."""
    print(f"redoxlight: {message}", file=sys.stderr)  # noqa: T201 - this is the console


def quiet_stdout() -> None:
    """Send the rest of stdout nowhere, so that the interpreter does not stumble over it when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def table(rows: list[list[Any]]) -> str:
    """Return rows as lines with columns: text to the left, numbers to the right."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    right = [all(isinstance(row[i], int | float) for row in rows[1:]) for i in range(len(widths))]
    lines = (
        "  ".join(c.rjust(w) if r else c.ljust(w) for c, w, r in zip(row, widths, right, strict=True))
        for row in cells
    )
    return "\n".join(line.rstrip() for line in lines)


class Bar:
    """A progress bar on a terminal, for work that takes its time; a `beamline.report.Reporter`."""

    def __init__(self, shown: bool = True) -> None:
        self._shown = shown and sys.stderr.isatty()
        self._progress: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._work: dict[str, list[int]] = {}
        self._begin = time.monotonic()

    def __enter__(self) -> Bar:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if self._progress:
            self._progress.stop()

    def started(self, what: str, total: int) -> None:
        """Begin `total` pieces of work."""
        self._work[what] = [0, total]
        self._show(what)

    def advanced(self, what: str) -> None:
        """Count one of them as finished."""
        self._work[what][0] += 1
        self._show(what)

    def finished(self, what: str) -> None:
        """End the work."""
        self._work.pop(what, None)
        task = self._tasks.pop(what, None)
        if self._progress and task is not None:
            self._progress.remove_task(task)

    def _show(self, what: str) -> None:
        if not self._shown or time.monotonic() - self._begin < PATIENCE:
            return
        if self._progress is None:
            from rich.console import Console
            from rich.progress import Progress

            self._progress = Progress(console=Console(stderr=True), transient=True)
            self._progress.start()
        done, total = self._work[what]
        if what not in self._tasks:
            self._tasks[what] = self._progress.add_task(what, total=total)
        self._progress.update(self._tasks[what], completed=done)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value
