from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import beamline
import rixs
from beamline import model
from beamline.cli import main
from beamline.errors import ConfigError
from rixs import figures
from rixs.simulated_features import CHARGED, map_of


def test_a_loss_map_conserves_counts_and_their_variance() -> None:
    rmap = map_of(CHARGED, 3, np.array([530.2, 530.6, 531.05]))
    loss = rixs.loss_map(rmap)
    model.validate(loss, "rixs.loss_map")
    step = float(np.diff(loss.energy_loss)[0])
    assert np.abs(loss.energy_loss).min() < 1e-9
    for i in range(3):
        seen = np.isfinite(loss.intensity.values[i])
        found, variance = (
            step * loss.intensity.values[i, seen].sum(),
            step**2 * (loss.intensity_errors.values[i, seen] ** 2).sum(),
        )
        covered = loss.energy_loss.values[seen][[0, -1]] + np.array([-step, step]) / 2
        lo, hi = float(rmap.excitation_energy[i]) - covered[::-1]
        expected = rixs.emission_window(rmap.isel(excitation_energy=[i]), lo, hi)
        assert found == pytest.approx(float(expected.intensity[0]))
        assert variance == pytest.approx(float(expected.intensity_errors[0]) ** 2)
        bins = loss.emission_energy.values[i] + loss.energy_loss.values
        np.testing.assert_allclose(bins, rmap.excitation_energy.values[i])


def test_elastic_lines_stand_upright_in_a_loss_map() -> None:
    loss = rixs.loss_map(map_of(CHARGED, 4, np.array([527.0, 528.0, 529.5])), step=0.1)
    np.testing.assert_allclose(np.diff(loss.energy_loss), 0.1)
    near = loss.sel(energy_loss=slice(-1, 1)).intensity
    for row in near.values:
        assert abs(float(near.energy_loss[int(np.argmax(row))])) < 0.15


def test_bins_a_point_does_not_cover_are_empty_there() -> None:
    rmap = map_of(CHARGED, 3, np.array([530.2, 531.2]))
    rmap["intensity"][0, 40] = np.nan
    rmap["intensity_errors"][0, 40] = np.nan
    loss = rixs.loss_map(rmap)
    lost = float(rmap.excitation_energy[0] - rmap.emission_energy[40])
    assert np.isnan(loss.intensity[0].sel(energy_loss=lost, method="nearest"))
    assert np.isfinite(loss.intensity[1].sel(energy_loss=lost, method="nearest"))
    assert 2 <= int(np.isnan(loss.intensity[0].sel(energy_loss=slice(lost - 0.5, lost + 0.5))).sum()) <= 3
    assert np.isfinite(rixs.loss_window(rmap, 530.4, 531.0).intensity).all()
    with pytest.raises(ConfigError, match="not positive"):
        rixs.loss_map(rmap, step=0.0)


def test_the_loss_view_is_drawn(tmp_path: Path) -> None:
    figure = figures.loss_view(rixs.loss_map(map_of(CHARGED, 3, np.array([530.2, 530.6, 531.0]))))
    assert figure.axes[0].get_xlabel() == "energy loss (eV)"
    figure.savefig(tmp_path / "loss.png")


def test_the_command_makes_one_that_is_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rmap = map_of(CHARGED, 3, np.array([530.2, 530.6, 531.0]))
    beamline.save(rmap, tmp_path / "map.nc")
    assert main(["rixs-loss", str(tmp_path / "map.nc"), "-o", str(tmp_path / "loss.nc")]) == 0
    xr.testing.assert_equal(beamline.open(tmp_path / "loss.nc"), rixs.loss_map(rmap))
    assert main(["figures", str(tmp_path / "loss.nc"), "-o", str(tmp_path / "figures")]) == 0
    assert list((tmp_path / "figures").glob("*.p*"))
    assert main(["rixs-loss", str(tmp_path / "loss.nc"), "-o", str(tmp_path / "again.nc")]) == 1
    assert "is not a map" in capsys.readouterr().err
