"""Units are read, compared and converted by pint."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from beamline import model, units
from beamline.errors import SchemaError


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("deg", "degree"),
        ("1/angstrom", "angstrom**-1"),
        ("photons", "photon"),
        ("mol%", "mole_percent"),
        ("", "dimensionless"),
        ("um", "micrometer"),
    ],
)
def test_two_words_for_one_unit(text: str, same: str) -> None:
    assert units.same(text, same)


@pytest.mark.parametrize(("text", "other"), [("eV", "keV"), ("ADU", "photon"), ("deg", "rad")])
def test_different_units(text: str, other: str) -> None:
    assert not units.same(text, other)


def test_signal_and_photons_are_no_numbers_and_not_each_other() -> None:
    assert not units.compatible("ADU", "photon")
    assert not units.compatible("photon", "")
    assert not units.compatible("ADU", "")
    assert units.compatible("count", "")


@pytest.mark.parametrize(
    ("value", "given", "wanted", "expected"),
    [
        (12.5, "keV", "eV", 12500.0),
        (180.0, "deg", "rad", np.pi),
        (25.0, "degC", "kelvin", 298.15),
        (2.0, "mol%", "", 0.02),
        (0.1, "nm", "angstrom", 1.0),
    ],
)
def test_numbers_are_converted(value: float, given: str, wanted: str, expected: float) -> None:
    assert units.convert(value, given, wanted) == pytest.approx(expected, rel=1e-12)


def test_same_unit_returns_the_value_itself() -> None:
    values = np.arange(3)
    assert units.convert(values, "deg", "degree") is values


def test_another_dimension_is_refused() -> None:
    with pytest.raises(SchemaError, match="cannot be converted to 'eV': another dimension"):
        units.convert(1.0, "deg", "eV")


@pytest.mark.parametrize("text", ["furlongs of light", "eV eV**", "°C/", "deg )"])
def test_text_that_is_no_unit_is_refused(text: str) -> None:
    with pytest.raises(SchemaError, match="not a unit"):
        units.parse(text)


def test_array_says_its_new_unit_and_the_old_one_is_kept() -> None:
    array = xr.DataArray([1.0, 2.0], dims="energy", name="energy", attrs={"units": "keV", "long_name": "E"})
    converted = units.to(array, "eV")
    assert converted.values.tolist() == [1000.0, 2000.0]
    assert converted.attrs == {"units": "eV", "long_name": "E"}
    assert array.attrs["units"] == "keV"


def test_array_without_units_is_refused() -> None:
    with pytest.raises(SchemaError, match="energy: has no units"):
        units.to(xr.DataArray([1.0], name="energy"), "eV")


@pytest.mark.parametrize(
    ("quantity", "unit", "expected"),
    [
        *[("95.2s", "s", 95.2), ("0.4 keV", "eV", 400.0), ("12", "s", 12.0), (3, "s", 3.0)],
        *[("-2 min", "s", -120.0), ("1e3 ms", "s", 1.0), ("25 degC", "degC", 25.0), ("5 %", "", 0.05)],
        *[(" 1.5 1/angstrom ", "1/angstrom", 1.5), (".5 mol%", "", 0.005)],
    ],
)
def test_quantities_in_text(quantity: str | float, unit: str, expected: float) -> None:
    assert units.magnitude(quantity, unit) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    "quantity", ["3 eV", "soon", "", "s", "1 2 s", "1,5 s", "2-3 s", "1.2.3 s", "nan s", "2 + 3 s"]
)
def test_text_that_is_no_such_quantity_is_refused(quantity: str) -> None:
    with pytest.raises(SchemaError, match="not a quantity in s"):
        units.magnitude(quantity, "s")


def test_every_unit_of_the_model_is_a_unit() -> None:
    for name in model.NAMES.values():
        if name.units is not None:
            units.parse(name.units)


THREADS = """
import threading
from beamline import units
start, found = threading.Barrier(6), []
def ask():
    start.wait()
    found.append(units.registry())
threads = [threading.Thread(target=ask) for _ in range(6)]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert len(found) == 6 and len(set(map(id, found))) == 1, found
"""


def test_threads_that_ask_first_get_one_registry() -> None:
    subprocess.run([sys.executable, "-c", THREADS], check=True, cwd=Path(__file__).parents[2], timeout=60)
