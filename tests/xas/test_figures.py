from __future__ import annotations

import io

import pytest
import xarray as xr

import xas
from beamline.errors import SchemaError
from xas import figures, simulate


@pytest.fixture(scope="module")
def scans() -> xr.Dataset:
    made = [simulate.scan(n, noise=5e-4, e0=8345 + n, label=f"scan {n}") for n in range(3)]
    return xas.edge(xas.normalize(xas.align(made, reference=None)))


def test_edges_and_derivatives_are_drawn(scans: xr.Dataset) -> None:
    figure = figures.edge_stack(scans)
    top, bottom = figure.axes
    assert [text.get_text() for text in top.get_legend().get_texts()] == ["scan 0", "scan 1", "scan 2"]
    assert bottom.get_xlabel() == "photon energy (eV)"
    marks = [line for line in top.lines if line.get_marker() == "o"]
    found = [float(line.get_xdata()[0]) for line in marks]
    assert found == pytest.approx(scans["edge_energy"].values.tolist())


def test_many_scans_get_a_bar_of_names(scans: xr.Dataset) -> None:
    many = xas.edge(xas.normalize(xas.align([scans] * 5, reference=None)))
    figure = figures.edge_stack(many)
    assert len(figure.axes) == 3
    assert len(figure.axes[0].lines) == 2 * 8  # every second of fifteen, each with its mark


def test_one_scan_and_several_are_drawn(scans: xr.Dataset) -> None:
    chi = xas.fourier(xas.exafs(scans))
    assert len(figures.chi_r(chi).axes[0].lines) == 3
    single = figures.chi_r(chi.isel(scan=0))
    assert single.axes[0].get_ylabel() == "|χ(R)| (Å$^{-3}$)"
    single.savefig(io.BytesIO(), format="png")


def test_what_cannot_be_drawn_says_what_is_missing() -> None:
    with pytest.raises(SchemaError, match=r"xas\.normalize"):
        figures.edge_stack(simulate.scan(0))
    with pytest.raises(SchemaError, match=r"xas\.fourier"):
        figures.chi_r(xr.Dataset())
