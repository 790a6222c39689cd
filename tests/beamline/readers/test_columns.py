"""Headers, numbers and names of channel tables."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beamline.errors import DataFileError
from beamline.readers import columns


@pytest.mark.parametrize(
    ("header", "name", "unit"),
    [
        ("Ewe/V", "Ewe", "V"),
        ("<I>/mA", "<I>", "mA"),
        ("Q charge/discharge/mA.h", "Q charge/discharge", "mA*h"),
        ("ox/red", "ox/red", None),
        ("Voltage [V]", "Voltage", "V"),
        ("Voltage / V", "Voltage", "V"),
        ("temperature [degC]", "temperature", "degC"),
        ("Temperature/\ufffdC", "Temperature", "degC"),
        ("Temperature (°C)", "Temperature", "degC"),
        ("Test Time (sec)", "Test Time", "s"),
        ("Step (Min)", "Step", "min"),
        ("Flow [ml/min]", "Flow", "ml/min"),
        ("R/Ohm", "R", "ohm"),
        ("Amps", "Amps", "A"),
        ("Volts", "Volts", "V"),
        ("Cycle [n]", "Cycle", None),
    ],
)
def test_headers_are_taken_apart(header: str, name: str, unit: str | None) -> None:
    assert columns.split_header(header) == (name, unit)


@pytest.mark.parametrize(
    ("name", "channel"),
    [
        ("Ewe", "voltage"),
        ("<I>", "current"),
        ("Cap.", "capacity"),
        ("Temp 1", "temperature"),
        ("cycle number", "cycle"),
        ("Ns", "step"),
        ("M32-O2", "mz_32"),
        ("m/z 32", "mz_32"),
        ("mz_44", "mz_44"),
        ("R", "resistance"),
        ("Ewe-Ece", "ewe_ece"),
        ("q", "q_channel"),
        ("phase", "phase_channel"),
    ],
)
def test_names_are_the_models(name: str, channel: str) -> None:
    assert columns.channel_name(name) == channel


def source(*cells: str) -> columns.Table:
    return columns.Table(Path("f"), ("Voltage [V]",), (cells,), 1)


def test_a_decimal_comma_is_a_decimal_comma() -> None:
    assert source("3,5", "4", "").numbers(0)[:2].tolist() == [3.5, 4.0]


@pytest.mark.parametrize("cell", ["1_000", "٣", "0x10", "3.5V", "--"])
def test_what_is_no_number_is_refused_with_its_line(cell: str) -> None:
    with pytest.raises(DataFileError, match=r"line 2, not a number"):
        source("1", cell).numbers(0)


def test_points_and_commas_together_are_refused() -> None:
    with pytest.raises(DataFileError, match="mixes"):
        source("1,234.5", "2").numbers(0)


@settings(deadline=None, max_examples=100)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=5), st.booleans())
def test_numbers_come_back(values: list[float], comma: bool) -> None:
    cells = [repr(value).replace(".", "," if comma else ".") for value in values]
    assert source(*cells).numbers(0).tolist() == values


@settings(deadline=None, max_examples=100)
@given(st.text(max_size=40))
def test_any_header_gives_a_name(header: str) -> None:
    name, unit = columns.split_header(header)
    assert isinstance(columns.channel_name(name), str)
    assert unit is None or unit


def test_an_incomplete_last_line_is_left_out_and_noted() -> None:
    table = columns.table(Path("f"), ["a\tb", "1\t2", "3"], 0, "\t")
    assert table.columns == (("1",), ("2",))
    assert table.notes == ("the last line is incomplete and left out",)


def test_a_last_number_that_may_be_cut_is_left_out() -> None:
    table = columns.table(Path("f"), ["a\tb", "1\t2.25", "3\t2."], 0, "\t")
    assert len(table) == 1
    assert len(columns.table(Path("f"), ["a\tb", "1\t2.25", "3\t2.", ""], 0, "\t")) == 2


def test_an_incomplete_line_in_the_middle_is_refused() -> None:
    with pytest.raises(DataFileError, match="1 cells instead of 2 in line 2"):
        columns.table(Path("f"), ["a\tb", "1", "1\t2", ""], 0, "\t")
