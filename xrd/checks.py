"""Whether the libraries diffraction stands on work here, for ``redoxlight doctor``."""

from __future__ import annotations

from importlib.util import find_spec

from beamline.doctor import Finding


def pyfai() -> Finding:
    """Integrate a small frame of one value: every bin must have it."""
    import numpy as np
    from pyFAI.integrator.azimuthal import AzimuthalIntegrator

    integrator = AzimuthalIntegrator(dist=0.1, poni1=0.002, poni2=0.002, pixel1=1e-4, pixel2=1e-4)
    result = integrator.integrate1d(
        np.full((40, 40), 7.0), 10, unit="2th_deg", method=("no", "histogram", "cython"),
        correctSolidAngle=False,
    )  # fmt: skip
    if not np.allclose(result.intensity, 7.0):
        return Finding("pyFAI", "broken", "integrates a flat frame wrongly", "pip install -U pyFAI")
    return Finding("pyFAI", "ok", "integrates")


def gsas() -> Finding:
    """Look for GSAS-II, which only some refinements need."""
    if find_spec("GSASII") is None and find_spec("GSASIIscriptable") is None:
        return Finding("GSAS-II", "missing", "is not installed; our own refinements do without it")
    return Finding("GSAS-II", "ok", "is importable")
