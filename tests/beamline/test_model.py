"""Each rule of the data model lets a right Dataset pass and names what is wrong with a wrong one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import xarray as xr

from beamline import model
from beamline.errors import SchemaError
from tests.beamline.examples import channels, images, patterns

Change = Callable[[xr.Dataset], xr.Dataset]


def of_kind(kind: str) -> xr.Dataset:
    """A small Dataset that holds what `kind` asks for, dims in the first order allowed."""
    spec = model.KINDS[kind]
    if kind == "channels":
        return channels()
    assert spec.signal is not None
    sizes = {dim: 2 + i for i, dim in enumerate(spec.dims[0])}
    signal = xr.DataArray(np.ones(tuple(sizes.values())), dims=tuple(sizes), attrs={"units": ""})
    ds = xr.Dataset({spec.signal: signal.astype(complex if spec.signal == "chi" else float)})
    for dim, size in sizes.items():
        if dim not in model.INDICES:
            ds = ds.assign_coords({dim: np.linspace(1.0, 2.0, size)})
    first = spec.dims[0][-1]
    for name in spec.coords:
        if name not in ds.coords:
            labels = np.array([str(i) for i in range(sizes[first])])
            numbers = np.arange(sizes[first], dtype=float)
            ds = ds.assign_coords({name: (first, labels if name == "phase" else numbers)})
    if spec.signal in model.NAMES and model.NAMES[spec.signal].units is not None:
        del ds[spec.signal].attrs["units"]
    return model.with_defaults(ds, kind)


@pytest.mark.parametrize("kind", model.KINDS)
def test_right_dataset_of_each_kind_passes(kind: str) -> None:
    model.validate(of_kind(kind), kind)


@pytest.mark.parametrize("kind", [k for k, spec in model.KINDS.items() if spec.signal])
def test_each_kind_needs_its_signal(kind: str) -> None:
    signal = model.KINDS[kind].signal
    with pytest.raises(SchemaError, match=f"variable '{signal}' is missing"):
        model.validate(of_kind(kind).drop_vars(str(signal)), kind)


@pytest.mark.parametrize("kind", [k for k, spec in model.KINDS.items() if spec.signal])
def test_each_kind_fixes_the_dims_of_its_signal(kind: str) -> None:
    signal = str(model.KINDS[kind].signal)
    ds = of_kind(kind)
    ds = ds.assign({signal: ds[signal].expand_dims("other", axis=-1)})
    with pytest.raises(SchemaError, match=f"'{signal}' has dims .*'other'.* instead of "):
        model.validate(ds, kind)


@pytest.mark.parametrize(("kind", "coord"), [(k, c) for k, spec in model.KINDS.items() for c in spec.coords])
def test_each_kind_needs_its_coordinates(kind: str, coord: str) -> None:
    ds = of_kind(kind)
    with pytest.raises(SchemaError, match=f"'{coord}'"):
        model.validate(ds.drop_vars(coord), kind)


def test_axis_without_a_coordinate() -> None:
    with pytest.raises(SchemaError, match="dim 'two_theta' has no coordinate"):
        model.validate(patterns().drop_vars("two_theta"), "xrd.patterns")


def test_a_dataset_without_variables_holds_no_channels() -> None:
    with pytest.raises(SchemaError, match="it has no variable"):
        model.validate(channels()[["time"]], "channels")


def flat(ds: xr.Dataset, name: str, value: float, index: tuple[int, ...]) -> xr.Dataset:
    """Return `ds` with one value of one variable changed."""
    values = ds[name].values.copy()
    values[index] = value
    return ds.assign({name: (ds[name].dims, values, ds[name].attrs)})


def axis(values: list[float]) -> Change:
    return lambda ds: ds.isel(two_theta=slice(len(values))).assign_coords(
        two_theta=("two_theta", values, ds["two_theta"].attrs)
    )


def attrs(name: str, **changes: str | None) -> Change:
    def change(ds: xr.Dataset) -> xr.Dataset:
        ds = ds.copy()
        kept = {**ds[name].attrs, **changes}
        ds[name].attrs = {key: value for key, value in kept.items() if value is not None}
        return ds

    return change


def time(*values: str) -> Change:
    return lambda ds: ds.assign_coords(time=("frame", np.array(values, "M8[ns]")))


EXTRA = {"units": "", "long_name": "extra"}

WRONG: dict[str, tuple[Change, str]] = {
    "axis not finite": (axis([1.0, np.nan, 3.0]), "axis 'two_theta' is not finite"),
    "axis not monotonic": (axis([1.0, 3.0, 2.0]), "axis 'two_theta' is not strictly monotonic"),
    "axis stands still": (axis([1.0, 1.0, 2.0]), "axis 'two_theta' is not strictly monotonic"),
    "time with gaps": (time("2026-01-01", "NaT", "2026-01-02"), r"time has gaps \(NaT\)"),
    "time of another type": (lambda ds: ds.assign_coords(time=("frame", [1, 2, 3])), "time has dtype int64"),
    "no units": (attrs("intensity", units=None), "'intensity' has no units"),
    "no long name": (attrs("intensity", long_name=None), "'intensity' has no long_name"),
    "units of a coordinate": (attrs("two_theta", units="rad"), "'two_theta' is in 'rad' instead of 'deg'"),
    "units that are none": (attrs("intensity", units="wibble"), "'wibble', which is not a unit"),
    "error of nothing": (
        lambda ds: ds.assign(x_errors=("frame", np.ones(3), EXTRA)),
        "'x_errors' belongs to no variable",
    ),
    "error of text": (
        lambda ds: ds.assign(x=("frame", ["a", "b", "c"]), x_errors=("frame", np.ones(3), EXTRA)),
        "'x', which holds no numbers",
    ),
    "error of another shape": (
        lambda ds: ds.assign(intensity_errors=ds["intensity_errors"][0]),
        "'intensity_errors' has dims",
    ),
    "error in other units": (
        attrs("intensity_errors", units="ADU"),
        "'intensity_errors' is not in the units of 'intensity'",
    ),
    "error of zero": (lambda ds: flat(ds, "intensity_errors", 0.0, (0, 0)), "is not finite and > 0"),
    "negative error": (lambda ds: flat(ds, "intensity_errors", -1.0, (0, 0)), "is not finite and > 0"),
    "infinite error": (lambda ds: flat(ds, "intensity_errors", np.inf, (0, 0)), "is not finite and > 0"),
    "missing error": (lambda ds: flat(ds, "intensity_errors", np.nan, (0, 0)), "is not finite and > 0"),
    "error where nothing was measured": (
        lambda ds: flat(ds, "intensity_errors", 1.0, (0, 3)),
        "'intensity_errors' is not NaN where 'intensity' was not measured",
    ),
    "mask of floats": (
        lambda ds: ds.assign(intensity_mask=("frame", np.ones(3), {"flag_masks": 1, "flag_meanings": "hot"})),
        "has dtype float64 instead of an integer",
    ),
    "mask without names": (
        lambda ds: ds.assign(intensity_mask=("frame", np.ones(3, int))),
        "does not name its flags",
    ),
    "another kind": (lambda ds: ds.assign_attrs(kind="images"), "\"kind\"\\] is 'images'"),
    "history that is no JSON": (lambda ds: ds.assign_attrs(history="{"), "history.* is not a list of steps"),
    "history that is no list": (lambda ds: ds.assign_attrs(history="{}"), "history.* is not a list of steps"),
}


@pytest.mark.parametrize("name", WRONG)
def test_rule_names_what_is_wrong(name: str) -> None:
    change, sentence = WRONG[name]
    with pytest.raises(SchemaError, match=sentence):
        model.validate(change(patterns()), "xrd.patterns")


RIGHT: dict[str, Change] = {
    "falling axis": axis([3.0, 2.0, 1.0]),
    "axis of one point": axis([1.0]),
    "the same unit by another name": attrs("two_theta", units="degree"),
    "mask": lambda ds: ds.assign(
        intensity_mask=("frame", [0, 1, 0], {"flag_masks": [1, 2], "flag_meanings": "hot dead"})
    ),
    "labels without units": lambda ds: ds.assign_coords(spot=("frame", [1, 2, 3])),
    "times that stand still in a frame": time("2026-01-01", "2026-01-01", "2026-01-02"),
    "no history": lambda ds: ds.drop_attrs(deep=False).assign_attrs(kind="xrd.patterns"),
}


@pytest.mark.parametrize("name", RIGHT)
def test_rule_lets_what_is_right_pass(name: str) -> None:
    model.validate(RIGHT[name](patterns()), "xrd.patterns")


def test_clock_of_channels_must_increase() -> None:
    ds = channels()
    ds = ds.isel(time=[0, 2, 1, 3])
    with pytest.raises(SchemaError, match="time does not strictly increase"):
        model.validate(ds, "channels")


def test_everything_wrong_is_listed() -> None:
    ds = flat(attrs("two_theta", units="rad")(patterns()), "intensity_errors", 0.0, (0, 0))
    with pytest.raises(SchemaError, match="instead of 'deg', and 'intensity_errors' is not finite"):
        model.validate(ds, "xrd.patterns")


@pytest.mark.parametrize("kind", ["", "xrd", None, ["xrd.patterns"]])
def test_unknown_kind_is_refused(kind: object) -> None:
    with pytest.raises(SchemaError, match="known kinds: images"):
        model.kind_of(patterns().assign_attrs(kind=kind))


def test_validating_as_a_kind_that_does_not_exist() -> None:
    with pytest.raises(SchemaError, match="does not exist"):
        model.validate(patterns(), "xrd.nothing")


def test_defaults_are_filled_in_where_the_name_leaves_no_choice() -> None:
    ds = xr.Dataset(
        {
            "position": (("frame", "reflection"), [[1.0]]),
            "position_errors": (("frame", "reflection"), [[0.1]]),
        }
    )
    filled = model.with_defaults(ds, "xrd.peaks")
    assert filled.attrs["kind"] == "xrd.peaks"
    assert filled["position"].attrs == {"units": "deg", "long_name": "peak position 2θ"}
    expected = {"units": "deg", "long_name": "standard deviation of peak position 2θ"}
    assert filled["position_errors"].attrs == expected


def test_defaults_change_nothing_that_is_stated_and_not_the_input() -> None:
    ds = xr.Dataset({"counts": (("y", "x"), np.ones((2, 2)), {"long_name": "dark"})})
    filled = model.with_defaults(ds, "images")
    assert filled["counts"].attrs == {"long_name": "dark"}
    named = model.with_defaults(xr.Dataset({"temperature": ("time", [1.0])}), "channels")
    assert named["temperature"].attrs["units"] == "degC"
    assert ds.attrs == {}
    assert ds["counts"].attrs == {"long_name": "dark"}


def test_a_unit_that_could_be_several_stays_missing() -> None:
    ds = model.with_defaults(xr.Dataset({"counts": (("y", "x"), np.ones((2, 2)))}), "images")
    assert "units" not in ds["counts"].attrs
    with pytest.raises(SchemaError, match="'counts' has no units"):
        model.validate(ds, "images")


def test_errors_get_the_units_stated_by_what_they_belong_to() -> None:
    ds = xr.Dataset(
        {"intensity_errors": ("two_theta", [1.0]), "intensity": ("two_theta", [1.0], {"units": "photon"})},
        coords={"two_theta": [1.0]},
    )
    assert model.with_defaults(ds, "xrd.patterns")["intensity_errors"].attrs["units"] == "photon"


def test_signal_of_channels_is_the_first_that_holds_numbers() -> None:
    assert model.signal_of(channels()) == "voltage"
    assert model.signal_of(images()) == "counts"
    assert model.signal_of(channels()[["label"]]) == "label"
