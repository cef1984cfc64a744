"""Other methods of learned population dynamics, to compare with."""

from hoam_plugin.baselines.fitting import CFM, NCSM, SnapshotStepper, fit_baseline

__all__ = [
    "CFM",
    "NCSM",
    "SnapshotStepper",
    "fit_baseline",
]
