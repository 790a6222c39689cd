from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import xrd
from beamline.errors import SchemaError
from tests.xrd import refinement_files as files
from xrd import refinement_figures as figures


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> xr.Dataset:
    """Three patterns with two phases, joined to a voltage; the second fit did not end well."""
    folder = tmp_path_factory.mktemp("figures")
    files.write_model(folder)
    layered = files.model(folder).phases[0]
    salt = xrd.Phase("salt", "F m -3 m", (4.16,) * 3 + (90.0,) * 3, (xrd.Site("Ni", "Ni", 0.0, 0.0, 0.0),))
    instrument = xrd.Instrument.from_instprm(folder / "11idc.instprm")
    model = xrd.Model([layered, salt], instrument, 2, files.LIMITS, excluded=[(3.0, 3.2)])
    model.fix("salt/size", "salt/strain").start({"salt/scale": 0.01, "background/0": 400.0})
    found = xrd.refine_series(files.patterns(folder), model, curves=True)
    status = found["status"].values.copy().astype("U12")
    status[:] = ["converged", "max_cycles", "converged"]
    times = np.datetime64("2022-06-14T12:00", "ns") + np.arange(3) * np.timedelta64(2, "h")
    attributes = {"units": "V", "long_name": "voltage", "reference": "Li/Li+"}
    return found.assign(status=("frame", status)).assign_coords(
        time=("frame", times), voltage=("frame", [3.6, 3.9, 4.3], attributes)
    )


def drawn(figure: Any) -> Any:
    figure.canvas.draw()
    return figure


def test_a_pattern_has_its_fit_its_reflections_and_its_difference(series: xr.Dataset) -> None:
    top, strip, bottom = drawn(figures.pattern(series, 1)).axes
    labels = [text.get_text() for text in top.get_legend().get_texts()]
    assert labels == ["observed", "calculated", "background"]
    assert top.get_legend().get_title().get_text().startswith("Rwp ")
    assert top.get_legend().get_title().get_text().endswith("max_cycles")
    assert [text.get_text() for text in strip.get_yticklabels()] == ["layered", "salt"]
    ticks = [len(lines.get_segments()) for lines in strip.collections]
    owners = series["reflection_phase"].values.tolist()
    assert ticks[:2] == [owners.count("layered"), owners.count("salt")]
    _, y = bottom.get_lines()[0].get_data()
    one = series.isel(frame=1)
    residual = ((one["intensity"] - one["calculated"]) / one["intensity_errors"]).values
    np.testing.assert_array_equal(y, residual)
    assert bottom.get_xlabel() == "2θ (°)"
    assert bottom.get_ylim()[1] >= 3


def test_what_is_not_fitted_is_shaded(series: xr.Dataset) -> None:
    top, *_ = figures.pattern(series).axes
    spans = [patch.get_extents().transformed(top.transData.inverted()) for patch in top.patches]
    (shaded,) = spans
    assert (shaded.x0, shaded.x1) == pytest.approx((3.0, 3.2), abs=0.01)


def test_a_series_has_cells_volumes_fractions_and_agreement(series: xr.Dataset) -> None:
    figure = drawn(figures.parameters(series))
    labels = [axes.get_ylabel() for axes in figure.axes]
    # the salt is not in the patterns: its cell cannot be refined
    cells = ["a (Å)", "c (Å)", "V (Å³)", "V (Å³)"]
    assert sorted(labels) == sorted([*cells, "mass fraction", "Rwp, Rexp (%)", "voltage\n(V vs Li/Li+)"])
    assert [axes.get_xlabel() for axes in figure.axes if axes.get_xlabel()] == ["time (h)"]
    (first,) = (axes for axes in figure.axes if axes.get_title() == "layered")
    assert first.get_ylabel() == "a (Å)"
    (bars,) = (c for c in first.collections if hasattr(c, "get_segments"))
    ends = np.array(bars.get_segments())
    half = (ends[:, 1, 1] - ends[:, 0, 1]) / 2
    np.testing.assert_allclose(half, series["a_errors"].sel(phase="layered"), rtol=1e-6)
    filled, hollow = first.collections[1:3]
    assert (len(filled.get_offsets()), len(hollow.get_offsets())) == (2, 1)


def test_a_sample_that_is_heated_is_drawn_over_its_temperature(series: xr.Dataset) -> None:
    heated = series.drop_vars("voltage").assign_coords(
        temperature=("frame", [30.0, 60.0, 95.0], {"units": "degC", "long_name": "temperature"})
    )
    assert figures.parameters(heated).axes[-1].get_xlabel() == "temperature (°C)"
    cooled_again = heated.assign_coords(temperature=("frame", [30.0, 60.0, 40.0], {"units": "degC"}))
    figure = figures.parameters(cooled_again)
    assert figure.axes[-1].get_xlabel() == "time (h)"
    assert figure.axes[-1].get_ylabel().startswith("temperature")


def test_the_overview_has_the_first_and_the_worst_pattern(series: xr.Dataset) -> None:
    worst = series.assign(gof=("frame", [1.0, np.nan, 2.0], series["gof"].attrs))
    assert list(figures.overview(worst)) == ["", "pattern_0", "pattern_2"]
    assert list(figures.overview(worst.isel(frame=[0]))) == [""]
    bare = worst.drop_vars(["calculated", "baseline"])
    assert list(figures.overview(bare)) == [""]
    with pytest.raises(SchemaError, match="curves=True"):
        figures.pattern(bare)


def test_a_failed_fit_leaves_a_gap(series: xr.Dataset, tmp_path: Path) -> None:
    gone = series.copy(deep=True)
    for name in gone.data_vars:
        if (
            gone[name].dtype.kind == "f"
            and "frame" in gone[name].dims
            and name not in ("intensity", "intensity_errors")
        ):
            gone[name][dict.fromkeys(["frame"], 1)] = np.nan
    gone["status"][1] = "failed"
    for name, figure in figures.overview(gone).items():
        figure.savefig(tmp_path / f"{name}.png")
    figures.pattern(gone, 1).savefig(tmp_path / "failed.png")
