from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from beamline import provenance
from beamline.errors import CalibrationError
from calibration import records
from calibration.geometry import Geometry

GEOMETRY = Geometry(0.2, 0.004, 0.009, 0.03, -0.05, 0.2, 0.4, (172e-6, 100e-6), (60, 80), 2, "CeO2")


def test_a_record_comes_back_from_its_file(tmp_path: Path) -> None:
    GEOMETRY.save(tmp_path / "g.json")
    assert records.load_record(tmp_path / "g.json") == GEOMETRY


def test_covariance_comes_back_as_it_was(tmp_path: Path) -> None:
    with_covariance = Geometry(
        0.2, 0, 0, 0, 0, 0, 0.4, (1e-4, 1e-4), covariance=tuple((0.1 * i,) * 6 for i in range(6))
    )
    with_covariance.save(tmp_path / "g.json")
    assert records.load_record(tmp_path / "g.json") == with_covariance


def test_the_id_is_that_of_the_content() -> None:
    same = Geometry.from_record(json.loads(json.dumps(GEOMETRY.to_record())))
    other = Geometry.from_record({**GEOMETRY.to_record(), "distance": 0.2000001})
    assert same.id == GEOMETRY.id != other.id


def test_a_history_holds_the_whole_record() -> None:
    assert isinstance(GEOMETRY, provenance.Record)


@pytest.mark.parametrize(
    ("change", "said"), [({"distance": None}, "lacks distance"), ({"colour": 1}, "has colour")]
)
def test_missing_and_unknown_values_are_named(change: dict[str, object], said: str) -> None:
    record = {**GEOMETRY.to_record(), **change}
    record = {key: value for key, value in record.items() if value is not None or key == "covariance"}
    with pytest.raises(CalibrationError, match=said):
        Geometry.from_record(record)


@dataclass(frozen=True)
class Foreign(records.Calibration):
    value: float


@pytest.mark.parametrize(
    "record",
    [
        {"record": "os:getcwd"},
        {"record": "calibration.geometry:os.getcwd"},
        {"record": "calibration.geometry:load"},
        {"record": "calibration.nothing:Geometry"},
        {"record": f"{Foreign.__module__}:Foreign", "value": 1.0},
        {"record": 3},
        {},
        [],
        3,
    ],
)
def test_a_file_cannot_name_other_code(record: object, tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    path.write_text(json.dumps(record))
    with pytest.raises(CalibrationError, match=r"record\.json"):
        records.load_record(path)


@pytest.mark.parametrize("content", [b"", b"\0\1\2", b"{", b"\xff\xfe{"])
def test_what_is_no_record_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    path.write_bytes(content)
    with pytest.raises(CalibrationError, match=r"record\.json"):
        records.load_record(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match=r"none\.json"):
        records.load_record(tmp_path / "none.json")
