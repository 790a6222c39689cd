from __future__ import annotations

import io

import numpy as np
import pytest
import xarray as xr

import xas
from beamline.errors import SchemaError
from xas import figures, series_figures, simulate, wave_figures

VOLTAGES = [3.0, 4.55, 4.8, 2.7]


@pytest.fixture(scope="module")
def scans() -> xr.Dataset:
    made = [simulate.scan(n, 5e-4, e0=8345 + n, label=f"s{n}") for n in range(4)]
    stack = xas.align(made, reference=None)
    attrs = {"units": "V", "long_name": "voltage", "reference": "Li"}
    stack = stack.assign_coords(voltage=("scan", VOLTAGES, attrs))
    return xas.edge(xas.normalize(stack, e0=8346.0))


def test_edges_follow_the_order_of_measurement(scans: xr.Dataset) -> None:
    axes = series_figures.edge_against(scans).axes[0]
    assert axes.get_xlabel() == "voltage (V vs Li)"
    assert axes.get_ylabel() == "Ni K edge energy (eV)"
    np.testing.assert_array_equal(axes.lines[0].get_xdata(), VOLTAGES)
    filled, open_ones = (line for line in axes.lines if line.get_marker() == "o")
    assert filled.get_xdata().tolist() == VOLTAGES[:3]
    assert open_ones.get_xdata().tolist() == VOLTAGES[3:]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["rising", "falling"]


def test_error_bars_hold_the_alignment(scans: xr.Dataset) -> None:
    shifted = scans.assign_coords(energy_shift_errors=("scan", [0.3, 0.3, np.nan, 0.3]))
    errors = series_figures.edge_errors(shifted)
    assert errors[0] == pytest.approx(np.hypot(0.3, float(scans["edge_energy_errors"][0])))
    assert errors[2] == float(scans["edge_energy_errors"][2])


def test_samples_have_a_colour_each_and_scans_without_a_value_are_left_out(scans: xr.Dataset) -> None:
    two = scans.assign_coords(sample=("scan", ["a", "a", "b", "b"]))
    two["voltage"][0] = np.nan
    axes = series_figures.edge_against(two).axes[0]
    assert [text.get_text() for text in axes.get_legend().get_texts()][:2] == ["a", "b"]
    assert axes.lines[0].get_xdata().tolist() == [4.55]


def test_without_a_coordinate_the_scans_are_named(scans: xr.Dataset) -> None:
    axes = series_figures.edge_against(scans.drop_vars("voltage")).axes[0]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["s0", "s1", "s2", "s3"]
    with pytest.raises(SchemaError, match="no coordinate 'pressure'"):
        series_figures.edge_against(scans, "pressure")


@pytest.mark.parametrize(
    ("name", "values", "label"),
    [
        ("time", np.datetime64("2024-01-01", "ns") + np.arange(4) * np.timedelta64(2, "h"), "time (h)"),
        ("temperature", [30.0, 100.0, 200.0, 300.0], "temperature (°C)"),
        ("nothing", [0, 0, 0, 0], "scan"),
    ],
)
def test_a_map_is_drawn_against_what_rises(scans: xr.Dataset, name: str, values: object, label: str) -> None:
    attrs = {"units": "degC"} if name == "temperature" else {}
    series = scans.drop_vars("voltage").assign_coords({name: ("scan", values, attrs)})
    figure = series_figures.series_map(series)
    assert figure.axes[0].get_ylabel() == label
    assert len(figure.axes) == 5  # two maps with their bars, and the edges
    figure.savefig(io.BytesIO(), format="png")


def test_failed_scans_are_left_out(scans: xr.Dataset) -> None:
    part = scans.copy(deep=True)
    for name in ("norm", "flat", "e0", "edge_energy", "edge_energy_errors"):
        part[name][1] = np.nan
    drawn = figures.scans_overview(part)
    assert sorted(drawn) == ["", "edge"]
    texts = [text.get_text() for text in drawn[""].axes[0].get_legend().get_texts()]
    assert texts == ["s0", "s2", "s3"]
    series_figures.series_map(part).savefig(io.BytesIO(), format="png")
    with pytest.raises(SchemaError, match="have all failed"):
        figures.edge_stack(part.isel(scan=[1]))
    with pytest.raises(SchemaError, match="have all failed"):
        series_figures.series_map(part.isel(scan=[1]))


def test_waves_are_drawn(scans: xr.Dataset) -> None:
    chi = xas.fourier(xas.exafs(scans))
    drawn = figures.exafs_overview(chi)
    assert sorted(drawn) == ["", "k", "parts"]
    axes = drawn["k"].axes[0]
    assert axes.get_ylabel() == "k²χ(k) (Å$^{-2}$), offset"
    assert [text.get_text() for text in axes.texts] == ["s0", "s1", "s2", "s3"]
    top, bottom = drawn["parts"].axes
    for upper, lower in zip(top.lines, bottom.lines, strict=False):
        assert (np.abs(lower.get_ydata()) <= upper.get_ydata() + 1e-12).all()
    single = wave_figures.chi_k(chi.isel(scan=0).drop_vars("chi_r"))
    assert single.axes[0].get_ylabel() == "k²χ(k) (Å$^{-2}$)"


def test_what_cannot_be_drawn_says_what_is_missing() -> None:
    nothing = xr.Dataset()
    waves = (wave_figures.chi_k, wave_figures.chi_r_parts)
    for draw in (series_figures.edge_against, series_figures.series_map, *waves):
        with pytest.raises(SchemaError, match=r"call xas\."):
            draw(nothing)
