"""What ``[xas.<name>]`` in ``beamtime.toml`` may say, and the recipe made of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from beamline.config import InputFile, Table, find_files
from beamline.recipe import Recipe, Step
from xas.preparation import TEMPLATE as PREPARATION
from xas.preparation import PreparedMeasurement

if TYPE_CHECKING:
    import xarray as xr

TEMPLATE = """\
[xas.sample]                      # one table for the scans of one edge
files = ["raw/sample_*.xdi"]      # XDI, Athena projects, columns of a beamline
reference = "mu_ref"              # align on the foil; "mu" on the sample itself, "none" not at all
# element = "Ni"                  # to be checked against the energy
# columns = ["energy", "i0", "it", "ir"]   # where the header does not name them
# convention = "larch"            # or "athena", "mback"
# elements = ["Ni", "Co", "Mn"]   # of the sample: their edges end what is used
# edge_method = "half_height"     # or "integral", "centroid", "inflection"
# standards = { NiO = 2.0, LiNiO2 = 3.0 }  # labels of scans of known valence: that of the others
kmin = 3.0                        # of the Fourier transform, 1/angstrom
kmax = 12.0
# exafs = false                   # XANES only: scans that end before kmax
{preparation}
# [xas.sample.fit]                # FEFF fit of the first shells
# cif = "structure.cif"
# absorber = "Ni"
# rmin = 1.2                      # angstrom
# rmax = 3.5
# refine_background = false       # one pass, as Artemis has it
""".replace("{preparation}", PREPARATION)


class FitTable(Table):
    """Fit of the EXAFS with FEFF paths."""

    cif: InputFile = Field(description="Structure the paths are calculated from.")
    absorber: str = Field(description="Element that absorbs.")
    site: str | None = Field(
        default=None, description="Label of its site in the CIF, where the element is on several."
    )
    rmin: float = Field(default=1.2, gt=0, description="Begin of the fit in R, angstrom.")
    rmax: float = Field(default=3.5, gt=0, description="End of the fit in R, angstrom.")
    ignore: list[str] = Field(default=[], description='Shells to leave out ("O2").')
    refine_background: bool = Field(
        default=True,
        description="Whether the background is removed once more, the fit as its standard, and fitted again.",
    )


class XasMeasurement(PreparedMeasurement):
    """Scans of one edge."""

    element: str | None = Field(default=None, description="Element, checked against the energy.")
    edge: str | None = Field(default=None, description="Edge (K, L3), checked against the energy.")
    mode: Literal["transmission", "fluorescence"] | None = Field(
        default=None,
        description="Which μ to take where a file holds both; by default the first with an edge.",
    )
    columns: list[str] | None = Field(
        default=None, description="What the columns of a file are, where its header does not say."
    )
    groups: list[str] | None = Field(default=None, description="Groups of an Athena project to read.")
    convention: Literal["larch", "athena", "mback"] = Field(
        default="larch", description="How ranges are chosen that are not given."
    )
    elements: list[str] | None = Field(
        default=None, description="What the sample is made of: the next edge of these ends what is used."
    )
    edge_method: Literal["half_height", "integral", "centroid", "inflection"] = Field(
        default="half_height", description="How the position of the edge is measured."
    )
    standards: dict[str, float] | None = Field(
        default=None,
        description="Valences of scans of these labels; a line through them gives those of the others.",
    )
    e0: float | None = Field(default=None, gt=0, description="Edge energy, eV; by default the steepest rise.")
    pre: tuple[float, float] | None = Field(default=None, description="Pre-edge range, eV relative to E0.")
    post: tuple[float, float] | None = Field(default=None, description="Post-edge range, eV relative to E0.")
    degree: int | None = Field(default=None, ge=0, le=3, description="Degree of the post-edge polynomial.")
    exafs: bool = Field(default=True, description="Whether to go on to χ(k) and χ(R).")
    rbkg: float | None = Field(
        default=None,
        ge=0.5,
        le=3.0,
        description="χ(R) below this is background, angstrom; by default 1.0, or what Athena stored.",
    )
    kmin: float = Field(default=3.0, ge=0, description="Begin of the transform, 1/angstrom.")
    kmax: float = Field(default=12.0, gt=0, description="End of the transform, 1/angstrom.")
    kweight: int = Field(default=2, ge=0, le=3, description="Power of k in the transform.")
    window: Literal["hanning", "parzen", "welch", "kaiser", "sine", "gaussian"] = Field(
        default="hanning", description="Window of the transform."
    )
    dk: float = Field(default=1.0, gt=0, description="Width of its rise, 1/angstrom.")
    fit: FitTable | None = Field(default=None, description="Fit with FEFF paths.")

    @model_validator(mode="after")
    def _fits_together(self) -> XasMeasurement:
        if self.fit and not self.exafs:
            raise ValueError("has a fit but exafs = false; leave one of them out")
        if self.kmin >= self.kmax:
            raise ValueError(f"has kmin = {self.kmin} and kmax = {self.kmax}; kmin must be smaller")
        return self


def recipe(name: str, measurement: XasMeasurement, folder: Path) -> Recipe:
    """Return the recipe of a measurement: read, align, normalise, measure the edge, valence; then EXAFS, fit.

    Raises
    ------
    ConfigError
        `files` matches nothing.
    """
    from xas.edges import edge
    from xas.normalization import normalize
    from xas.valences import valence

    options = ("element", "edge", "mode", "columns", "d_spacing", "groups")
    read = {key: getattr(measurement, key) for key in options if getattr(measurement, key) is not None}
    norm = {
        key: getattr(measurement, key) for key in ("convention", "e0", "pre", "post", "degree", "elements")
    }
    then = [
        *measurement.steps(),
        Step(normalize, norm),
        Step(edge, {"method": measurement.edge_method}),
    ]
    if measurement.standards is not None:
        known = measurement.standards
        then.append(Step(valence, {"standards": list(known), "valences": list(known.values())}))
    if measurement.exafs:
        keys = ("rbkg", "kmin", "kmax", "kweight", "window", "dk")
        parameters: dict[str, Any] = {key: getattr(measurement, key) for key in keys}
        if measurement.fit:
            parameters["shells"] = measurement.fit.model_dump()
        then.append(Step(with_exafs, parameters))
    return Recipe(
        name=name,
        files=tuple(find_files(measurement.files, folder)),
        read={"kind": "xas.scans", **read},
        gather=collect,
        then=tuple(then),
    )


def collect(parts: Sequence[xr.Dataset | xr.DataTree], names: Sequence[str]) -> xr.DataTree:
    """Put the scans of all files into one tree, each with its own axis."""
    import xarray as xr

    from beamline.readers.absorption import leaf_names

    scans: list[xr.Dataset] = []
    for part in parts:
        scans += [leaf.to_dataset() for leaf in part.leaves] if isinstance(part, xr.DataTree) else [part]
    labels = leaf_names([str(ds.attrs.get("label", name)) for ds, name in _named(scans, names)])
    return xr.DataTree.from_dict(dict(zip(labels, scans, strict=True)))


def with_exafs(
    scans: xr.Dataset,
    rbkg: float | None,
    kmin: float,
    kmax: float,
    kweight: int,
    window: str,
    dk: float,
    shells: Mapping[str, Any] | None = None,
) -> xr.DataTree:
    """Return normalised scans and their EXAFS as the leaves ``scans`` and ``exafs``.

    Parameters
    ----------
    scans
        Normalised scans.
    rbkg, kmin, kmax, kweight, window, dk
        Of `xas.exafs` and `xas.fourier`.
    shells
        Of `xas.feff` and `xas.fit` (keys cif, absorber, site, rmin, rmax, ignore), and refine_background;
        None fits nothing.
    """
    import xarray as xr

    from xas.background import exafs
    from xas.normalization import normalization_of
    from xas.transforms import fourier

    # Athena keeps the weight of the background apart from that of the transform
    weight = None if normalization_of(scans)["convention"] == "athena" else kweight
    chi = exafs(scans, rbkg=rbkg, kweight=weight)
    chi = fourier(chi, kmin, kmax, kweight, window, dk)
    if shells is not None:
        from xas.scattering import feff
        from xas.shells import fit

        paths = feff(shells["cif"], shells["absorber"], site=shells["site"])
        limits = shells["rmin"], shells["rmax"], shells["ignore"]
        chi = fit(chi, paths, *limits)
        if shells["refine_background"]:  # it leaves the shells found what they have below rbkg
            chi = exafs(scans, rbkg=rbkg, kweight=weight, standard=chi)
            chi = fit(fourier(chi, kmin, kmax, kweight, window, dk), paths, *limits)
    return xr.DataTree.from_dict({"scans": scans, "exafs": chi})


def _named(scans: Sequence[xr.Dataset], names: Sequence[str]) -> list[tuple[xr.Dataset, str]]:
    """Pair scans with names of files where there are as many; a scan of many in a file has its own label."""
    fallback = list(names) if len(names) == len(scans) else [f"scan_{i}" for i in range(len(scans))]
    return list(zip(scans, fallback, strict=True))
