"""Where GSAS-II is, and jobs for its process.

GSAS-II is no package of a registry: it comes with an installer that brings a Python of its own, or as
sources that are compiled against one. So it is run in a process of its own, by the interpreter that has it.
`VARIABLE` may name that interpreter, or a folder: of the installer (``gsas2main``), of the sources
(``GSAS-II``), or the one the package ``GSASII`` is in. Without it the package is looked for here.

What GSAS-II reads from elsewhere is a pickle, which runs what it holds; that, too, happens in its process.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from beamline.errors import ConfigError, DataFileError, FitError

VARIABLE = "REDOXLIGHT_GSASII"
"""Environment variable that says where GSAS-II is."""

REMEDY = (
    f"install it (https://advancedphotonsource.github.io/GSAS-II-tutorials/install.html) and let {VARIABLE} "
    "name its folder or its Python"
)

_PROCESS = "gsas2_process.py"
_LAYOUTS = ("GSASII/GSASIIscriptable.py", "GSASIIscriptable.py")
"""What a folder holds: a package, or (before 2025) modules at the top level."""
_INTERPRETERS = ("bin/python", "python.exe", "Scripts/python.exe")


@dataclass(frozen=True)
class Installation:
    """A GSAS-II.

    Attributes
    ----------
    python
        Interpreter to run it with.
    folder
        Folder to look for its modules in; None where the interpreter finds them.
    """

    python: Path
    folder: Path | None

    def run(self, arguments: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
        """Run the process of `xrd.gsas2_process` in a folder.

        The program is copied there: Python looks for modules beside a program first, and finds ours.
        """
        program = shutil.copy(Path(__file__).with_name(_PROCESS), folder)
        environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
        if self.folder is not None:
            environment["PYTHONPATH"] = os.fspath(self.folder)
        return subprocess.run(  # noqa: S603 - the interpreter is the user's
            [os.fspath(self.python), program, *arguments],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )


def find() -> Installation | None:
    """Return the GSAS-II that `VARIABLE` names, else the one that can be imported here, else None.

    Raises
    ------
    ConfigError
        `VARIABLE` names something that is no GSAS-II.
    """
    stated = os.environ.get(VARIABLE)
    if not stated:
        spec = find_spec("GSASII") or find_spec("GSASIIscriptable")
        if spec is None or spec.origin is None:
            return None
        origin = Path(spec.origin)
        return Installation(
            Path(sys.executable), origin.parents[1] if spec.name == "GSASII" else origin.parent
        )
    place = Path(stated).expanduser()
    if place.is_file():
        return Installation(place, None)
    own = next((place / name for name in _INTERPRETERS if (place / name).is_file()), Path(sys.executable))
    for module in _LAYOUTS:
        for folder in (place, place / "GSAS-II", place.parent):
            if (folder / module).is_file():
                return Installation(own, folder)
    raise ConfigError(f"{VARIABLE}={stated}", "names no GSAS-II", REMEDY)


def required() -> Installation:
    """Return the GSAS-II of `find`.

    Raises
    ------
    ConfigError
        There is none.
    """
    found = find()
    if found is None:
        raise ConfigError("GSAS-II", "is not installed", f"{REMEDY}, or refine with engine native")
    return found


def version(installation: Installation, folder: Path) -> str:
    """Start GSAS-II and return its version.

    Raises
    ------
    FitError
        It does not start, or its compiled parts are missing.
    """
    done = installation.run(["--version"], folder)
    if done.returncode != 0:
        raise FitError("GSAS-II", f"does not start ({_last_line(done.stderr)})", "install it again")
    return done.stdout.strip()


def do(job: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Run a job in a folder that holds its files, and return ``result.json``.

    Raises
    ------
    ConfigError
        There is no GSAS-II.
    FitError
        GSAS-II gave up, or its process ended without a result.
    """
    installation = required()
    path = folder / "job.json"
    path.write_text(json.dumps(job), encoding="utf-8")
    done = installation.run([path.name], folder)
    try:
        result: dict[str, Any] = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        problem = f"ended without a result ({_last_line(done.stderr) or f'code {done.returncode}'})"
        raise FitError("GSAS-II", problem, "start it once by itself to see whether it works") from error
    if "error" in result:
        raise FitError("GSAS-II", str(result["error"]), "begin with values nearer to the pattern")
    return result


def read_project(path: str | os.PathLike[str], folder: Path) -> dict[str, Any]:
    """Describe a ``.gpx`` file: its phases with their cells, its histograms with their residuals.

    Raises
    ------
    ConfigError
        There is no GSAS-II.
    DataFileError
        GSAS-II cannot read the file.
    """
    if not Path(path).is_file():
        raise DataFileError(path, "is missing", "check the path")
    copy = Path(shutil.copy(path, folder))  # GSAS-II writes beside what it reads
    done = required().run(["--read", copy.name], folder)
    if done.returncode != 0:
        raise DataFileError(path, f"cannot be read by GSAS-II ({_last_line(done.stderr)})")
    described: dict[str, Any] = json.loads(done.stdout)
    return described


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""
