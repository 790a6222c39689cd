"""O K-edge mRIXS: from the images of a scan to maps, cuts and their errors.

::

    scan = beamline.read("CCD Scan 17174")
    rmap = rixs.reduce(scan)                    # spikes, curvature, spectra, I0, axes
    cut = rixs.window(rmap, 530.6, 531.8)       # the window of the oxidised oxygen
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from beamline._lazy import attach

__getattr__, __dir__ = attach(
    __name__,
    {
        "subtract_dark": "rixs.darks:subtract_dark",
        "mask_spikes": "rixs.spikes:mask_spikes",
        "straighten": "rixs.straightening:straighten",
        "extract": "rixs.straightening:extract",
        "extend": "rixs.straightening:extend",
        "count_photons": "rixs.photons:count_photons",
        "subtract_background": "rixs.background:subtract_background",
        "correct_energies": "rixs.energies:correct_energies",
        "normalize": "rixs.normalization:normalize",
        "make_map": "rixs.mapping:make_map",
        "reduce": "rixs.chain:reduce",
        "window": "rixs.cuts:window",
        "simulate": "rixs.simulate",
        "figures": "rixs.figures",
    },
)

if TYPE_CHECKING:
    from rixs import figures as figures
    from rixs import simulate as simulate
    from rixs.background import subtract_background as subtract_background
    from rixs.chain import reduce as reduce
    from rixs.cuts import window as window
    from rixs.darks import subtract_dark as subtract_dark
    from rixs.energies import correct_energies as correct_energies
    from rixs.mapping import make_map as make_map
    from rixs.normalization import normalize as normalize
    from rixs.photons import count_photons as count_photons
    from rixs.spikes import mask_spikes as mask_spikes
    from rixs.straightening import extend as extend
    from rixs.straightening import extract as extract
    from rixs.straightening import straighten as straighten
