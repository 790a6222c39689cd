from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from beamline import plotting


def test_colours_rise_in_lightness_and_print_on_white() -> None:
    weights = np.array([0.2126, 0.7152, 0.0722])
    lightness = np.array(plotting.colors(12))[:, :3] @ weights
    assert (np.diff(lightness) > 0).all()
    assert lightness.max() < 0.8


@pytest.mark.parametrize("count", [0, 1, 7])
def test_as_many_colours_as_asked_for(count: int) -> None:
    assert len(plotting.colors(count)) == count


def test_labels_hold_the_unit() -> None:
    q = xr.DataArray([1.0], attrs={"units": "1/angstrom", "long_name": "scattering vector q"})
    assert plotting.axis_label(q) == "scattering vector q (Å⁻¹)"
    assert plotting.axis_label(q, "q") == "q (Å⁻¹)"
    assert plotting.axis_label(xr.DataArray([1.0], attrs={"units": "", "long_name": "phase"})) == "phase"


def test_a_new_figure_is_not_known_to_pyplot() -> None:
    from matplotlib import pyplot

    with plotting.style():
        figure, _ = plotting.new_figure(2, 1, sharex=True)
        plotting.panel_label(figure.axes[0], "a")
        assert figure.axes[0].xaxis.label.get_fontsize() == 7
    assert pyplot.get_fignums() == []
