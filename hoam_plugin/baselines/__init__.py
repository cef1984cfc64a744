"""Other methods of learned population dynamics, to compare with."""

from hoam_plugin.baselines.fitting import fit_baseline
from hoam_plugin.baselines.methods import CFM, NCSM
from hoam_plugin.baselines.snapshots import SnapshotStepper

__all__ = [
    "CFM",
    "NCSM",
    "SnapshotStepper",
    "fit_baseline",
]


def __dir__() -> list[str]:
    return __all__
