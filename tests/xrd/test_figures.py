from __future__ import annotations

import io
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
import xarray as xr

from beamline import model, plotting
from xrd import figures


def patterns(frames: int = 3, **attrs: Any) -> xr.Dataset:
    two_theta = np.linspace(1.0, 10.0, 91)
    intensity = 50.0 + 400 * np.exp(-(((two_theta - 4) / 0.2) ** 2)) + np.arange(frames)[:, np.newaxis]
    intensity[:, :5] = np.nan
    ds = xr.Dataset(
        {"intensity": (("frame", "two_theta"), intensity, {"units": "count"})},
        coords={"two_theta": two_theta},
        attrs=attrs,
    )
    return model.with_defaults(ds, "xrd.patterns")


def test_every_line_of_a_waterfall_is_one_frame_above_the_last() -> None:
    axes = figures.waterfall(patterns(4)).axes[0]
    heights = [line.get_ydata()[50] for line in axes.lines]
    assert len(heights) == 4
    assert (np.diff(heights) > 0).all()


def test_a_line_holds_the_root_of_the_intensity() -> None:
    ds = patterns(1)
    axes = figures.waterfall(ds).axes[0]
    np.testing.assert_allclose(axes.lines[0].get_ydata(), np.sqrt(ds["intensity"].values[0]))
    assert axes.get_ylabel() == "intensity (counts), square-root scale"
    for tick, label in zip(axes.get_yticks(), axes.get_yticklabels(), strict=True):
        assert float(label.get_text()) == pytest.approx(tick**2)


def test_many_frames_are_thinned_out_evenly() -> None:
    figure = figures.waterfall(patterns(60))
    assert len(figure.axes[0].lines) == 20
    assert figure.axes[-1].get_ylabel() == "frame"


def test_the_overview_goes_from_lines_to_a_map() -> None:
    assert figures.overview(patterns(figures.MOST_LINES)).axes[0].lines
    assert not figures.overview(patterns(figures.MOST_LINES + 1)).axes[0].lines


def test_a_map_leaves_out_what_was_not_measured() -> None:
    axes = figures.contour(patterns(5)).axes[0]
    shown = axes.collections[0].get_array()
    assert shown is not None
    assert shown.shape == (5, 91)
    assert np.ma.getmaskarray(shown).sum() == 25


@pytest.mark.parametrize(("scale", "offset"), [(1.0, 0.0), (1.0, 1e4), (1e-3, 0.0), (20.0, -2000.0)])
def test_the_colour_bar_says_where_it_begins(scale: float, offset: float) -> None:
    ds = patterns(30)
    ds["intensity"].values[:] = ds["intensity"].values * scale + offset
    figure = figures.contour(ds)
    bar = figure.axes[-1]
    low, high = bar.get_ylim()
    assert bar.get_yticks()[0] == pytest.approx(low)
    assert len(bar.get_yticks()) >= 3
    for tick, label in zip(bar.get_yticks(), bar.get_yticklabels(), strict=True):
        assert low <= tick <= high
        assert float(label.get_text()) == pytest.approx(tick, rel=5e-3)


def test_a_map_is_drawn_against_time_where_there_is_one() -> None:
    start = np.datetime64("2022-01-01T00:00:00", "ns")
    time = start + np.arange(5) * np.timedelta64(3600, "s")
    axes = figures.contour(patterns(5).assign_coords(time=("frame", time))).axes[0]
    assert axes.get_ylabel() == "time (h)"
    assert axes.get_ylim() == (-0.5, 4.5)


def test_q_stands_on_the_opposite_axis() -> None:
    figure = figures.waterfall(patterns(3, wavelength=0.1173))
    figure.draw_without_rendering()
    (top,) = figure.axes[0].child_axes
    expected = 4 * np.pi / 0.1173 * np.sin(np.radians(np.array(figure.axes[0].get_xlim()) / 2))
    np.testing.assert_allclose(top.get_xlim(), expected)


@pytest.mark.parametrize("frames", [1, 2, 30])
@pytest.mark.parametrize("draw", [figures.waterfall, figures.contour])
def test_figures_are_one_column_wide_and_can_be_saved(draw: Any, frames: int) -> None:
    figure = draw(patterns(frames, wavelength=0.1173))
    assert figure.get_size_inches()[0] == plotting.ONE_COLUMN
    for kind in ("png", "pdf"):
        figure.savefig(io.BytesIO(), format=kind)


def test_the_session_keeps_its_settings() -> None:
    before = dict(mpl.rcParams)
    figures.waterfall(patterns(2))
    assert dict(mpl.rcParams) == before
