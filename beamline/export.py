"""Results in the formats other programs read.

``xye``, ``fxye``, ``chi``
    Powder patterns for TOPAS, GSAS and FIT2D, one file per frame (`beamline.export_patterns`).
``csv``
    Any result but images, as tables to paste into Origin or Igor. A variable over frames and an axis (2θ,
    energy, k) is a file of its own, ``<name>_<variable>.csv``: the axis, then one column per frame; its
    errors are another. Variables over frames and phases or reflections share a table with a row per frame,
    unless there are more than twenty of them.
    What the result is and the id of its history stand in comment lines (#), names and units in the line of
    titles. NaN is an empty cell. Only ``time`` is UTC, and says so.
``nxs``
    Any result, as a NeXus file with one NXentry and its NXdata (`beamline.nexus`). NaN stays NaN.

Numbers have ten significant digits in text, all of them in NeXus.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from beamline import __version__, export_patterns, model, nexus, provenance, store
from beamline.errors import ConfigError
from beamline.export_patterns import Files, file_name, text

if TYPE_CHECKING:
    import xarray as xr

MOST_COLUMNS = 20
"""A variable with more columns has a table of its own."""


@dataclass(frozen=True)
class Format:
    """A format to export to.

    Attributes
    ----------
    write
        ``(name, dataset) -> names and contents of files``.
    kinds
        Kinds of result it can hold.
    """

    write: Callable[[str, xr.Dataset], Files]
    kinds: frozenset[str]


def export_result(
    result_path: str | os.PathLike[str],
    out_dir: str | os.PathLike[str],
    format: str,  # noqa: A002 - the word of the command
) -> list[Path]:
    """Write a stored result in another format.

    Parameters
    ----------
    result_path
        File of the result, or ``file::/group`` for a part of a tree.
    out_dir
        Folder for the files; they are named after the file, or after their places in the tree.
    format
        A key of `FORMATS`.

    Returns
    -------
    list of Path
        The files written. The Datasets of a tree that the format cannot hold are passed over.

    Raises
    ------
    ConfigError
        There is no such format, or nothing in the result that it can hold.
    DataFileError
        The result cannot be read, or a file cannot be written.
    SchemaError
        A pattern lacks what the format needs.
    """
    if format not in FORMATS:
        raise ConfigError(f"format {format!r}", "is not known", f"one of {', '.join(FORMATS)}")
    chosen = FORMATS[format]
    file, group = store.split(result_path)
    datasets: dict[str, xr.Dataset] = {}
    others = []
    for place, ds in store.leaves(store.open_result(result_path)):
        kind = model.kind_of(ds)
        if kind not in chosen.kinds:
            others.append(kind)
            continue
        name = file_name(f"{group}/{place}") or file_name(file.stem) or "result"
        if name in datasets:
            raise ConfigError(name, "is the name of two parts of the result", "export them one by one")
        datasets[name] = ds
    if not datasets:
        problem = f"cannot hold {' or '.join(sorted(set(others)))}"
        raise ConfigError(f"format {format!r}", problem, f"it is for {', '.join(sorted(chosen.kinds))}")
    written = []
    for name, ds in datasets.items():
        for written_as, content in chosen.write(name, ds):
            path = Path(out_dir) / written_as
            store.write_atomic(path, content)
            written.append(path)
    return written


def _csv(name: str, ds: xr.Dataset) -> Files:
    """Yield the tables of a Dataset."""
    tables = _tables(ds)
    for title, columns in tables.items():
        lines = [f"# {model.kind_of(ds)}: {title}", f"# {_origin(ds)}"]
        lines.append(",".join(_quoted(column) for column in columns))
        lines += [",".join(row) for row in zip(*map(_cells, columns.values()), strict=True)]
        yield (f"{name}_{file_name(title)}.csv" if len(tables) > 1 else f"{name}.csv"), text(lines)


def _tables(ds: xr.Dataset) -> dict[str, dict[str, Any]]:
    """Return the tables of a Dataset by title: mappings of column titles to columns of one length."""
    import numpy as np

    tables: dict[str, dict[str, Any]] = {}
    for name, variable in ds.variables.items():
        array = ds[name]
        if name in ds.coords and variable.ndim == 1:
            continue  # stands beside the variables over its dim, or in the titles of columns
        rows = _rows_of(array)
        is_matrix = array.ndim > 2 or (array.ndim == 2 and rows == array.dims[-1])
        is_wide = array.ndim == 2 and array.sizes[array.dims[-1]] > MOST_COLUMNS
        table = tables.setdefault(str(name) if is_matrix or is_wide else rows or "numbers", {})
        if rows is not None and not table:
            table |= _row_titles(ds, rows, axis_only=is_matrix)
        table |= _columns(array, rows)
    for dim in map(str, ds.dims):
        known = [name for name, coord in ds.coords.items() if coord.dims == (dim,) and name != dim]
        if known and dim not in tables:  # of the frames whose numbers are columns elsewhere, or q of 2θ
            tables[dim] = _row_titles(ds, dim)
    return tables if tables else {"numbers": {"none": np.array([])}}


def _rows_of(array: xr.DataArray) -> str | None:
    """Return the dim that runs down the table: the axis if the last dim is one, else the first dim."""
    if not array.dims:
        return None
    return str(array.dims[0] if array.dims[-1] in model.INDICES else array.dims[-1])


def _row_titles(ds: xr.Dataset, dim: str, axis_only: bool = False) -> dict[str, Any]:
    """Return the columns that say what the rows are: the axis or the index, then what else is known of it."""
    import numpy as np

    titles = _columns(ds[dim], dim) if dim in ds.coords else {dim: np.arange(ds.sizes[dim])}
    if not axis_only:
        for name, coord in ds.coords.items():
            if coord.dims == (dim,) and name != dim:
                titles |= _columns(coord, dim)
    return titles


def _columns(array: xr.DataArray, rows: str | None) -> dict[str, Any]:
    """Return the columns of one variable: one for each place along the dims that are not `rows`."""
    import numpy as np

    name, unit = str(array.name), _units(array)
    parts = {name: array}
    if array.dtype.kind == "c":
        parts = {f"{name}_re": array.real, f"{name}_im": array.imag}
    others = [str(dim) for dim in array.dims if dim != rows]
    labels = [
        [_plain(cell) for cell in _cells(array[dim].values)]
        if dim in array.coords
        else [f"{dim} {i}" for i in range(array.sizes[dim])]
        for dim in others
    ]
    columns = {}
    for part, values in parts.items():
        table = values.transpose(*others, *([rows] if rows else [])).values
        for place in np.ndindex(*table.shape[: len(others)]):
            at = ", ".join(label[i] for label, i in zip(labels, place, strict=True))
            title = f"{part}[{at}]" if at else part
            columns[f"{title} ({unit})" if unit else title] = np.atleast_1d(table[place])
    return columns


def _cells(values: Any) -> list[str]:
    """Return values as text: ten digits, NaN and NaT empty, text in quotes."""
    import numpy as np

    values = np.atleast_1d(values)
    kind = values.dtype.kind
    if kind in "iub":
        return [str(int(value)) for value in values]
    if kind == "m":
        values, kind = values / np.timedelta64(1, "s"), "f"
    if kind == "f":
        return ["" if value != value else f"{value:.10g}" for value in values.tolist()]
    if kind == "M":
        return ["" if text == "NaT" else text for text in np.datetime_as_string(values)]
    return [_quoted(str(value)) for value in values]


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _plain(cell: str) -> str:
    """Return a cell without its quotes, for a title."""
    return cell[1:-1].replace('""', '"') if cell.startswith('"') else cell


def _units(array: xr.DataArray) -> str:
    if array.dtype.kind in "mM":
        return "s" if array.dtype.kind == "m" else "UTC" if array.name == model.TIME else ""
    return str(array.attrs.get("units", ""))


def _origin(ds: xr.Dataset) -> str:
    return f"redoxlight {__version__}, history {provenance.result_id(ds)}"


def _nxs(name: str, ds: xr.Dataset) -> Files:
    """Yield one NeXus file."""
    yield f"{name}.nxs", nexus.file_image(name, ds)


_ALL = frozenset(model.KINDS)
_PATTERNS = frozenset({"xrd.patterns"})

FORMATS: dict[str, Format] = {
    "xye": Format(export_patterns.xye, _PATTERNS),
    "fxye": Format(export_patterns.fxye, _PATTERNS),
    "chi": Format(export_patterns.chi, _PATTERNS),
    "csv": Format(_csv, _ALL - {"images"}),
    "nxs": Format(_nxs, _ALL),
}
"""The formats by name."""
