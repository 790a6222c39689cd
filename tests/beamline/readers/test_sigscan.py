from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import beamline
from beamline.errors import ConfigError, DataFileError

HEAD = "Date: 7/5/2024\n\nStart, Stop, Increment\nMono Energy\nCount Time (s): 3.0\nScan Number: 1\n\n"
NAMES = "Time (s)\tMono Energy\tUndulator Gap\tMono Energy\tGate\tCounter 0\tCounter 1\tCounter 2\n"


def scan_text(energies: list[float], times: list[float] | None = None) -> str:
    times = times or [137689.8, *(5.0 * i for i in range(1, len(energies)))]
    rows = [
        f"{t}\t{e}\t0.0\t0.0\t0.0\t{1000 + i}\t{100 + i}\t{50 + i}"
        for i, (t, e) in enumerate(zip(times, energies, strict=True))
    ]
    return HEAD + NAMES + "\n".join(rows) + "\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "SigScan1.txt"
    file.write_text(scan_text([529.0, 530.0, 531.0]))
    return file


def test_the_first_energy_column_is_the_one_with_values(path: Path) -> None:
    np.testing.assert_array_equal(beamline.read(path).energy, [529.0, 530.0, 531.0])


def test_mu_is_yield_over_flux_with_its_counting_error(path: Path) -> None:
    scan = beamline.read(path)
    assert scan.mu[0] == pytest.approx(0.1)
    assert scan.mu_errors[0] == pytest.approx(0.1 * np.sqrt(1 / 100 + 1 / 1000))
    assert scan.attrs["i0"] == "Counter 0"
    assert scan.attrs["signal"] == "Counter 1"


def test_the_wiring_can_be_stated(path: Path) -> None:
    assert beamline.read(path, signal=2).mu[0] == pytest.approx(0.05)


def test_a_counter_that_is_not_there_is_refused(path: Path) -> None:
    with pytest.raises((ConfigError, DataFileError), match="signal=6"):
        beamline.read(path, signal=6)


def test_the_first_time_is_another_clock(path: Path) -> None:
    np.testing.assert_array_equal(beamline.read(path).elapsed, [0.0, 5.0, 10.0])


def test_a_sum_of_scans_has_no_clock(tmp_path: Path) -> None:
    file = tmp_path / "SigScan1-Sum.txt"
    file.write_text(scan_text([529.0, 530.0, 531.0], [9.0, 9.0, 9.0]))
    assert "elapsed" not in beamline.read(file).coords


def test_a_scan_downwards_is_put_in_order(tmp_path: Path) -> None:
    file = tmp_path / "SigScan1.txt"
    file.write_text(scan_text([531.0, 530.0, 529.0]))
    scan = beamline.read(file)
    np.testing.assert_array_equal(scan.energy, [529.0, 530.0, 531.0])
    assert scan.counter_0.values[0] == 1002


def test_an_energy_measured_twice_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "SigScan1.txt"
    file.write_text(scan_text([529.0, 530.0, 530.0]))
    with pytest.raises(DataFileError, match="twice"):
        beamline.read(file)


def test_damage_within_the_table_is_refused(path: Path) -> None:
    path.write_text(path.read_text().replace("\t530.0\t", "\tn/a\t"))
    with pytest.raises(DataFileError, match="row 2"):
        beamline.read(path)


@settings(deadline=None, max_examples=60)
@given(cut=st.integers(min_value=0, max_value=400))
def test_a_file_cut_anywhere_is_read_in_part_or_refused(
    tmp_path_factory: pytest.TempPathFactory, cut: int
) -> None:
    text = scan_text([529.0, 530.0, 531.0])
    file = tmp_path_factory.mktemp("cut") / "SigScan1.txt"
    file.write_text(text[:cut])
    try:
        scan = beamline.read(file, kind="xas.scans")
    except DataFileError:
        return
    assert set(scan.energy.values) <= {529.0, 530.0, 531.0}
    assert set(scan.counter_2.values) <= {50.0, 51.0, 52.0}
