"""Draw every figure the techniques know for a result, the same bytes for the same result."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from beamline import model, store, techniques
from beamline._lazy import resolve
from beamline.errors import ConfigError, RedoxlightError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS: dict[str, dict[str, Any]] = {
    # Without the version and the clock that matplotlib writes into a file on its own.
    "png": {"dpi": 300, "metadata": {"Software": None}},
    "pdf": {"metadata": {"Creator": None, "Producer": None, "CreationDate": None}},
}


def draw(result: str | os.PathLike[str], folder: Path) -> tuple[list[Path], list[str]]:
    """Draw the figures of a result into a folder.

    Parameters
    ----------
    result
        File of a result (or ``file::/group``). Every Dataset in it whose kind has a figure is drawn, as
        ``<technique>_<measurement>.png`` and ``.pdf``; a Dataset alone takes the name of its file. Where
        there are several figures of it, each adds its own name. What a technique draws of several Datasets
        together is ``<technique>_<name>``.
    folder
        Where to write; it is made where it is missing.

    Returns
    -------
    written, failed
        The files, and a sentence for every figure that could not be drawn.

    Raises
    ------
    ConfigError
        Nothing in the result has a figure.
    DataFileError
        The result cannot be read, or a file cannot be written.
    """
    known = {kind: make for t in techniques.techniques().values() for kind, make in t.figures.items()}
    file, group = store.split(result)
    written: list[Path] = []
    failed: list[str] = []
    leaves = {f"{group}/{place}".strip("/"): ds for place, ds in store.leaves(store.open_result(result))}
    for path, ds in leaves.items():
        if (make := known.get(model.kind_of(ds))) is None:
            continue
        name = "_".join(part for part in path.split("/") if part) or file.stem
        try:
            figure = resolve(make)(ds)
            figures = figure if isinstance(figure, Mapping) else {"": figure}
            for ending, one in figures.items():
                written += _write(folder / f"{name}{ending and f'_{ending}'}", one)
        except RedoxlightError as error:
            failed.append(f"figure {name}: {error}")
    for technique in techniques.techniques().values():
        if not technique.gallery or len(leaves) < 2:
            continue
        try:
            for name, figure in resolve(technique.gallery)(leaves).items():
                written += _write(folder / f"{technique.name}_{name}", figure)
        except RedoxlightError as error:
            failed.append(f"figures of {technique.title} over the whole result: {error}")
    if not written and not failed:
        kinds = sorted({model.kind_of(ds) for ds in leaves.values()})
        raise ConfigError(
            os.fspath(result),
            f"holds nothing that has a figure ({', '.join(kinds)})",
            f"there are figures of {', '.join(sorted(known)) or 'nothing'}",
        )
    return written, failed


def _write(path: Path, figure: Figure) -> list[Path]:
    """Write a figure in all formats; `path` is without suffix."""
    written = []
    for suffix, options in FORMATS.items():
        buffer = io.BytesIO()
        figure.savefig(buffer, format=suffix, **options)
        written.append(path.with_name(f"{path.name}.{suffix}"))
        store.write_atomic(written[-1], buffer.getvalue())
    return written
