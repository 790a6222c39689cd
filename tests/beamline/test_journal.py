from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beamline import journal, tasks
from beamline.errors import ConfigError, DataFileError
from beamline.journal import FAILED, Entry, Journal
from tests.beamline import fake

CHUNK = Entry(
    "fake/m", "a" * 64, files=({"name": "raw/é.fake", "sha256": "b" * 64},), frames=(0, 64), chunks=2
)
STEP = Entry("fake/m", "c" * 64, step="xrd.refine")
BAD = Entry("fake/m", "d" * 64, FAILED, error={"subject": "f", "problem": "is bad", "remedy": ""})

entries = st.builds(
    Entry,
    measurement=st.text(),
    key=st.text(),
    state=st.sampled_from(["done", "kept", "failed"]),
    files=st.lists(st.fixed_dictionaries({"name": st.text(), "sha256": st.text()})).map(tuple),
    frames=st.none() | st.tuples(st.integers(0), st.integers(0)),
    chunks=st.integers(1),
    step=st.text(),
    error=st.none()
    | st.fixed_dictionaries({"subject": st.text(), "problem": st.text(), "remedy": st.text()}),
)


@given(entries)
@settings(deadline=None, max_examples=50)
def test_an_entry_survives_its_line(entry: Entry) -> None:
    assert "\n" not in entry.to_json()
    assert Entry.from_json(entry.to_json()) == entry


@given(st.text())
@settings(deadline=None, max_examples=50)
def test_any_other_line_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - of JSON or of the entry
        Entry.from_json(text)


@pytest.mark.parametrize("line", ["3", "[]", "{}", '{"measurement": 3, "key": "x"}', '{"measurement": "m"}'])
def test_json_that_is_no_entry_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match="not an entry"):
        Entry.from_json(line)


def test_fields_of_a_newer_version_are_passed_over() -> None:
    data = {**json.loads(CHUNK.to_json()), "colour": "blue"}
    assert Entry.from_json(json.dumps(data)) == CHUNK


def test_what_was_appended_is_there_the_next_time(tmp_path: Path) -> None:
    book = Journal(tmp_path, "test")
    for entry in (CHUNK, STEP, BAD):
        book.append(entry)
    book.record_results({"fake/m": STEP.key})
    again = Journal(tmp_path, "test")
    assert list(again.entries.values()) == [CHUNK, STEP, BAD]
    assert again.results == {"fake/m": STEP.key}


def test_the_last_line_about_a_task_counts(tmp_path: Path) -> None:
    book = Journal(tmp_path, "test")
    book.append(BAD)
    good = Entry(BAD.measurement, BAD.key)
    book.append(good)
    assert Journal(tmp_path, "test").of("fake/m") == [good]


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_torn_last_line_is_dropped(tmp_path: Path, cut: int) -> None:
    book = Journal(tmp_path, "test")
    book.append(CHUNK)
    book.append(STEP)
    path = tmp_path / journal.NAME
    path.write_bytes(path.read_bytes()[:-cut])
    again = Journal(tmp_path, "test")
    assert again.of("fake/m") == [CHUNK]
    again.append(BAD)  # goes on a line of its own
    assert Journal(tmp_path, "test").of("fake/m") == [CHUNK, BAD]


def test_compaction_gives_the_order_it_is_told(tmp_path: Path) -> None:
    for name, order in (("a", (CHUNK, STEP)), ("b", (STEP, CHUNK))):
        (tmp_path / name).mkdir()
        book = Journal(tmp_path / name, "test")
        for entry in order:
            book.append(entry)
        book.compact([CHUNK, STEP])
    assert (tmp_path / "a" / journal.NAME).read_bytes() == (tmp_path / "b" / journal.NAME).read_bytes()


def test_an_unchanged_journal_is_not_written_again(tmp_path: Path) -> None:
    book = Journal(tmp_path, "test")
    book.append(CHUNK)
    book.compact([CHUNK])
    before = (tmp_path / journal.NAME).stat().st_mtime_ns
    book.compact([CHUNK])
    assert (tmp_path / journal.NAME).stat().st_mtime_ns == before


@pytest.mark.parametrize(
    "damage", [b"", b"\0\0\0\n", b'{"beamtime": "test"}\n\0\0\n', b"[]\n", b'{"x": 1}\n']
)
def test_a_lost_journal_comes_back_from_the_shards(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "x.fake").write_text("1 2")
    book = Journal(tmp_path, "test")
    for entry in (CHUNK, STEP):
        tasks.store_shard(fake.read_rows(tmp_path / "x.fake"), entry, book.shard(entry))
    (tmp_path / "shards/fake/m/foreign.nc").write_bytes(b"not ours")
    (tmp_path / journal.NAME).write_bytes(damage)
    again = Journal(tmp_path, "test")
    assert sorted(again.entries.values(), key=lambda e: e.key) == [CHUNK, STEP]
    assert Journal(tmp_path, "test").entries == again.entries


def test_a_full_disk_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    book = Journal(tmp_path, "test")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataFileError, match=r"journal\.jsonl: cannot be written \(No space left"):
        book.append(CHUNK)


def test_a_second_process_is_kept_out_and_told_who_is_in(tmp_path: Path) -> None:
    code = "import sys, pathlib, beamline.journal as j\nwith j.locked(pathlib.Path(sys.argv[1])): pass"
    with journal.locked(tmp_path):
        done = subprocess.run(
            [sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=False
        )
    assert f"is being worked on by process {os.getpid()}" in done.stderr
    subprocess.run([sys.executable, "-c", code, tmp_path], check=True)


def test_the_lock_is_gone_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(KeyError), journal.locked(tmp_path):
        raise KeyError
    with journal.locked(tmp_path), pytest.raises(ConfigError, match="worked on by process"):
        journal.locked(tmp_path).__enter__()


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataFileError, match="cannot be written to"), journal.locked(tmp_path / "file"):
        pass
