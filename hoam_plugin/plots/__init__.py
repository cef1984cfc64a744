"""Pictures of ensembles, trainings and scores."""

from hoam_plugin.plots.animations import animation
from hoam_plugin.plots.pictures import energy_curves, loss_history, phase_space, save_figure

__all__ = [
    "animation",
    "energy_curves",
    "loss_history",
    "phase_space",
    "save_figure",
]
