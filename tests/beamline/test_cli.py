from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest

import beamline
from beamline import cli, console, techniques
from tests.beamline import fake

ROWS = {f"raw/f{i}.fake": [[i, 1.0, 2.0, 3.0]] for i in range(1, 4)}


@pytest.fixture(autouse=True)
def _fake(monkeypatch: pytest.MonkeyPatch) -> None:
    fake.install(monkeypatch)


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = cli.main([str(argument) for argument in arguments])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "--help")
    assert code == 0
    for name in ("demo", "init", "check", "process", "figures", "export", "show", "greet"):
        assert name in out


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "--version") == (0, f"redoxlight {beamline.__version__}\n", "")


def test_process_tells_what_it_did(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = fake.write(tmp_path, ROWS)
    code, out, err = run(capsys, "process", path, "--scheduler", "threads:2")
    assert (code, err) == (0, "")
    assert out.splitlines()[1].split() == ["fake/m", "3", "0", "0", "0"]
    assert out.splitlines()[2] == f"results: {tmp_path}/out/results.nc"


def test_a_failed_input_is_named_and_the_exit_code_is_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = fake.write(tmp_path, ROWS)
    (tmp_path / "raw/f2.fake").write_text("x")
    code, out, err = run(capsys, "process", path)
    assert code == 1
    assert err.startswith("redoxlight: raw/f2.fake: ")
    assert len(err.splitlines()) == 1
    code, out, err = run(capsys, "--json", "process", path)
    assert (code, err) == (1, "")
    assert json.loads(out)["failed"][0]["subject"] == "raw/f2.fake"


def test_a_fault_of_the_code_shows_its_traceback(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "process", fake.write(tmp_path, {"raw/a.fake": [[-1]]}))
    assert code == 1
    assert "Traceback" in err
    assert "RuntimeError: a fault in the code" in err


def test_a_missing_file_is_named_without_failing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = fake.write(tmp_path, ROWS)
    run(capsys, "process", path)
    (tmp_path / "raw/f2.fake").unlink()
    code, _, err = run(capsys, "process", path)
    assert (code, "raw/f2.fake: is gone" in err) == (0, True)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["process", "none.toml"], "none.toml: is missing"),
        (["process", "."], "is a folder, not a file"),
        (["process", "no.toml"], "no.toml"),
        (["process", "beamtime.toml", "--scheduler", "dask"], "scheduler 'dask': does not exist"),
        (["process", "beamtime.toml", "--only", "xas"], "only 'xas': is no measurement"),
        (["proces"], "No such command"),
        (["process", "beamtime.toml", "--fast"], "No such option"),
    ],
)
@pytest.mark.parametrize("as_json", [False, True])
def test_a_wrong_command_ends_in_one_sentence_and_2(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    expected: str,
    as_json: bool,
) -> None:
    fake.write(tmp_path, ROWS)
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, *arguments, *(["--json"] if as_json else []))
    assert code == 2
    if as_json:
        assert err == ""
        error = json.loads(out)["error"]
        assert error["type"] == "ConfigError"
        assert expected in error["message"]
    else:
        assert out == ""
        assert len(err.splitlines()) == 1
        assert expected in err


def test_an_unexpected_exception_is_not_hidden(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from beamline import config

    monkeypatch.setattr(config, "load", lambda _: 1 / 0)
    for arguments in (["check", "x"], ["check", "x", "--json"]):
        with pytest.raises(ZeroDivisionError):
            cli.main(arguments)


def test_an_interrupt_is_one_sentence(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from beamline import config

    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(config, "load", interrupt)
    code, out, err = run(capsys, "check", "x")
    assert (code, out) == (130, "")
    assert err == "redoxlight: interrupted: what is done is kept; the same command goes on from there\n"


def test_check_counts_the_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = fake.write(tmp_path, ROWS)
    code, out, _ = run(capsys, "check", path)
    assert (code, out) == (0, "measurement  files\nfake/m           3\n")
    assert not (tmp_path / "out").exists()
    assert json.loads(run(capsys, "check", path, "--json")[1]) == {
        "measurements": {"fake/m": 3},
        "changed": [],
    }


def test_check_and_process_name_a_changed_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = fake.write(tmp_path, ROWS)
    run(capsys, "process", path)
    (tmp_path / next(iter(ROWS))).write_text("9 9 9 9")
    for command in ("check", "process"):
        code, _, err = run(capsys, command, path)
        assert code == 0
        assert f"{next(iter(ROWS))}: changed since it was first processed" in err


def test_check_prints_the_schema(capsys: pytest.CaptureFixture[str]) -> None:
    from beamline import config

    assert json.loads(run(capsys, "check", "--schema")[1]) == config.schema()


def test_what_init_writes_passes_check_up_to_the_missing_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(capsys, "init", tmp_path)[0] == 0
    code, _, err = run(capsys, "check", tmp_path / "beamtime.toml")
    assert code == 2
    problem = err.strip().removeprefix(f"redoxlight: {tmp_path}/beamtime.toml: ")
    assert problem.startswith("fake.sample.files: 'raw/*.fake' matches no file")
    fake_raw = tmp_path / "raw/a.fake"
    fake_raw.parent.mkdir()
    fake_raw.touch()
    assert run(capsys, "check", tmp_path / "beamtime.toml")[0] == 0


def test_init_overwrites_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "b.toml"
    path.write_text("mine")
    code, _, err = run(capsys, "init", path)
    assert code == 2
    assert "exists and is not overwritten" in err
    assert path.read_text() == "mine"


def test_figures_are_drawn_the_same_each_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "process", fake.write(tmp_path, ROWS))
    results = tmp_path / "out/results.nc"
    for folder in ("a", "b"):
        code, out, _ = run(capsys, "figures", results, "-o", tmp_path / folder)
        assert code == 0
        assert out.splitlines() == [f"{tmp_path}/{folder}/fake_m.png", f"{tmp_path}/{folder}/fake_m.pdf"]
    for name in ("fake_m.png", "fake_m.pdf"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    code, out, _ = run(capsys, "figures", f"{results}::/fake/m", "-o", tmp_path / "c", "--json")
    assert json.loads(out)["written"] == [f"{tmp_path}/c/fake_m.png", f"{tmp_path}/c/fake_m.pdf"]


def test_figures_of_nothing_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run(capsys, "process", fake.write(tmp_path, ROWS))
    plain = dataclasses.replace(fake.TECHNIQUE, figures={})
    monkeypatch.setattr(techniques, "techniques", lambda: {"fake": plain})
    code, _, err = run(capsys, "figures", tmp_path / "out/results.nc", "-o", tmp_path)
    assert code == 2
    assert "holds nothing that has a figure (xrd.patterns)" in err


def test_demo_goes_from_nothing_to_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "demo", tmp_path / "new")
    assert (code, err) == (0, "")
    assert f"figure:  {tmp_path}/new/figures/fake_m.png" in out.splitlines()
    code, _, err = run(capsys, "demo", tmp_path / "new")
    assert code == 2
    assert "is not an empty folder" in err


def test_commands_of_techniques_are_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "greet", "you") == (0, "hello you\n", "")
    assert json.loads(run(capsys, "greet", "you", "--json")[1]) == {"hello": "you"}
    assert "Say hello" in run(capsys, "greet", "--help")[1]


def test_the_installed_command_ends_with_its_exit_code(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import sys; from beamline.cli import main; sys.exit(main())"]
    done = subprocess.run([*command, "process", tmp_path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert (
        done.stderr
        == f"redoxlight: {tmp_path}: is a folder, not a file; `redoxlight init` writes a template\n"
    )


def test_a_reader_that_stops_is_no_error() -> None:
    code = "import sys, beamline.console as c; sys.exit(c.tell(c.Outcome({}, 'x' * 10**6), False))"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.read(10)
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 0


def test_the_bar_is_for_terminals_and_long_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with console.Bar() as bar:
        bar.started("x", 2)
        bar.advanced("x")
        assert bar._progress is None
        monkeypatch.setattr(console, "PATIENCE", 0.0)
        bar.advanced("x")
        assert bar._progress is not None
        bar.finished("x")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False, raising=False)
    with console.Bar() as bar:
        bar.started("x", 1)
        assert bar._progress is None
