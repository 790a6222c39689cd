from __future__ import annotations

import os
from pathlib import Path

import pytest

from beamline import inventory, provenance
from beamline.errors import DataFileError
from beamline.inventory import Inventory
from tests.beamline import fake


@pytest.fixture
def raw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    fake.install(monkeypatch)
    path = tmp_path / "a.fake"
    path.write_text("1 2\n3 4")
    os.utime(path, ns=(10**18, 10**18))
    return path


def looks(output: Path, raw: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """Look at a file and return how many files were read for it."""
    read: list[object] = []
    whole = provenance.file_hash
    with monkeypatch.context() as patch:
        patch.setattr(provenance, "file_hash", lambda path: read.append(path) or whole(path))
        book = Inventory(output)
        found = book.look(raw, None)
        book.save()
    assert found.files[0] == (raw, whole(raw))
    assert found.frames == len(raw.read_text().splitlines())
    return len(read)


def test_an_unchanged_file_is_read_once(tmp_path: Path, raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert looks(tmp_path, raw, monkeypatch) == 1
    assert looks(tmp_path, raw, monkeypatch) == 0
    raw.write_text("1 2\n3 4\n5 6")
    os.utime(raw, ns=(2 * 10**18, 10**18))
    assert looks(tmp_path, raw, monkeypatch) == 1
    assert looks(tmp_path, raw, monkeypatch) == 0


def test_a_file_that_has_just_changed_is_not_trusted(
    tmp_path: Path, raw: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw.write_text("1 2")
    assert looks(tmp_path, raw, monkeypatch) == 1
    assert looks(tmp_path, raw, monkeypatch) == 1


def test_companions_are_part_of_it(tmp_path: Path, raw: Path) -> None:
    raw.with_suffix(".side").write_text("x")
    assert [path.name for path, _ in Inventory(tmp_path).look(raw, None).files] == ["a.fake", "a.side"]


def test_a_file_that_grows_is_refused(tmp_path: Path, raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = provenance.file_hash

    def slow(path: Path) -> str:
        found = whole(path)
        with open(path, "a") as file:
            file.write("\n5 6")
        return found

    monkeypatch.setattr(provenance, "file_hash", slow)
    with pytest.raises(DataFileError, match="changes while it is read"):
        Inventory(tmp_path).look(raw, None)


@pytest.mark.parametrize("content", ["", "{", "[]", "3", '{"version": "0"}', '{"version": null, "files": 3}'])
def test_a_damaged_cache_is_an_empty_one(tmp_path: Path, raw: Path, content: str) -> None:
    (tmp_path / inventory.NAME).write_text(content)
    assert not Inventory(tmp_path).is_known(raw)


def test_a_fault_in_counting_frames_is_one_of_the_file(tmp_path: Path, raw: Path) -> None:
    raw.write_bytes(b"\xff\xfe")
    with pytest.raises(DataFileError, match=r"a\.fake: cannot be read as fake rows \(UnicodeDecodeError"):
        Inventory(tmp_path).look(raw, None)
