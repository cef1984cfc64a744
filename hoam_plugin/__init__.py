"""Learned population dynamics in the place of a simulator's time stepper; see the README.

Public names are listed here and load on first use, so that `import hoam_plugin` stays light.
"""

import importlib
from typing import TYPE_CHECKING

from hoam_plugin._internal import provided as _provided
from hoam_plugin._internal import xarray_arrival as _xarray_arrival

if TYPE_CHECKING:
    __version__: str
    from hoam_plugin import diagnostics as diagnostics
    from hoam_plugin import dispersion as dispersion
    from hoam_plugin import ensemble as ensemble
    from hoam_plugin import plots as plots
    from hoam_plugin import quadrature as quadrature
    from hoam_plugin import recipes as recipes
    from hoam_plugin import trust as trust
    from hoam_plugin.compiled_code import keep_compiled_code as keep_compiled_code
    from hoam_plugin.losses import DICE as DICE
    from hoam_plugin.losses import ActionMatching as ActionMatching
    from hoam_plugin.losses import MomentMatching as MomentMatching
    from hoam_plugin.losses import TrajectoryMatching as TrajectoryMatching
    from hoam_plugin.losses import VelocityMatching as VelocityMatching
    from hoam_plugin.potentials import MLP as MLP
    from hoam_plugin.potentials import CoLoRA as CoLoRA
    from hoam_plugin.potentials import FiLM as FiLM
    from hoam_plugin.potentials import Neighbours as Neighbours
    from hoam_plugin.potentials import ParticlePotential as ParticlePotential
    from hoam_plugin.potentials import SplinePotential as SplinePotential
    from hoam_plugin.potentials import VectorField as VectorField
    from hoam_plugin.registry import register as register
    from hoam_plugin.registry import stepper as stepper
    from hoam_plugin.registry import use_surrogate as use_surrogate
    from hoam_plugin.scores import compare as compare
    from hoam_plugin.shipped import pretrained as pretrained
    from hoam_plugin.simulation import simulate as simulate
    from hoam_plugin.steppers import Variable as Variable
    from hoam_plugin.surrogates import Surrogate as Surrogate
    from hoam_plugin.surrogates import load as load
    from hoam_plugin.training import Training as Training
    from hoam_plugin.training import TrainingDivergedError as TrainingDivergedError
    from hoam_plugin.training import TrainingInterrupted as TrainingInterrupted
    from hoam_plugin.training import fit as fit
    from hoam_plugin.trust import cross_validate as cross_validate
    from hoam_plugin.trust import propose as propose

# Where each name is: in a room of the package, or a module of it itself.
_HOMES = {
    "ActionMatching": "losses",
    "CoLoRA": "potentials",
    "Neighbours": "potentials",
    "ParticlePotential": "potentials",
    "SplinePotential": "potentials",
    "DICE": "losses",
    "FiLM": "potentials",
    "MLP": "potentials",
    "MomentMatching": "losses",
    "Surrogate": "surrogates",
    "Training": "training",
    "TrainingDivergedError": "training",
    "TrainingInterrupted": "training",
    "TrajectoryMatching": "losses",
    "Variable": "steppers",
    "VectorField": "potentials",
    "VelocityMatching": "losses",
    "compare": "scores",
    "cross_validate": "trust",
    "diagnostics": "",
    "dispersion": "",
    "ensemble": "",
    "fit": "training",
    "keep_compiled_code": "compiled_code",
    "load": "surrogates",
    "plots": "",
    "pretrained": "shipped",
    "propose": "trust",
    "quadrature": "",
    "recipes": "",
    "register": "registry",
    "simulate": "simulation",
    "stepper": "registry",
    "trust": "",
    "use_surrogate": "registry",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> object:
    if name == "__version__":
        # Loaded on use as well: it takes longer than all else here.
        return importlib.import_module("importlib.metadata").version("hoam-plugin")
    if name not in _HOMES:
        raise AttributeError(f"module 'hoam_plugin' has no attribute {name!r}")
    home = _HOMES[name]
    if not home:
        return importlib.import_module(f"hoam_plugin.{name}")
    value = getattr(importlib.import_module(f"hoam_plugin.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__


# `Surrogate.report` calls `simulate` and `compare`, and stands below them.
_provided.provide("report", "hoam_plugin.reports")
# It registers itself.
_xarray_arrival.when_imported(lambda: importlib.import_module("hoam_plugin.accessor"))
