"""The work on one measurement: its chunks, what is missing of them, and the steps over the whole.

Whatever is made is stored first and read back from its shard, so that it makes no difference whether this run
made it or one before. What fails is named and fails alone.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from beamline import globs, tasks
from beamline.config import Beamtime, Measurement
from beamline.errors import DataFileError, RedoxlightError
from beamline.inventory import Inventory, Raw
from beamline.journal import DONE, FAILED, KEPT, Entry, Journal, hashes
from beamline.recipe import Recipe, Scheduler, nearby
from beamline.report import Counts, Failure, Report, Reporter
from beamline.tasks import Fault, Task

if TYPE_CHECKING:
    import xarray as xr


@dataclass
class Run:
    """What all measurements of a run share; the output folder is locked."""

    beamtime: Beamtime
    book: Journal
    inventory: Inventory
    runner: Scheduler
    progress: Reporter
    report: Report

    def is_stored(self, entry: Entry) -> bool:
        """Tell whether the result of a task is there."""
        return self.book.shard(entry).is_file()

    def name(self, path: Path) -> str:
        """Return a path as the journal names it: from the folder of beamtime.toml on.

        So the names stay true when raw data and analysis are moved together. Where the two share no folder
        but the root, they do not move together, and the whole path is the name.
        """
        folder = self.beamtime.folder
        apart = os.path.commonpath([path, folder]) == os.path.sep
        return str(path) if apart else Path(os.path.relpath(path, folder)).as_posix()

    def path(self, name: str) -> Path:
        """Return the path of a name in the journal."""
        return Path(os.path.normpath(self.beamtime.folder / name))


@dataclass
class Work:
    """One measurement in the course of a run.

    Attributes
    ----------
    run, measurement, files
        What it belongs to, and the raw files that are there.
    recipe
        None where it could not be made.
    tasks
        Chunks of the result, in order.
    steps
        Steps over the whole, as far as they are done.
    aside
        What else the journal holds: what failed, and what is kept though it is no part of the result.
    key
        Key of the result; "" where there is none.
    """

    run: Run
    measurement: Measurement
    files: list[Path]
    recipe: Recipe | None = None
    tasks: list[Task] = field(default_factory=list)
    steps: list[Entry] = field(default_factory=list)
    aside: list[Entry] = field(default_factory=list)
    key: str = ""

    @property
    def place(self) -> str:
        """Place of the result in the tree of results."""
        return self.measurement.place

    @property
    def stored(self) -> list[Entry]:
        """What the journal says is stored of the measurement, and is."""
        entries = self.run.book.of(self.place)
        return [entry for entry in entries if entry.state != FAILED and self.run.is_stored(entry)]

    @property
    def entries(self) -> list[Entry]:
        """What the journal will say, in an order that does not depend on how the work went."""
        aside = sorted(self.aside, key=lambda e: (globs.natural(e.name), e.frames or (0, 0), e.key))
        return [*(task.entry for task in self.tasks), *aside, *self.steps]

    def do(self) -> None:
        """Do what is not stored yet."""
        counts = self.run.report.measurements[self.place] = Counts()
        if self.recipe is None:
            counts.failed = len(self.files)
            self.aside = [replace(entry, state=KEPT) for entry in self.stored]
            return
        self._process_chunks(self.recipe, counts)
        if self.tasks:
            self._process_whole(self.recipe)
        else:
            self.aside += [replace(entry, state=KEPT) for entry in self.stored if entry.step]

    def _process_chunks(self, recipe: Recipe, counts: Counts) -> None:
        """Run the chunks that are not stored yet; put those of the result in order."""
        found, failures = self._look(recipe)
        unreadable = [file for file in failures if not _is_readable(file)]
        seen = hashes(self.run.book.of(self.place))
        now = hashes(task.entry for chunks in found.values() for task in chunks)
        changed = [name for name, sha256 in now.items() if seen.get(name, sha256) != sha256]
        self.run.report.changed += [is_changed(self.place, name) for name in changed]
        todo = [task for file in found for task in found[file] if not self.run.is_stored(task.entry)]
        failures |= self._run_tasks(recipe, todo)

        missing = self._missing(recipe, found, unreadable)
        for file, stored in missing.items():
            gone = "cannot be read any more" if file in unreadable else "is gone"
            if stored:
                failures.pop(file, None)
                remedy = "its stored result stays; exclude the file to drop it"
                self.run.report.missing.append(Failure(self.place, self.run.name(file), gone, remedy))
            else:
                problem = f"{gone}, and what is stored of it was made with other parameters"
                remedy = "bring it back, or exclude it"
                failures[file] = Failure(self.place, self.run.name(file), problem, remedy)

        ran = {task.path for task in todo}
        for file in self._in_order(recipe, [f for f, stored in missing.items() if stored]):
            if file in failures:
                continue
            self.tasks += found.get(file) or missing[file]
            counts.missing += file in missing
            counts.done += file in ran
            counts.unchanged += file not in ran and file not in missing
        counts.failed = len(failures)
        for file in sorted(failures, key=lambda file: globs.natural(str(file))):
            self.run.report.failed.append(failures[file])
            self.aside += self._set_aside(file, found.get(file, []), failures[file])

    def _look(self, recipe: Recipe) -> tuple[dict[Path, list[Task]], dict[Path, Failure]]:
        """Return the tasks of every raw file, and what is wrong with those that cannot be looked at."""

        def look(file: Path) -> Raw | RedoxlightError:
            try:
                return self.run.inventory.look(file, recipe.read.get("kind"))
            except RedoxlightError as error:
                return error

        found: dict[Path, list[Task]] = {}
        failures: dict[Path, Failure] = {}
        looked: dict[Path, Raw | RedoxlightError] = {}
        for index, raw in self._progressing(
            f"{self.place}: files", nearby(self.run.runner).map(look, recipe.files), len(recipe.files)
        ):
            looked[recipe.files[index]] = raw
        for file in recipe.files:
            raw = looked[file]
            if isinstance(raw, Raw):
                names = [self.run.name(path) for path, _ in raw.files]
                found[file] = tasks.chunks(recipe, file, raw, names, self.run.beamtime.timezone)
            else:
                failures[file] = self.failure(raw, file)
        return found, failures

    def _run_tasks(self, recipe: Recipe, todo: Sequence[Task]) -> dict[Path, Failure]:
        """Run tasks and write down how they ended; return what failed."""
        run = functools.partial(tasks.attempt_chunk, replace(recipe, files=()))  # the task names its own
        items = [(task, self.run.book.shard(task.entry)) for task in todo]
        failures: dict[Path, Failure] = {}
        for index, wrong in self._progressing(self.place, self.run.runner.map(run, items), len(todo)):
            task = todo[index]
            failure = self._told(wrong, task.path)
            if failure:
                failures.setdefault(task.path, failure)
                for file in task.entry.files:
                    self.run.inventory.forget(self.run.path(file["name"]))
            self.run.book.append(_failed(task.entry, failure) if failure else task.entry)
        return failures

    def _missing(
        self, recipe: Recipe, found: Mapping[Path, list[Task]], unreadable: Sequence[Path]
    ) -> dict[Path, list[Task]]:
        """Return raw files that cannot be read any more, with the chunks stored of them that still hold.

        A file that is there under another name is not missing.
        """
        settings, folder = self.measurement.config, self.run.beamtime.folder
        here = {task.entry.files[0]["sha256"] for chunks in found.values() for task in chunks}
        stored: dict[Path, list[Entry]] = {}
        for entry in self.stored:
            file = self.run.path(entry.name)
            if entry.name and file not in found:
                stored.setdefault(file, []).append(entry)
        missing: dict[Path, list[Task]] = {}
        for file, entries in stored.items():
            latest = entries[-1].files
            if latest[0]["sha256"] in here or (file.is_file() and file not in unreadable):
                continue
            if not globs.rank(file, settings.files, folder) or globs.rank(file, settings.exclude, folder):
                continue
            holding = [
                Task(file, replace(e, state=DONE))
                for e in sorted(entries, key=lambda e: e.frames or (0, 0))
                if e.files == latest
                and e.key == tasks.chunk_key(recipe, e.files, e.frames, self.run.beamtime.timezone)
            ]
            missing[file] = holding if holding and len(holding) == holding[0].entry.chunks else []
        return missing

    def _in_order(self, recipe: Recipe, missing: Sequence[Path]) -> list[Path]:
        """Return the files of the recipe with missing ones where they would have been."""

        def rank(file: Path) -> Any:
            return globs.rank(file, self.measurement.config.files, self.run.beamtime.folder) or (0, [])

        order = [file for file in recipe.files if file not in missing]
        for file in sorted(missing, key=rank):
            after = (i for i, other in enumerate(order) if rank(other) > rank(file))
            order.insert(next(after, len(order)), file)
        return order

    def _set_aside(self, file: Path, chunks: Sequence[Task], failure: Failure) -> list[Entry]:
        """Return what the journal says of a file that failed: what is stored of it is kept."""
        name = self.run.name(file)
        kept = {entry.key: replace(entry, state=KEPT) for entry in self.stored if entry.name == name}
        kept |= {task.entry.key: replace(task.entry, state=KEPT) for task in chunks}
        kept = {key: entry for key, entry in kept.items() if self.run.is_stored(entry)}
        failed = [_failed(task.entry, failure) for task in chunks if task.entry.key not in kept]
        if not chunks:
            nameless = Entry(self.place, "", files=({"name": name, "sha256": ""},))
            failed = [_failed(nameless, failure)]
        return [*kept.values(), *failed]

    def _process_whole(self, recipe: Recipe) -> None:
        """Run the steps over the whole that are not stored yet."""
        first, keys = tasks.whole_keys(recipe, [task.entry.key for task in self.tasks])
        for step, key in zip(recipe.then, keys, strict=True):
            entry = Entry(self.place, key, step=tasks.step_name(step))
            self.steps.append(entry)
            if not self.run.is_stored(entry):
                self.run.progress.started(f"{self.place}: {entry.step}", 1)
                failure = self.attempt(functools.partial(self.value, len(self.steps)))
                self.run.progress.finished(f"{self.place}: {entry.step}")
                if failure:
                    self.drop(entry, failure)
                    return
        self.key = keys[-1] if keys else first

    def value(self, steps: int) -> xr.Dataset | xr.DataTree:
        """Return the whole after so many steps, from the shards; a damaged shard is made again."""
        assert self.recipe is not None  # noqa: S101 - no steps without a recipe
        if steps == 0:
            return self._gathered(self.recipe)
        entry, step = self.steps[steps - 1], self.recipe.then[steps - 1]
        shard = self.run.book.shard(entry)
        if shard.is_file():
            try:
                return tasks.load_shard(shard)
            except DataFileError:
                shard.unlink()
        tasks.store_shard(step(self.value(steps - 1)), entry, shard)
        self.run.book.append(entry)
        return tasks.load_shard(shard)

    def _gathered(self, recipe: Recipe) -> xr.Dataset | xr.DataTree:
        parts, names = [], []
        for task in self.tasks:
            shard = self.run.book.shard(task.entry)
            try:
                part = tasks.load_shard(shard)
            except DataFileError:
                if not _is_readable(task.path):
                    raise
                shard.unlink(missing_ok=True)
                tasks.run_chunk(recipe, task, shard)
                part = tasks.load_shard(shard)
            parts.append(part)
            names.append(task.entry.name)
        return parts[0] if recipe.gather is None else recipe.gather(parts, names)

    def drop(self, entry: Entry, failure: Failure) -> None:
        """Give up the result of a measurement; what is stored of its steps is kept."""
        self.run.report.failed.append(failure)
        kept = [replace(e, state=KEPT) for e in self.stored if e.step and e.key != entry.key]
        self.aside += [*kept, _failed(entry, failure)]
        self.steps, self.key = [], ""

    def attempt(self, work: Callable[[], Any], file: Path | None = None) -> Failure | None:
        """Do a piece of work that may fail without taking the others with it."""
        return self._told(tasks.attempt(work), file)

    def _told(self, wrong: RedoxlightError | Fault | None, file: Path | None) -> Failure | None:
        """Return what went wrong as the report names it."""
        if isinstance(wrong, Fault):
            subject = self.run.name(file) if file else self.place
            remedy = "this is a fault of the program: please report it"
            return Failure(self.place, subject, wrong.problem, remedy, wrong.traceback)
        return None if wrong is None else self.failure(wrong, file)

    def failure(self, error: RedoxlightError, file: Path | None = None) -> Failure:
        """Return an error with the name of the input it belongs to and without our folders."""
        here = f"{self.run.beamtime.folder}{os.sep}"
        subject, problem, remedy = (str(part).replace(here, "") for part in error.args)
        if file and self.run.name(file) not in subject:
            subject, problem = self.run.name(file), f"{subject}: {problem}"
        return Failure(self.place, subject, problem, remedy)

    def _progressing(
        self, what: str, results: Iterator[tuple[int, Any]], total: int
    ) -> Iterator[tuple[int, Any]]:
        self.run.progress.started(what, total)
        try:
            for result in results:
                yield result
                self.run.progress.advanced(what)
        finally:
            self.run.progress.finished(what)


def is_changed(place: str, name: str) -> Failure:
    """Return what to say of a raw file whose bytes are not those that were processed."""
    remedy = "it is processed as a new file; restore it if it should not have changed"
    return Failure(place, name, "changed since it was first processed", remedy)


def _failed(entry: Entry, failure: Failure) -> Entry:
    error = {"subject": failure.subject, "problem": failure.problem, "remedy": failure.remedy}
    return replace(entry, state=FAILED, error=error)


def _is_readable(path: Path) -> bool:
    try:
        with open(path, "rb") as file:
            file.read(1)
    except OSError:
        return False
    return True
