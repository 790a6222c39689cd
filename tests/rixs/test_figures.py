from __future__ import annotations

from pathlib import Path

import numpy as np
import xarray as xr

import rixs
from rixs import figures, simulate


def test_a_map_over_the_window_has_its_cut_beside_it(simulated_map: xr.Dataset, tmp_path: Path) -> None:
    figure = figures.overview(simulated_map)
    left, right = figure.axes[:2]
    assert left.get_xlabel() == right.get_xlabel() == "emission energy (eV)"
    assert left.get_ylabel() == "excitation energy (eV)"
    edges = {line.get_ydata()[0] for line in left.lines if len(line.get_ydata()) == 2}
    assert edges == set(figures.WINDOW)
    drawn = right.lines[-1]
    cut = rixs.window(simulated_map, *figures.WINDOW)
    np.testing.assert_array_equal(drawn.get_ydata(), cut.intensity.sel(emission_energy=drawn.get_xdata()))
    figure.savefig(tmp_path / "map.png")


def test_a_map_that_does_not_reach_the_window_is_drawn_alone() -> None:
    rmap = rixs.reduce(simulate.scan(seed=1, energies=simulate.excitation_energies(526.6, 530.0, 0.2)))
    figure = figures.overview(rmap)
    assert [axes.get_xlabel() for axes in figure.axes] == ["emission energy (eV)", ""]


def test_a_cut_says_what_it_shows(simulated_map: xr.Dataset, tmp_path: Path) -> None:
    figure = figures.cut(rixs.window(simulated_map, 530.6, 531.8))
    assert figure.axes[0].get_ylabel() == "integrated intensity (ADU per 10⁶ I₀ counts)"
    assert figure.axes[0].get_title(loc="right") == "excitation 530.6–531.8 eV"
    figure.savefig(tmp_path / "cut.png")
