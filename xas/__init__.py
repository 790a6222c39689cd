"""X-ray absorption: alignment, normalisation, edge positions, EXAFS and its fit with FEFF paths."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beamline._lazy import attach

__getattr__, __dir__ = attach(
    __name__,
    {
        "align": "xas.alignment:align",
        "deglitch": "xas.glitches:deglitch",
        "dose_test": "xas.doses:dose_test",
        "merge": "xas.merging:merge",
        "rebin": "xas.rebinning:rebin",
        "sum_detectors": "xas.detectors:sum_detectors",
        "normalize": "xas.normalization:normalize",
        "edge": "xas.edges:edge",
        "exafs": "xas.background:exafs",
        "fourier": "xas.transforms:fourier",
        "back_transform": "xas.transforms:back_transform",
        "valence": "xas.valences:valence",
        "feff": "xas.scattering:feff",
        "Paths": "xas.scattering:Paths",
        "fit": "xas.shells:fit",
        "simulate": "xas.simulate",
        "figures": "xas.figures",
    },
)

__all__ = [
    "Paths",
    "align",
    "back_transform",
    "deglitch",
    "dose_test",
    "edge",
    "exafs",
    "feff",
    "figures",
    "fit",
    "fourier",
    "merge",
    "normalize",
    "rebin",
    "simulate",
    "sum_detectors",
    "valence",
]

if TYPE_CHECKING:
    from xas import figures as figures
    from xas import simulate as simulate
    from xas.alignment import align as align
    from xas.background import exafs as exafs
    from xas.detectors import sum_detectors as sum_detectors
    from xas.doses import dose_test as dose_test
    from xas.edges import edge as edge
    from xas.glitches import deglitch as deglitch
    from xas.merging import merge as merge
    from xas.normalization import normalize as normalize
    from xas.rebinning import rebin as rebin
    from xas.scattering import Paths as Paths
    from xas.scattering import feff as feff
    from xas.shells import fit as fit
    from xas.transforms import back_transform as back_transform
    from xas.transforms import fourier as fourier
    from xas.valences import valence as valence
