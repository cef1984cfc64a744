"""Pictures of ensembles and trainings. They use matplotlib's objects and no global state."""

from hoam_plugin.plots.animations import animation
from hoam_plugin.plots.clocks import clock
from hoam_plugin.plots.densities import phase_space
from hoam_plugin.plots.energy import energy_curves
from hoam_plugin.plots.histories import loss_history
from hoam_plugin.plots.pair_distributions import pair_distribution
from hoam_plugin.plots.parts import new_figure, save_figure

__all__ = [
    "animation",
    "clock",
    "energy_curves",
    "loss_history",
    "new_figure",
    "pair_distribution",
    "phase_space",
    "save_figure",
]


def __dir__() -> list[str]:
    return __all__
