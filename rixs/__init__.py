"""O K-edge mRIXS: from the images of a scan to maps, cuts and their errors.

::

    scan = beamline.read("CCD Scan 17174")
    rmap = rixs.reduce(scan)                    # spikes, curvature, spectra, I0, axes
    cut = rixs.window(rmap, 530.6, 531.8)       # the window of the oxidised oxygen
    table = rixs.compare({"pristine": [m0], "4.8 V": [m1, m2]}, feature="oxidised_oxygen")
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from beamline._lazy import attach

__getattr__, __dir__ = attach(
    __name__,
    {
        "subtract_dark": "rixs.darks:subtract_dark",
        "mask_spikes": "rixs.spikes:mask_spikes",
        "mask_outliers": "rixs.outliers:mask_outliers",
        "straighten": "rixs.straightening:straighten",
        "extract": "rixs.straightening:extract",
        "extend": "rixs.straightening:extend",
        "count_photons": "rixs.photons:count_photons",
        "subtract_background": "rixs.background:subtract_background",
        "subtract_pre_edge": "rixs.pre_edge:subtract_pre_edge",
        "correct_energies": "rixs.energies:correct_energies",
        "normalize": "rixs.normalization:normalize",
        "make_map": "rixs.mapping:make_map",
        "reduce": "rixs.chain:reduce",
        "window": "rixs.cuts:window",
        "emission_window": "rixs.yields:emission_window",
        "super_pfy": "rixs.yields:super_pfy",
        "total_yield": "rixs.yields:total_yield",
        "counter_yield": "rixs.yields:counter_yield",
        "inverse_pfy": "rixs.yields:inverse_pfy",
        "loss_window": "rixs.loss:loss_window",
        "loss_map": "rixs.loss:loss_map",
        "oxidised_oxygen": "rixs.features:oxidised_oxygen",
        "low_loss": "rixs.features:low_loss",
        "self_absorption": "rixs.absorption:self_absorption",
        "compare": "rixs.comparison:compare",
        "simulate": "rixs.simulate",
        "figures": "rixs.figures",
    },
)

if TYPE_CHECKING:
    from rixs import figures as figures
    from rixs import simulate as simulate
    from rixs.absorption import self_absorption as self_absorption
    from rixs.background import subtract_background as subtract_background
    from rixs.chain import reduce as reduce
    from rixs.comparison import compare as compare
    from rixs.cuts import window as window
    from rixs.darks import subtract_dark as subtract_dark
    from rixs.energies import correct_energies as correct_energies
    from rixs.features import low_loss as low_loss
    from rixs.features import oxidised_oxygen as oxidised_oxygen
    from rixs.loss import loss_map as loss_map
    from rixs.loss import loss_window as loss_window
    from rixs.mapping import make_map as make_map
    from rixs.normalization import normalize as normalize
    from rixs.outliers import mask_outliers as mask_outliers
    from rixs.photons import count_photons as count_photons
    from rixs.pre_edge import subtract_pre_edge as subtract_pre_edge
    from rixs.spikes import mask_spikes as mask_spikes
    from rixs.straightening import extend as extend
    from rixs.straightening import extract as extract
    from rixs.straightening import straighten as straighten
    from rixs.yields import counter_yield as counter_yield
    from rixs.yields import emission_window as emission_window
    from rixs.yields import inverse_pfy as inverse_pfy
    from rixs.yields import super_pfy as super_pfy
    from rixs.yields import total_yield as total_yield
