from __future__ import annotations

import io

import numpy as np
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


def fitted(chi: xr.Dataset, status: list[str]) -> xr.Dataset:
    """Return EXAFS as `xas.fit` returns it, the fit being the data where it did not fail."""
    failed = [s.startswith("failed") for s in status]
    distance = [[np.nan if f else 2.1] for f in failed]
    errors = [[np.nan if f else 0.012] for f in failed]
    fit = chi["chi_r"].assign_attrs(rmin=1.2, rmax=3.5)
    new = {"distance": (("scan", "shell"), distance), "distance_errors": (("scan", "shell"), errors)}
    return chi.assign({**new, "chi_r_fit": fit, "status": ("scan", status)}).assign_coords({"shell": ["O1"]})


def test_failed_and_suspect_fits_are_named(scans: xr.Dataset) -> None:
    status = [
        "ok",
        "suspect: R-factor 0.20 is above 0.05",
        "failed: the data do not determine the parameters",
    ]
    chi = fitted(xas.fourier(xas.exafs(scans)), status)
    figure = figures.chi_r(chi)
    shown = [text.get_text() for text in figure.axes[0].texts]
    assert shown == ["scan 0", "scan 1 (fit suspect)", "scan 2 (fit failed)"]
    assert len(figure.axes[0].lines) == 3 + 2 * 2  # no line for the fit that failed
    for index, expected in (
        (0, "Ni–O 2.100(12) Å"),
        (1, "R-factor 0.20"),
        (2, "Ni–O not found\nfailed: the"),
    ):
        single = figures.chi_r(chi.isel(scan=index))
        assert expected in single.axes[0].texts[0].get_text()
        single.savefig(io.BytesIO(), format="png")


def test_what_cannot_be_drawn_says_what_is_missing() -> None:
    with pytest.raises(SchemaError, match=r"xas\.normalize"):
        figures.edge_stack(simulate.scan(0))
    with pytest.raises(SchemaError, match=r"xas\.fourier"):
        figures.chi_r(xr.Dataset())
