"""The data model: what a Dataset of each kind is made of, and the check that one is.

What passes between functions is an `xarray.Dataset`; ``attrs["kind"]`` says what it is ("xrd.patterns").
Rules that hold for every kind:

* names are the field's own (`NAMES`), and a name has one unit everywhere: energies in eV, scattering angles
  in deg, q in 1/angstrom, cells in angstrom, temperature in degC, exposure in s;
* every numeric variable and coordinate carries ``units`` and ``long_name``; times, labels, masks and bare
  indices do not need them;
* ``time`` is UTC, ``datetime64[ns]``, at mid-exposure;
* the uncertainty of ``x`` is ``x_errors``: one standard deviation in the units of ``x``, finite and > 0
  wherever ``x`` is finite, NaN where nothing was measured (the naming rule of NeXus NXdata, so that silx and
  h5web draw error bars);
* the mask of ``x`` is ``x_mask``, an integer with the CF attributes ``flag_masks`` and ``flag_meanings``;
* an axis is finite and strictly monotonic.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from beamline import units as _units
from beamline.errors import SchemaError

if TYPE_CHECKING:
    import xarray as xr

ERRORS = "_errors"
MASK = "_mask"
TIME = "time"


@dataclass(frozen=True)
class Name:
    """A name of the data model: its unit (None where the data say which) and what it means."""

    units: str | None
    long_name: str


NAMES: dict[str, Name] = {
    # axes
    "two_theta": Name("deg", "scattering angle 2θ"),
    "q": Name("1/angstrom", "scattering vector q"),
    "azimuth": Name("deg", "azimuth χ"),
    "d": Name("angstrom", "lattice spacing d"),
    "energy": Name("eV", "photon energy"),
    "excitation_energy": Name("eV", "excitation energy"),
    "emission_energy": Name("eV", "emission energy"),
    "energy_loss": Name("eV", "energy loss"),
    "k": Name("1/angstrom", "photoelectron wavenumber k"),
    "r": Name("angstrom", "radial distance R"),
    # how a frame was taken
    "exposure": Name("s", "exposure time"),
    "averaged": Name("", "exposures the frame is the mean of"),
    "i0": Name(None, "incident flux monitor"),
    "dose": Name(None, "dose on the spot before the frame"),
    "monitor": Name(None, "monitor the intensity was divided by"),
    # detector frames and what is made of them
    "counts": Name(None, "detector signal"),
    "intensity": Name(None, "intensity"),
    "coverage": Name("", "live pixels in the bin"),
    "rejected": Name("", "part of the live pixels that was rejected"),
    "correlation": Name("", "correlation of the error with that of the next bin"),
    "live_rows": Name("", "rows summed into the spectrum"),
    # peaks and cells
    "position": Name("deg", "peak position 2θ"),
    "fwhm": Name(None, "full width at half maximum"),
    "area": Name(None, "peak area"),
    "asymmetry": Name("", "peak asymmetry"),
    "a": Name("angstrom", "lattice parameter a"),
    "b": Name("angstrom", "lattice parameter b"),
    "c": Name("angstrom", "lattice parameter c"),
    "alpha": Name("deg", "cell angle α"),
    "beta": Name("deg", "cell angle β"),
    "gamma": Name("deg", "cell angle γ"),
    "volume": Name("angstrom**3", "cell volume"),
    "scale": Name("", "phase scale"),
    "fraction": Name("", "phase fraction"),
    "size": Name("um", "crystallite size"),
    "strain": Name("", "microstrain"),
    "zero": Name("deg", "zero shift of 2θ"),
    "rwp": Name("", "weighted profile residual Rwp"),
    "gof": Name("", "goodness of fit"),
    # absorption
    "mu": Name("", "absorption μ"),
    "mu_ref": Name("", "absorption μ of the reference"),
    "norm": Name("", "normalised absorption"),
    "e0": Name("eV", "edge energy E0"),
    "edge_step": Name("", "edge step"),
    "flat": Name("", "flattened normalised absorption"),
    "pre_edge": Name("", "pre-edge line"),
    "post_edge": Name("", "post-edge curve"),
    "edge_energy": Name("eV", "edge energy"),
    "energy_shift": Name("eV", "energy shift since measured"),
    "measured_shift": Name("eV", "energy shift of the scan alone"),
    "points": Name("", "points averaged"),
    "agreement_chi2": Name("", "reduced χ² of the scans about their mean"),
    "dose_p_value": Name("", "probability of such a change with dose by chance"),
    "dose_change": Name("", "change with dose in parts of the edge"),
    "detector_counts": Name(None, "counts of each detector"),
    "dead_time_factor": Name("", "dead-time correction of each detector"),
    "it": Name(None, "transmitted intensity"),
    "ir": Name(None, "intensity behind the reference"),
    "fluorescence": Name(None, "fluorescence"),
    "tey": Name(None, "total electron yield"),
    "tfy": Name(None, "total fluorescence yield"),
    "chi": Name("", "EXAFS χ(k)"),
    "chi_r": Name(None, "Fourier transform of χ(k)"),
    "chi_fit": Name("", "fit of χ(k)"),
    "chi_r_fit": Name(None, "fit of χ(R)"),
    "window": Name("", "window of the transform"),
    "chi_q": Name(None, "Fourier filtered χ(k)"),
    "window_r": Name("", "window of the back transform"),
    "valence": Name("", "valence"),
    "amplitude": Name("", "amplitude S₀²"),
    "e0_shift": Name("eV", "shift of E0 in the fit"),
    "distance": Name("angstrom", "distance R"),
    "sigma2": Name("angstrom**2", "disorder σ²"),
    "coordination": Name("", "number of neighbours in the structure"),
    "r_factor": Name("", "R-factor of the fit"),
    # calibration
    "deviation": Name("deg", "deviation of the ring from its 2θ"),
    # of several techniques
    "background": Name(None, "background"),
    "repeats": Name("", "spectra averaged"),
    "reduced_chi2": Name("", "reduced χ² of the fit"),
    # channels
    "voltage": Name("V", "voltage"),
    "temperature": Name("degC", "temperature"),
    "current": Name(None, "current"),
    "capacity": Name(None, "capacity"),
}
"""Names with their units; frozen once published."""

INDICES = frozenset(
    "frame scan pixel x y repeat spot reflection phase variable variable_ term cycle step status".split()  # noqa: SIM905
)
"""Bare indices and labels: they need no units."""


@dataclass(frozen=True)
class Kind:
    """What a Dataset of one kind must hold.

    Attributes
    ----------
    signal
        The variable the Dataset is about; None where any variable will do (channels).
    dims
        The dims the signal may have, in order.
    coords
        Coordinates that must be there beside those of the axes.
    indices
        Names that are bare indices in this kind only (Miller indices).
    """

    signal: str | None
    dims: tuple[tuple[str, ...], ...]
    coords: tuple[str, ...] = ()
    indices: frozenset[str] = frozenset()


KINDS: dict[str, Kind] = {
    "images": Kind("counts", (("frame", "y", "x"), ("y", "x"))),
    "rixs.spectra": Kind(
        "intensity",
        (("frame", "pixel"), ("frame", "emission_energy"), ("pixel",), ("emission_energy",)),
        coords=("excitation_energy",),
    ),
    "rixs.map": Kind("intensity", (("excitation_energy", "emission_energy"),), coords=("energy_loss",)),
    "rixs.loss_map": Kind("intensity", (("excitation_energy", "energy_loss"),), coords=("emission_energy",)),
    "rixs.cut": Kind("intensity", (("emission_energy",), ("excitation_energy",), ("energy_loss",))),
    "rixs.feature": Kind("area", (("model",),), coords=("model",), indices=frozenset({"model"})),
    "rixs.comparison": Kind(
        "area", (("state",),), coords=("state", "voltage", "cycle"), indices=frozenset({"state"})
    ),
    "xrd.patterns": Kind("intensity", (("frame", "two_theta"), ("two_theta",))),
    "xrd.cakes": Kind("intensity", (("frame", "azimuth", "two_theta"), ("azimuth", "two_theta"))),
    "xrd.peaks": Kind(
        "position", (("frame", "reflection"),), coords=("h", "k", "l", "phase"), indices=frozenset("hkl")
    ),
    "xrd.series": Kind("a", (("frame", "phase"),), coords=("phase",), indices=frozenset("hkl")),
    "xas.scans": Kind("mu", (("scan", "energy"), ("energy",))),
    "xas.exafs": Kind("chi", (("scan", "k"), ("k",))),
    "calibration.sectors": Kind(
        "deviation", (("azimuth", "ring"),), coords=("two_theta",), indices=frozenset({"ring"})
    ),
    "channels": Kind(None, (("time",),), coords=("time",)),
}
"""The kinds of Dataset, by the value of ``attrs["kind"]``."""


def kind_of(ds: xr.Dataset) -> str:
    """Return the kind `ds` says it is.

    Raises
    ------
    SchemaError
        It says none, or one that does not exist.
    """
    kind = ds.attrs.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        raise SchemaError('attrs["kind"]', f"is {kind!r}", f"known kinds: {', '.join(KINDS)}")
    return kind


def signal_of(ds: xr.Dataset) -> str:
    """Return the name of the variable `ds` is about (for channels: the first that holds numbers)."""
    signal = KINDS[kind_of(ds)].signal
    if signal:
        return signal
    numeric = (name for name, _ in _numeric(ds) if name in ds.data_vars)
    return next(numeric, next(str(name) for name in ds.data_vars))


def with_defaults(ds: xr.Dataset, kind: str) -> xr.Dataset:
    """Return `ds` marked as `kind`, with units and long names filled in where the name leaves no choice.

    A name of `NAMES` with a fixed unit gets it if it has none; errors get the units of what they belong to.
    Nothing that is stated is changed, and a unit that could be one of several stays missing.
    """
    ds = ds.copy(deep=False)
    ds.attrs = {**ds.attrs, "kind": kind}
    indices = INDICES | KINDS[kind].indices
    for name, array in _numeric(ds):
        if name in indices:
            continue
        owner, is_error = _owner(name)
        known = NAMES.get(owner)
        defaults: dict[str, str] = {}
        if is_error and owner in ds and "units" in ds[owner].attrs:
            defaults["units"] = ds[owner].attrs["units"]
        elif known and known.units is not None:
            defaults["units"] = known.units
        if known or owner in ds:
            label = known.long_name if known else ds[owner].attrs.get("long_name", owner)
            defaults["long_name"] = f"standard deviation of {label}" if is_error else label
        array.attrs = {**defaults, **array.attrs}
    return ds


def validate(ds: xr.Dataset, kind: str) -> None:
    """Check that `ds` is a Dataset of `kind`.

    Raises
    ------
    SchemaError
        It is not; the sentence lists everything that is wrong.
    """
    if kind not in KINDS:
        raise SchemaError(f"kind {kind!r}", "does not exist", f"known kinds: {', '.join(KINDS)}")
    import xarray as xr

    if not isinstance(ds, xr.Dataset):
        raise SchemaError(f"Dataset of kind {kind}", f"is a {type(ds).__name__}", "give an xarray.Dataset")
    spec = KINDS[kind]
    problems = [
        *_structure(ds, spec),
        *_axes(ds),
        *_names_and_units(ds, INDICES | spec.indices),
        *_errors(ds),
        *_masks(ds),
        *_attributes(ds, kind),
    ]
    if problems:
        raise SchemaError(f"Dataset of kind {kind}", ", and ".join(problems))


def _structure(ds: xr.Dataset, spec: Kind) -> Iterator[str]:
    """Check that the signal is there, with its dims, and the coordinates the kind cannot do without."""
    names = [spec.signal] if spec.signal else [str(name) for name in ds.data_vars]
    if not names:
        yield "it has no variable"
    for name in names:
        if name not in ds.data_vars:
            yield f"variable {name!r} is missing"
        elif ds[name].dims not in spec.dims:
            allowed = " or ".join(str(dims) for dims in spec.dims)
            yield f"{name!r} has dims {ds[name].dims} instead of {allowed}"
        else:
            for dim in ds[name].dims:
                if dim not in INDICES and dim not in ds.coords:
                    yield f"dim {dim!r} has no coordinate"
    for name in spec.coords:
        if name not in ds.coords:
            yield f"coordinate {name!r} is missing"


def _axes(ds: xr.Dataset) -> Iterator[str]:
    """Axes are finite and strictly monotonic; times are UTC timestamps."""
    import numpy as np

    for name, coord in ds.coords.items():
        if name == TIME:
            if coord.dtype != np.dtype("datetime64[ns]"):
                yield f"time has dtype {coord.dtype} instead of datetime64[ns] (UTC)"
            elif bool(coord.isnull().any()):
                yield "time has gaps (NaT)"
            elif coord.dims == (TIME,) and bool((np.diff(coord.values) <= np.timedelta64(0)).any()):
                yield "time does not strictly increase"
        elif coord.dims == (name,) and coord.dtype.kind in "iuf" and name not in INDICES:
            if coord.dtype.kind == "f" and not bool(np.isfinite(coord.values).all()):
                yield f"axis {name!r} is not finite"
            elif coord.size > 1:
                steps = np.diff(coord.values.astype(float))
                if not (bool((steps > 0).all()) or bool((steps < 0).all())):
                    yield f"axis {name!r} is not strictly monotonic"


def _names_and_units(ds: xr.Dataset, indices: frozenset[str]) -> Iterator[str]:
    """Every number says its unit and its name; a name of the model is in the model's unit."""
    for name, array in _numeric(ds):
        if name in indices:
            continue
        for attribute in ("units", "long_name"):
            if not isinstance(array.attrs.get(attribute), str):
                yield f"{name!r} has no {attribute}"
        stated = array.attrs.get("units")
        if not isinstance(stated, str):
            continue
        try:
            _units.parse(stated)
        except SchemaError:
            yield f"{name!r} has units {stated!r}, which is not a unit"
            continue
        owner, _ = _owner(name)
        expected = NAMES[owner].units if owner in NAMES else None
        if expected is not None and not _units.same(stated, expected):
            yield f"{name!r} is in {stated!r} instead of {expected!r}"


def _errors(ds: xr.Dataset) -> Iterator[str]:
    """Errors are standard deviations: > 0 where there is a value, NaN where there is none."""
    import numpy as np

    for name, errors in _numeric(ds):
        owner, is_error = _owner(name)
        if not is_error:
            continue
        if owner not in ds:
            yield f"{name!r} belongs to no variable"
            continue
        value = ds[owner]
        if value.dtype.kind not in "iufc":
            yield f"{name!r} belongs to {owner!r}, which holds no numbers"
            continue
        if errors.dims != value.dims:
            yield f"{name!r} has dims {errors.dims} instead of {value.dims}"
            continue
        if errors.attrs.get("units") != value.attrs.get("units"):
            yield f"{name!r} is not in the units of {owner!r}"
        measured = np.isfinite(value.values)
        sigma = errors.values
        good = (sigma > 0) & (sigma < np.inf)
        if bool(good.all()) and bool(measured.all()):
            continue
        if not bool((good | ~measured).all()):
            yield f"{name!r} is not finite and > 0 wherever {owner!r} is finite"
        if not bool((np.isnan(sigma) | measured).all()):
            yield f"{name!r} is not NaN where {owner!r} was not measured"


def _masks(ds: xr.Dataset) -> Iterator[str]:
    """Masks are integers whose bits have names."""
    for name, array in ds.variables.items():
        if not str(name).endswith(MASK):
            continue
        if array.dtype.kind not in "iu":
            yield f"mask {name!r} has dtype {array.dtype} instead of an integer"
        if not {"flag_masks", "flag_meanings"} <= set(array.attrs):
            yield f"mask {name!r} does not name its flags (flag_masks, flag_meanings)"


def _attributes(ds: xr.Dataset, kind: str) -> Iterator[str]:
    """Check that the Dataset says its kind and that its history can be read."""
    if ds.attrs.get("kind", kind) != kind:
        yield f'attrs["kind"] is {ds.attrs["kind"]!r}'
    if "history" in ds.attrs:
        try:
            readable = isinstance(json.loads(ds.attrs["history"]), list)
        except (TypeError, ValueError):
            readable = False
        if not readable:
            yield 'attrs["history"] is not a list of steps in JSON'


def _numeric(ds: xr.Dataset) -> Iterator[tuple[str, Any]]:
    """Variables and coordinates that hold numbers (no times, labels, masks or flags)."""
    for name, array in ds.variables.items():
        if array.dtype.kind in "iufc" and not str(name).endswith(MASK):
            yield str(name), array


def _owner(name: str) -> tuple[str, bool]:
    """Name of what `name` belongs to, and whether `name` is its uncertainty."""
    if name.endswith(ERRORS):
        return name.removesuffix(ERRORS), True
    return name, False
