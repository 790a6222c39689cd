"""The command ``redoxlight``.

A command is a function that returns an `beamline.console.Outcome`, or, for those of the techniques, anything
plain. Nothing but the standard library and typer is loaded before a command runs.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from beamline import __version__, console, recipe, techniques
from beamline._lazy import resolve
from beamline.console import Outcome
from beamline.errors import ConfigError, RedoxlightError

ConfigFile = Annotated[Path, typer.Argument(metavar="beamtime.toml", help="The configuration.")]
ResultFile = Annotated[
    Path, typer.Argument(metavar="RESULT", help="A file of results, or file::/group for a part of it.")
]
OutFolder = Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="Folder to write to.")]


class _Commands(TyperGroup):
    """Our own commands and those of the techniques, which are loaded when they are asked for."""

    def list_commands(self, ctx: Any) -> list[str]:
        return [*super().list_commands(ctx), *_of_techniques()]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        target = _of_techniques().get(cmd_name)
        if target is None:
            return super().get_command(ctx, cmd_name)
        single = typer.Typer(add_completion=False, rich_markup_mode=None)
        single.command(cmd_name)(resolve(target))
        return typer.main.get_command(single)


app = typer.Typer(
    cls=_Commands,
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,  # plain help: half the time, and the same in a pipe
    context_settings={"help_option_names": ["-h", "--help"]},
    help="From synchrotron measurements of battery cathodes to the numbers and figures of a paper.",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code.

    0: done; 1: some inputs failed, each is named, the others are done; 2: the command or the configuration is
    wrong. An exception nobody expected is not caught: its traceback is what has to be reported.
    """
    recipe.single_threaded_libraries()
    os.environ.setdefault("SILX_OPENCL", "0")  # not used here, and its absence would be announced each time
    arguments = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    ours = arguments[: arguments.index("--")] if "--" in arguments else arguments
    as_json = "--json" in ours
    if as_json:  # it may stand anywhere
        arguments.remove("--json")
    printed = io.StringIO()
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(printed) if as_json else contextlib.nullcontext(),
        ):
            warnings.showwarning = console.warn
            value = typer.main.get_command(app)(arguments, prog_name="redoxlight", standalone_mode=False)
    except RedoxlightError as error:
        outcome = Outcome.of_error(error, console.WRONG if isinstance(error, ConfigError) else 1)
    except (KeyboardInterrupt, typer.Abort):
        outcome = Outcome({}, code=console.INTERRUPTED)
    except BrokenPipeError:
        console.quiet_stdout()
        return console.DONE
    except Exception as error:
        if not hasattr(error, "format_message"):  # typer has no public base of its usage errors
            raise
        usage = ConfigError("command line", error.format_message().rstrip("."), "see redoxlight --help")
        outcome = Outcome.of_error(usage, console.WRONG)
    else:
        # --help, --version and typer.Exit end with a code, and have printed what they had to.
        ended = isinstance(value, int)
        outcome = Outcome({"text": printed.getvalue()}, code=value) if ended else Outcome.of(value)
    if outcome.code == console.INTERRUPTED:  # typer makes a code of Ctrl-C, or raises Abort
        stop = RedoxlightError("interrupted", "what is done is kept", "the same command goes on from there")
        outcome = Outcome.of_error(stop, console.INTERRUPTED)
    return console.tell(outcome, as_json)


def _of_techniques() -> dict[str, str]:
    """Return the commands of the techniques: name to "module:function"."""
    return {name: target for t in techniques.techniques().values() for name, target in t.commands.items()}


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"redoxlight {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", is_eager=True, callback=_print_version),
    ] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document for programs; may stand anywhere.")
    ] = False,
) -> None:
    pass


@app.command()
def demo(
    folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="New folder for it.")] = Path(
        "redoxlight-demo"
    ),
) -> Outcome:
    """Simulate a beamtime, process it and draw its figures."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(folder, "exists and is not an empty folder", "name a new one")
    from beamline import demonstration, drawing, truth
    from beamline.processing import process

    beamtime = demonstration.write(folder)
    with console.Bar() as bar:
        report = process(beamtime, progress=bar)
    told = _told(report)
    drawn, failed = drawing.draw(report.result, folder / "figures") if report.result else ([], [])
    compared = demonstration.compare(beamtime, Path(report.result)) if report.result else []
    written = [str(path) for path in drawn]
    lines = [
        told.text,
        *(f"figure:  {path}" for path in written),
        *([console.table(truth.rows(compared))] if compared else []),
    ]
    document = {
        "report": told.document,
        "written": written,
        "compared": [{**vars(c), "pull": c.pull} for c in compared],
    }
    code = max(told.code, console.SOME_FAILED if failed else console.DONE)
    return Outcome(document, "\n".join(lines), [*told.errors, *failed], code)


@app.command()
def init(
    path: Annotated[Path, typer.Argument(metavar="[PATH]", help="File, or folder for it.")] = Path(
        "beamtime.toml"
    ),
) -> Outcome:
    """Write a commented configuration to begin with."""
    from beamline import config

    if path.is_dir():
        path /= "beamtime.toml"
    config.write_template(path)
    return Outcome({"written": str(path)}, f"wrote {path}: fill in your files, then: redoxlight check {path}")


@app.command()
def check(
    beamtime: ConfigFile = Path("beamtime.toml"),
    schema: Annotated[bool, typer.Option("--schema", help="Print its JSON schema instead.")] = False,
) -> Outcome:
    """Check a configuration without processing anything."""
    import json

    from beamline import config, processing

    if schema:
        document = config.schema()
        return Outcome(document, json.dumps(document, indent=2, ensure_ascii=False))
    found = processing.check(beamtime)
    rows: list[list[Any]] = [["measurement", "files"], *([place, count] for place, count in found.items())]
    changed = processing.changed(beamtime)
    document = {"measurements": found, "changed": [vars(failure) for failure in changed]}
    return Outcome(document, console.table(rows), [str(failure) for failure in changed])


@app.command()
def process(
    beamtime: ConfigFile = Path("beamtime.toml"),
    scheduler: Annotated[
        str, typer.Option(help="serial, threads:<workers>, dask:local:<workers> or tcp://<host>:<port>.")
    ] = "serial",
    only: Annotated[
        str | None, typer.Option(help="Technique (xrd) or measurement (xrd.bccfe) to process.")
    ] = None,
) -> Outcome:
    """Process what has not been processed yet."""
    from beamline.processing import process

    with console.Bar() as bar:
        report = process(beamtime, scheduler, only, bar)
    return _told(report)


@app.command()
def figures(result: ResultFile, output: OutFolder) -> Outcome:
    """Draw the figures of a result."""
    from beamline import drawing

    written, failed = drawing.draw(result, output)
    code = console.SOME_FAILED if failed else console.DONE
    document = {"written": [str(path) for path in written], "failed": failed}
    return Outcome(document, "\n".join(str(path) for path in written), failed, code)


@app.command()
def export(
    result: ResultFile,
    output: OutFolder,
    format: Annotated[str, typer.Option("--format", help="xye, csv or nxs.")],  # noqa: A002 - its name
) -> Outcome:
    """Write a result for other programs."""
    from beamline.export import export_result

    written = [str(path) for path in export_result(result, output, format)]
    return Outcome({"written": written}, "\n".join(written))


@app.command()
def show(file: Annotated[Path, typer.Argument(metavar="FILE", help="A result or a raw file.")]) -> Outcome:
    """Say what a file holds and how it came to be."""
    from beamline.show import describe, describe_json

    return Outcome(describe_json(file), describe(file))


@app.command()
def replay(
    result: ResultFile,
    search: Annotated[
        list[Path], typer.Option("--search", metavar="DIR", help="Folder with raw files; may be repeated.")
    ],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="OUT.nc", help="File for what is made again.")
    ] = None,
) -> Outcome:
    """Make a result again from its history and the raw files, and compare."""
    from beamline import store
    from beamline.replaying import remake

    made = remake(result, search)
    if output is not None:
        store.save(made.result, output)
    remarks = [*made.remarks]
    if made.versions:
        remarks.insert(0, f"made with redoxlight {', '.join(made.versions)}, replayed with {__version__}")
    document = {
        "identical": made.identical,
        "differences": list(made.differences),
        "remarks": remarks,
        "written": None if output is None else str(output),
    }
    text = "identical: every array has the same bytes" if made.identical else ""
    code = console.DONE if made.identical else console.SOME_FAILED
    return Outcome(document, text, [*remarks, *made.differences], code)


@app.command()
def doctor(
    beamtime: Annotated[
        Path | None,
        typer.Argument(metavar="beamtime.toml", help="Look at its output folder and raw files too."),
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Run larch and FEFF, which takes longer.")] = False,
) -> Outcome:
    """Say what is installed and works, and what is in the way."""
    from beamline.doctor import examine

    findings = examine(beamtime, full)
    rows: list[list[Any]] = [["", ""], *([finding.state, str(finding)] for finding in findings)]
    broken = any(finding.state == "broken" for finding in findings)
    text = console.table(rows).partition("\n")[2]
    return Outcome({"findings": [vars(f) for f in findings]}, text, code=int(broken))


def _told(report: Any) -> Outcome:
    rows: list[list[Any]] = [["measurement", "done", "unchanged", "failed", "missing"]]
    rows += [[place, *vars(counts).values()] for place, counts in report.measurements.items()]
    lines = [console.table(rows), f"results: {report.result or 'none'}"]
    errors = [f"{failure}\n{failure.traceback}".rstrip() for failure in report.failed]
    code = console.SOME_FAILED if report.failed else console.DONE
    notices = [str(notice) for notice in (*report.changed, *report.missing)]
    return Outcome(report.to_dict(), "\n".join(lines), [*notices, *errors], code)
