"""What ``[xrd.<name>.refine]`` in ``beamtime.toml`` may say, and the model made of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from beamline.config import InputFile, Table
from beamline.errors import CalibrationError, ConfigError, DataFileError, RedoxlightError
from beamline.recipe import Step

if TYPE_CHECKING:
    import xarray as xr

    from xrd.models import Model

Range = tuple[float, float]

WAVELENGTHS_AGREE = 1e-3
"""Relative difference up to which two wavelengths are of one measurement."""


class RefineTable(Table):
    """Rietveld refinement of the series."""

    phases: list[InputFile] = Field(
        min_length=1,
        description="Structures (CIF), in the order of the results; a phase has its file's name.",
    )
    instrument: InputFile = Field(
        description="Peak profile: an .instprm (GSAS-II), a .prm (GSAS) or a saved record of "
        "`redoxlight calibrate instrument`."
    )
    le_bail: list[str] = Field(
        default=[],
        description="Phases whose intensities are taken from the pattern (cell parts, textured foils).",
    )
    limits: Range | None = Field(default=None, description="First and last 2θ to fit, deg.")
    excluded: list[Range] = Field(default=[], description="Ranges of 2θ left out of the fit, deg.")
    background: int = Field(default=6, ge=0, le=50, description="Number of Chebyshev terms.")
    free: list[str] = Field(
        default=[],
        description="What is refined beside cell, scale, size and strain of each phase and the background: "
        'names, globs or groups ("zero", "layered/uiso", "*/strain").',
    )
    fix: list[str] = Field(default=[], description="What is held instead.")
    start: dict[str, float] = Field(default={}, description='Values to begin with ("layered/size" = 0.2).')
    engine: Literal["native", "gsas2"] = Field(
        default="native", description="Who refines; gsas2 needs GSAS-II."
    )
    curves: bool = Field(default=True, description="Whether results hold the calculated patterns.")

    @model_validator(mode="after")
    def _rises(self) -> RefineTable:
        for low, high in (*self.excluded, *([self.limits] if self.limits else [])):
            if not 0 <= low < high <= 180:
                raise ValueError(f"has a range from {low:g} to {high:g}; it rises, within 0 to 180 deg")
        return self


def refine_step(table: RefineTable, wavelength: float | None) -> Step:
    """Return the step that refines the patterns of a measurement.

    Parameters
    ----------
    table
        The table of the measurement.
    wavelength
        That of its geometry, angstrom, where it is known.

    Raises
    ------
    ConfigError
        A file cannot be used, a name does not exist, or the instrument is of another wavelength.
    """
    try:
        model = model_of(**table.model_dump(exclude={"engine", "curves"}))
    except ConfigError:
        raise
    except RedoxlightError as error:
        raise ConfigError(f"refine: {error.subject}", error.problem, error.remedy) from error
    of_instrument = model.instrument.wavelength
    if wavelength is not None and abs(wavelength / of_instrument - 1) > WAVELENGTHS_AGREE:
        raise ConfigError(
            f"refine.instrument {table.instrument.name}",
            f"is of {of_instrument:g} angstrom, the geometry of {wavelength:g} angstrom",
            "give the instrument of this measurement",
        )
    return Step(with_refinement, {"model": model, "engine": table.engine, "curves": table.curves})


def model_of(
    phases: Sequence[Path],
    instrument: Path,
    le_bail: Sequence[str] = (),
    limits: Range | None = None,
    excluded: Sequence[Range] = (),
    background: int = 6,
    free: Sequence[str] = (),
    fix: Sequence[str] = (),
    start: dict[str, float] | None = None,
) -> Model:
    """Return a model from files and names, as commands and configurations state them (see `RefineTable`).

    Raises
    ------
    CalibrationError, DataFileError
        A file cannot be read as what it should be.
    ConfigError
        Something in it does not exist or contradicts the rest.
    """
    from xrd.models import Model
    from xrd.phases import Phase

    for path in phases:
        if not Path(path).is_file():
            raise DataFileError(path, "is missing", "give the CIF of a phase")
    unknown = [name for name in le_bail if name not in [Path(path).stem for path in phases]]
    if unknown:
        names = ", ".join(Path(path).stem for path in phases)
        raise ConfigError(f"le_bail {', '.join(unknown)}", "is no phase", f"there are {names}")
    found = [
        Phase.from_cif(path, **({"intensities": "lebail"} if Path(path).stem in le_bail else {}))
        for path in phases
    ]
    model = Model(found, read_instrument(instrument), background, limits, excluded)
    return model.start(start or {}).free(*free).fix(*fix)


def read_instrument(path: Path) -> Any:
    """Return the instrument of an ``.instprm``, a ``.prm`` or a saved record.

    Raises
    ------
    CalibrationError
        The file is none of them.
    """
    from calibration.instrument import Instrument
    from calibration.records import load_record

    if Path(path).suffix != ".json":
        return Instrument.from_instprm(path)
    record = load_record(path)
    if not isinstance(record, Instrument):
        raise CalibrationError(path, f"is a record of {type(record).__name__}", "give that of an instrument")
    return record


def with_refinement(patterns: xr.Dataset, model: Model, engine: str, curves: bool) -> xr.DataTree:
    """Return patterns and what was refined from them as the leaves ``patterns`` and ``refinement``.

    Parameters
    ----------
    patterns
        Kind ``xrd.patterns``, in the order of the series.
    model, engine, curves
        Of `xrd.refine_series`.
    """
    import xarray as xr

    from xrd.refinement import refine_series

    found = refine_series(patterns, model, engine=engine, curves=curves)
    return xr.DataTree.from_dict({"patterns": patterns, "refinement": found})
