"""HDF5 files and the files they link to, followed with care.

Files are opened read-only and without locks. Links and virtual datasets lead to files in the same folder or
below it and nowhere else, and a source that is missing or pixels that were not written are errors: HDF5
itself would give zeros.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from itertools import product
from pathlib import Path
from typing import Any

from beamline.errors import DataFileError

_DEEPEST = 32


class Tree:
    """A file and the files it links to, open until `stack` closes.

    Attributes
    ----------
    path
        The file, as errors name it.
    root
        The open file.
    """

    def __init__(self, path: Path, stack: ExitStack) -> None:
        self.path = path
        self._folder = path.resolve().parent
        self._stack = stack
        self._files: dict[Path, Any] = {}
        self.root = self._open(path.resolve())

    @property
    def linked(self) -> list[Path]:
        """The other files opened so far."""
        return list(self._files)[1:]

    def get(self, group: Any, name: str, depth: int = 0) -> Any:
        """Return the object of a path, following links one by one; None where there is none."""
        import h5py

        if depth > _DEEPEST:
            raise DataFileError(self.path, f"has links that lead nowhere at {name}")
        current = group.file if name.startswith("/") else group
        for step in filter(None, name.split("/")):
            if not isinstance(current, h5py.Group) or step not in current.keys():  # noqa: SIM118 - "in" follows links
                return None
            link = current.get(step, getlink=True)
            if isinstance(link, h5py.ExternalLink):
                current = self.get(self._beside(link.filename, current), link.path, depth + 1)
            elif isinstance(link, h5py.SoftLink):
                current = self.get(current, link.path, depth + 1)
            else:
                current = current.get(step)
        return current

    def walk(
        self, group: Any, at: str = "", seen: set[Any] | None = None, forgiving: bool = False
    ) -> Iterator[tuple[str, Any]]:
        """Yield the path in this file and the dataset of every dataset, each once.

        A link that may not or cannot be followed is an error, or left out where `forgiving`.
        """
        import h5py

        seen = set() if seen is None else seen
        if group.id in seen:
            return
        seen.add(group.id)
        for key in group:
            try:
                found = self.get(group, key)
            except DataFileError:
                if forgiving:
                    continue
                raise
            if isinstance(found, h5py.Group):
                yield from self.walk(found, f"{at}/{key}", seen, forgiving)
            elif isinstance(found, h5py.Dataset) and found.id not in seen:
                seen.add(found.id)
                yield f"{at}/{key}", found

    def sources(self, dataset: Any) -> Iterator[Any]:
        """Yield the datasets a virtual dataset is made of.

        Raises
        ------
        DataFileError
            One of them may not be followed, or is missing.
        """
        for source in dataset.virtual_sources():
            if "%" in source.file_name:
                raise DataFileError(self.path, f"{dataset.name} has sources without end: {source.file_name}")
            inside = dataset.file if source.file_name == "." else self._beside(source.file_name, dataset)
            found = self.get(inside, source.dset_name)
            if found is None:
                raise DataFileError(self.path, f"{dataset.name} needs {source.dset_name}, which is not there")
            yield found

    def check(self, dataset: Any, start: int, stop: int) -> None:
        """Check that rows `start` to `stop` of a dataset are written, here or in the sources it may have.

        Raises
        ------
        DataFileError
            They are not, or are kept in a raw file.
        """
        if dataset.external:
            raise DataFileError(self.path, f"keeps {dataset.name} in {dataset.external[0][0]}", "convert it")
        if dataset.is_virtual:
            for source in self.sources(dataset):
                self.check(source, 0, source.shape[0])
            return
        missing = _unwritten(dataset, start, stop)
        if missing is not None:
            raise DataFileError(
                self.path,
                f"frame {missing} of {dataset.name} is not written",
                "is it complete? give frames=(start, stop) to read the rest",
            )

    def _open(self, path: Path) -> Any:
        import h5py
        import hdf5plugin  # noqa: F401 - registers the filters of detectors

        if path not in self._files:
            try:
                self._files[path] = self._stack.enter_context(h5py.File(path, "r", locking=False))
            except OSError as error:
                raise DataFileError(path, f"cannot be opened as HDF5 ({error})", "is it complete?") from error
        return self._files[path]

    def _beside(self, name: str, source: Any) -> Any:
        """Open a file that another one names; it must lie in the folder or below."""
        target = (Path(source.file.filename).parent / name).resolve()
        if not target.is_relative_to(self._folder):
            raise DataFileError(
                self.path, f"links to {target}, outside its folder", "copy that file beside it"
            )
        if not target.is_file():
            raise DataFileError(self.path, f"links to {name}, which is not there", "copy that file beside it")
        return self._open(target)


def _unwritten(dataset: Any, start: int, stop: int) -> int | None:
    """Return the first row of a range that is not wholly in the file; None where all are."""
    import numpy as np

    if dataset.chunks is None:
        return start if start < stop and dataset.id.get_storage_size() == 0 else None
    grid = [range(0, size, chunk) for size, chunk in zip(dataset.shape, dataset.chunks, strict=True)]
    if dataset.id.get_num_chunks() == int(np.prod([len(steps) for steps in grid], dtype=object)):
        return None
    written: set[tuple[int, ...]] = set()
    dataset.id.chunk_iter(lambda info: written.add(tuple(info.chunk_offset)))
    for row in range(start, stop):
        first = row - row % dataset.chunks[0]
        if any((first, *offset) not in written for offset in product(*grid[1:])):
            return row
    return None
