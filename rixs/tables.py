"""A comparison of states as a table of a paper: Markdown, LaTeX, CSV."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from beamline.atomic import write_atomic
from beamline.errors import ConfigError

if TYPE_CHECKING:
    import xarray as xr

Rows = list[list[str]]


def rows(table: xr.Dataset) -> Rows:
    """Return titles and one row per state, as text; errors have two digits, values as many as they.

    Parameters
    ----------
    table
        Kind ``rixs.comparison``.
    """
    units = str(table["area"].attrs["units"])
    reference = str(table.attrs["reference"])
    found: Rows = [
        [
            "state",
            "voltage (V)",
            "cycle",
            "samples",
            f"area ({units})",
            f"change from {reference} ({units})",
            "significance (σ)",
        ]
    ]
    for i, state in enumerate(table["state"].values):
        at = table.isel(state=i)
        found.append(
            [
                str(state),
                _number(float(at["voltage"])),
                _number(float(at["cycle"])),
                str(int(at["samples"])),
                with_error(float(at["area"]), float(at["area_errors"])),
                with_error(float(at["change"]), float(at["change_errors"])),
                "" if np.isnan(at["significance"]) else f"{float(at['significance']):.1f}",
            ]
        )
    return found


def with_error(value: float, error: float) -> str:
    """Return "1240 ± 85": the error with two significant digits, the value with as many decimals."""
    if not (math.isfinite(value) and math.isfinite(error) and error > 0):
        return "" if not math.isfinite(value) else f"{value:.4g}"
    # Twice: 0.999 has its first two digits one place further left once it is rounded to 1.0.
    decimals = 1 - math.floor(math.log10(error))
    decimals = 1 - math.floor(math.log10(round(error, decimals)))
    rounded = round(error, decimals)
    return f"{round(value, decimals):.{max(decimals, 0)}f} ± {rounded:.{max(decimals, 0)}f}"


def markdown(table: xr.Dataset) -> str:
    """Return the table in Markdown, with the findings below."""
    titles, *lines = rows(table)
    text = [f"| {' | '.join(titles)} |", f"|{'---|' * len(titles)}"]
    text += [f"| {' | '.join(line)} |" for line in lines]
    return "\n".join([*text, "", *(f"- {sentence}" for sentence in _findings(table))])


def latex(table: xr.Dataset) -> str:
    """Return the table in LaTeX (booktabs), with the findings as comments."""
    titles, *lines = rows(table)
    body = [" & ".join(map(_escaped, line)) + r" \\" for line in lines]
    return "\n".join(
        [
            *(f"% {sentence}" for sentence in _findings(table)),
            r"\begin{tabular}{" + "l" + "r" * (len(titles) - 1) + "}",
            r"\toprule",
            " & ".join(map(_escaped, titles)) + r" \\",
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
        ]
    )


def csv(table: xr.Dataset) -> str:
    """Return the table as comma-separated text, with the findings as comments."""
    quoted = [",".join('"' + cell.replace('"', '""') + '"' for cell in line) for line in rows(table)]
    return "\n".join([*(f"# {sentence}" for sentence in _findings(table)), *quoted])


FORMATS = {".md": markdown, ".tex": latex, ".csv": csv}
"""How a table is written, by the suffix of its file."""


def write(table: xr.Dataset, path: Path) -> Path:
    """Write the table to a file whose suffix says how.

    Raises
    ------
    ConfigError
        The suffix is not one of `FORMATS`.
    DataFileError
        The file cannot be written.
    """
    if path.suffix not in FORMATS:
        raise ConfigError(path, "has no suffix of a table", f"one of {', '.join(FORMATS)}")
    write_atomic(path, (FORMATS[path.suffix](table) + "\n").encode())
    return path


def _findings(table: xr.Dataset) -> list[str]:
    from rixs.comparison import findings

    return [*findings(table), f"standard deviation between fresh samples: {table.attrs['between_samples']}"]


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:g}"


def _escaped(text: str) -> str:
    """Return text for LaTeX."""
    replaced = {
        "±": r"$\pm$",
        "σ": r"$\sigma$",
        "%": r"\%",
        "_": r"\_",
        "&": r"\&",
        "#": r"\#",
        "*": r"$\cdot$",
    }
    return "".join(replaced.get(character, character) for character in text)
