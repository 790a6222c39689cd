"""mRIXS: cosmic rays in repeats of a point, by the test of the column and by that of the other exposures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.measures import Measured
from calibration.gain import Gain
from rixs import simulate
from rixs.outliers import mask_outliers
from rixs.spikes import LOSS, mask_spikes

DETECTOR = Gain(gain=simulate.GAIN, read_noise=4.0)
SCANS = 8
TESTS = {"test of the column": mask_spikes, "and of the other exposures": mask_outliers}


def repeats(_: Path) -> Iterator[Measured]:
    """Yield what is left of cosmic rays in three exposures of each point, and the light taken for them."""
    energies = np.repeat(simulate.excitation_energies(step=1.0), 3)
    for loss in (1e-5, LOSS, 1e-3):
        sums = {name: np.zeros(4) for name in TESTS}
        for seed in range(SCANS):
            clean, hit = (
                simulate.scan(seed=seed, energies=energies, spectrograph=simulate.Spectrograph(cosmics=rays))
                for rays in (0.0, 3.0)
            )
            light = clean["counts"].values.astype(float)
            rays = hit["counts"].values - light
            for name, test in TESTS.items():
                mask = test(hit, DETECTOR, loss)["counts_mask"].values != 0
                taken = test(clean, DETECTOR, loss)["counts_mask"].values != 0
                sums[name] += [rays[~mask].sum() / rays.sum(), light[mask].sum() / light.sum(),
                               light[taken].sum() / light.sum(), 1]  # fmt: skip
        for name, (left, masked, taken, count) in sums.items():
            yield Measured(
                f"cosmic rays in 3 exposures of each point at a loss of {loss:.0e}, {name}: charge left, "
                "signal masked, signal masked where there are no rays",
                f"{100 * left / count:.2f} %, {100 * masked / count:.2f} %, {100 * taken / count:.3f} %",
                "0, 0, 0",
                "charge and signal put in",
            )
