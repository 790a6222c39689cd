"""Results on disk: one HDF5 file that xarray opens and that NeXus viewers plot.

A Dataset is written as netCDF4 with its variables in the root group, and the root group is at the same time
a NeXus ``NXdata``: its attributes ``signal`` and ``axes`` name what to plot, and ``<signal>_errors`` is found
by its name. A DataTree becomes a tree of such groups, with ``NXroot`` and ``NXentry`` above them and
``default`` attributes that lead to the first leaf. So `xarray.open_dataset` or `xarray.open_datatree` with
the engine h5netcdf, silx and h5web open the same file (NeXus manual, classes NXdata and NXroot).

What comes back from `open_result` is what was saved, except for this normalisation:

* attributes: a bool becomes 0 or 1, None is dropped, numpy scalars and arrays become plain numbers and lists,
  paths and times become text, a list of one becomes its element, a list of numbers has one type; mappings,
  empty, long and mixed lists, and integers beyond 64 bits become JSON text;
* text becomes numpy text of the width it needs; times and durations are in ns; byte order is the machine's;
* encodings (how the data were stored before) and the name of a tree are dropped, as are the attributes
  `beamline.nexus.ATTRIBUTES`, which belong to the file.

A complex variable ``x`` is stored as ``x_re`` and ``x_im`` and put together again when opened. Integer images
are compressed without loss (gzip and shuffle, one frame per chunk), everything else is stored as it is.
Writing is atomic (`beamline.atomic`); the file is put together in memory first, because HDF5 does not survive
a disk that fills up under it.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from beamline import model, nexus
from beamline.atomic import sweep as sweep
from beamline.atomic import write_atomic as write_atomic
from beamline.errors import DataFileError, SchemaError
from beamline.plain import plain_array, plain_attributes

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr

COMPLEX = "complex_name"
"""Attribute of ``x_re`` and ``x_im`` that names ``x``."""

SEPARATOR = "::"

_writing = threading.Lock()


def save(result: xr.Dataset | xr.DataTree, path: str | os.PathLike[str]) -> None:
    """Write a result so that the file is whole or absent.

    Parameters
    ----------
    result
        Dataset of a known kind, or DataTree with such Datasets as its leaves and only attributes above them.
        A tree of a single node is saved as the Dataset it holds.
    path
        File to write, usually ``*.nc``; missing folders are made, an older file is replaced in one step.

    Raises
    ------
    SchemaError
        The result is not valid (see `beamline.model.validate`), or holds what a file cannot keep.
    DataFileError
        The file cannot be written; an older one is as it was.
    """
    import xarray as xr

    stored: xr.Dataset | xr.DataTree
    if isinstance(result, xr.DataTree) and result.children:
        stored = xr.DataTree.from_dict(_groups_above(result) | dict(_valid_leaves(result)))
    else:
        ((_, stored),) = _valid_leaves(result)
    try:
        with _own_lock():
            image = stored.to_netcdf(engine="h5netcdf")
    except (TypeError, ValueError, NotImplementedError) as error:
        raise SchemaError(path, f"the result cannot be stored ({error})") from error
    write_atomic(path, image)


def open_result(path: str | os.PathLike[str]) -> xr.Dataset | xr.DataTree:
    """Read a result that `save` wrote.

    The file is read into memory whole, as it is at one moment, and closed; it is never locked, and whether
    other programs, or this one, have it open does not matter.

    Parameters
    ----------
    path
        The file, or ``file::/group`` for one Dataset or branch of a tree (``results.nc::/xrd/bccfe``).

    Returns
    -------
    Dataset or DataTree
        As it was saved, up to the normalisation above.

    Raises
    ------
    DataFileError
        There is no such file or group, or it is damaged or not a result.
    """
    file, group = split(path)
    try:
        open(file, "rb").close()
    except OSError as error:
        raise DataFileError(file, error.strerror or "cannot be read", "check the path") from error
    try:
        if not _names_a_kind(file):  # before a raw file of many GB is read into memory
            raise DataFileError(file, "is not a result of redoxlight", "raw files: beamline.read")
        return _read(file.read_bytes(), file, group)
    except DataFileError:
        raise
    except MemoryError as error:
        raise DataFileError(file, "needs more memory than there is") from error
    except Exception as error:  # HDF5 and xarray raise anything between OSError and RuntimeError
        raise DataFileError(
            file,
            f"cannot be read as a result ({type(error).__name__}: {error})",
            "raw files are opened by beamline.read; if it was a result, it is damaged",
        ) from error


def is_result(path: str | os.PathLike[str]) -> bool:
    """Tell whether a file (or ``file::/group``) looks like a result; False if it cannot be read."""
    try:
        return _names_a_kind(split(path)[0])
    except Exception:  # HDF5 raises anything
        return False


def leaves(result: xr.Dataset | xr.DataTree) -> Iterator[tuple[str, xr.Dataset]]:
    """Yield every Dataset of a result with its place in the tree; "/" for a Dataset alone."""
    import xarray as xr

    if isinstance(result, xr.Dataset):
        yield "/", result
        return
    for node in result.leaves:
        yield node.path, node.to_dataset()


def split(path: str | os.PathLike[str]) -> tuple[Path, str]:
    """Return the file and the group of ``file::/group``; the group is "/" where none is named."""
    text = os.fspath(path)
    if SEPARATOR not in text or os.path.exists(text):
        return Path(text), "/"
    file, _, group = text.rpartition(SEPARATOR)
    return Path(file), "/" + group.strip("/")


def _names_a_kind(file: Path) -> bool:
    """Tell whether a group of an HDF5 file says of what kind it is."""
    import h5py

    def says(_: str, node: Any) -> bool | None:
        return True if isinstance(node, h5py.Group) and "kind" in node.attrs else None

    with open(file, "rb") as raw, h5py.File(raw, "r") as tree:
        return "kind" in tree.attrs or bool(tree.visititems(says))


def _read(image: bytes, file: Path, group: str) -> xr.Dataset | xr.DataTree:
    import xarray as xr

    options: dict[str, Any] = {
        "engine": "h5netcdf",
        "decode_timedelta": xr.coders.CFTimedeltaCoder(decode_via_units=False, decode_via_dtype=True),
        "phony_dims": "access",
    }
    with xr.open_datatree(io.BytesIO(image), **options) as whole:
        try:
            tree = whole[group] if group != "/" else whole
        except KeyError:
            tree = None
        if not isinstance(tree, xr.DataTree):
            known = ", ".join(node.path for node in whole.leaves)
            raise DataFileError(file, f"has no group {group!r}", f"its groups: {known}")
        for node in tree.leaves:
            kind = node.attrs.get("kind")
            if kind is None:
                raise DataFileError(file, "is not a result of redoxlight", "raw files: beamline.read")
            if str(kind) not in model.KINDS:
                raise DataFileError(
                    file, f"holds a result of unknown kind {kind!r}", "it may need a newer redoxlight"
                )
        if not tree.children:
            return _from_disk(tree.to_dataset().load())
        base = tree.path.rstrip("/")
        return xr.DataTree.from_dict(
            {
                node.path.removeprefix(base) or "/": _from_disk(node.to_dataset().load())
                for node in tree.subtree
            }
        )


@contextlib.contextmanager
def _own_lock() -> Iterator[None]:
    """Keep xarray from asking a Dask client, if there is one, for a lock: it knows no files in memory."""
    if "distributed" not in sys.modules:
        yield
        return
    import dask.config

    with _writing, dask.config.set(scheduler="synchronous"):
        yield


def _valid_leaves(result: xr.Dataset | xr.DataTree) -> Iterator[tuple[str, xr.Dataset]]:
    """Yield every Dataset of a result, checked and as it is stored, with its place."""
    for place, ds in leaves(result):
        try:
            model.validate(ds, model.kind_of(ds))
            yield place, _to_disk(ds)
        except SchemaError as error:
            if place == "/":
                raise
            raise SchemaError(f"{place}: {error.subject}", error.problem, error.remedy) from error


def _to_disk(ds: xr.Dataset) -> xr.Dataset:
    """Return `ds` as it is stored, with the encodings in its variables."""
    import xarray as xr

    stored: dict[str, xr.Variable] = {}
    for name, variable in ds.variables.items():
        if not isinstance(name, str) or not name or "/" in name or any(c.isspace() for c in name):
            raise SchemaError(f"variable {name!r}", "has a name a file cannot keep", "use a plain word")
        try:
            attrs = plain_attributes(variable.attrs)
            data = plain_array(variable.values)
        except SchemaError as error:
            raise SchemaError(f"{error.subject} of {name!r}", error.problem, error.remedy) from error
        except (TypeError, ValueError) as error:
            raise SchemaError(f"variable {name!r}", f"cannot be stored ({error})") from error
        parts = {name: data}
        if data.dtype.kind == "c":
            parts = {f"{name}_re": data.real, f"{name}_im": data.imag}
            attrs |= {COMPLEX: name}
        for part, values in parts.items():
            if part in stored or (part != name and part in ds.variables):
                raise SchemaError(f"variable {name!r}", f"is complex and {part!r} exists too", "rename one")
            stored[part] = xr.Variable(variable.dims, values, attrs, _encoding(variable.dims, values))
    of_coords = {part for part, v in stored.items() if v.attrs.get(COMPLEX, part) in ds.coords}
    attrs = {key: v for key, v in plain_attributes(ds.attrs).items() if key not in nexus.ATTRIBUTES}
    return xr.Dataset(
        {part: v for part, v in stored.items() if part not in of_coords},
        {part: v for part, v in stored.items() if part in of_coords},
        attrs | nexus.plot_attributes(ds),
    )


def _from_disk(ds: xr.Dataset) -> xr.Dataset:
    """Return what is stored as `ds` as it was saved."""
    import numpy as np
    import xarray as xr

    ds = ds.drop_encoding()
    ds.attrs = {key: _opened(value) for key, value in ds.attrs.items() if key not in nexus.ATTRIBUTES}
    for variable in ds.variables.values():
        variable.attrs = {key: _opened(value) for key, value in variable.attrs.items()}
    for name in [str(n) for n, v in ds.variables.items() if COMPLEX in v.attrs and str(n).endswith("_re")]:
        real, imaginary = ds.variables[name], ds.variables[name.removesuffix("_re") + "_im"]
        whole = str(real.attrs[COMPLEX])
        attrs = {key: value for key, value in real.attrs.items() if key != COMPLEX}
        values = np.empty(real.shape, np.result_type(real.dtype, np.complex64))
        values.real, values.imag = real.values, imaginary.values
        joined = xr.Variable(real.dims, values, attrs)
        is_coord = name in ds.coords
        ds = ds.drop_vars([name, name.removesuffix("_re") + "_im"])
        ds = ds.assign_coords({whole: joined}) if is_coord else ds.assign({whole: joined})
    return ds


def _groups_above(tree: xr.DataTree) -> dict[str, xr.Dataset]:
    """Return the groups above the leaves: attributes, NeXus class and the way to the first leaf."""
    import xarray as xr

    groups = {}
    for node in tree.subtree:
        if not node.children:
            continue
        if node.to_dataset(inherit=False).variables:
            raise SchemaError(node.path, "holds variables above the leaves", "move them to a leaf")
        attrs = {k: v for k, v in plain_attributes(node.attrs).items() if k not in nexus.ATTRIBUTES}
        depth = node.path.strip("/").count("/") + 1 if node.path != "/" else 0
        attrs["NX_class"] = ("NXroot", "NXentry")[depth] if depth < 2 else "NXsubentry"
        attrs["default"] = next(iter(node.children))
        groups[node.path] = xr.Dataset(attrs=attrs)
    return groups


def _encoding(dims: tuple[Any, ...], values: np.ndarray[Any, Any]) -> dict[str, Any]:
    """Return how an array is written.

    Only images are chunked: HDF5 leaves what was in memory in the index of chunks, and the same result would
    not give the same bytes.
    """
    kind = values.dtype.kind
    if kind == "f":
        return {"_FillValue": None}
    if kind == "M":
        return {"units": "nanoseconds since 1970-01-01", "calendar": "proleptic_gregorian", "dtype": "int64"}
    if kind == "m":
        return {"units": "nanoseconds", "dtype": "int64"}
    if kind in "iu" and dims[-2:] == ("y", "x") and values.size:
        chunks = (1,) * (values.ndim - 2) + values.shape[-2:]
        return {"compression": "gzip", "compression_opts": 1, "shuffle": True, "chunksizes": chunks}
    return {}


def _opened(value: Any) -> Any:
    """Return an attribute as plain Python: HDF5 gives numpy scalars and arrays."""
    return value.tolist() if hasattr(value, "tolist") else value
