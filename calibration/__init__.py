"""From detector coordinates to physics: every calibration is a record that can be saved and cited.

Calibrations take reduced input (an image, spectra, an edge), so that they need no technique.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from beamline._lazy import attach

__getattr__, __dir__ = attach(
    __name__,
    {
        "clip": "calibration.clip",
        "curvature": "calibration.curvature",
        "dark": "calibration.dark",
        "emission": "calibration.emission",
        "excitation": "calibration.excitation",
        "figures": "calibration.figures",
        "gain": "calibration.gain",
        "geometry": "calibration.geometry",
        "instrument": "calibration.instrument",
        "mono": "calibration.mono",
        "records": "calibration.records",
    },
)

if TYPE_CHECKING:
    from calibration import clip as clip
    from calibration import curvature as curvature
    from calibration import dark as dark
    from calibration import emission as emission
    from calibration import excitation as excitation
    from calibration import figures as figures
    from calibration import gain as gain
    from calibration import geometry as geometry
    from calibration import instrument as instrument
    from calibration import mono as mono
    from calibration import records as records
