"""`fit_baseline`: train one of the generative baselines of arXiv:2410.12000 on an ensemble."""

from __future__ import annotations

import dataclasses
import json

import jax
import numpy as np
import xarray as xr

from hoam_plugin import ensembles
from hoam_plugin._internal.checks import of_type
from hoam_plugin._types import Key
from hoam_plugin.baselines.methods import CFM, NCSM, Method
from hoam_plugin.baselines.snapshots import SnapshotStepper, starts
from hoam_plugin.baselines.training import Task, samples_of, train
from hoam_plugin.dynamics import Normalisation, normalisation_of
from hoam_plugin.potentials import Embedding, FreeField, VectorField, description
from hoam_plugin.steppers import Stepper, rebuild_stepper, require_representable
from hoam_plugin.surrogates import Provenance, TrainedRange, required_stepper
from hoam_plugin.training import Training


def fit_baseline(
    ensemble: xr.Dataset,
    method: Method,
    *,
    key: Key,
    network: VectorField | None = None,
    training: Training | None = None,
    replaces: Stepper | None = None,
    progress: bool = True,
) -> SnapshotStepper:
    """Train one of the generative baselines of arXiv:2410.12000 on an ensemble.

    Every iteration draws examples uniformly over runs, saved times and samples.

    Args:
        ensemble: the training runs; the first saved time is the initial population.
        method: `CFM()` or `NCSM()`.
        key: JAX random key; the same key gives the same weights.
        network: `VectorField()` by default.
        training: `Training()` by default; of its settings, iterations, the optimiser with its learning rate and
            warm-up, average, block and n_samples (examples per iteration; None takes 4096) have a meaning here.
        replaces: the stepper that gives the initial population; by default rebuilt from the ensemble's attributes.
        progress: show a progress bar with the loss.

    Returns:
        A stepper for `simulate`; its `history` holds the loss over the iterations.

    Raises:
        TypeError: float64 samples without `jax_enable_x64`, or an option of the wrong type.
        ValueError: not a valid ensemble, fewer than two times, a variable without spread, a conservative network, or no
            stepper that has the variables of the ensemble and starts at its first saved time.
        TrainingDivergedError: a non-finite loss.

    Example:
        >>> from hoam_plugin import baselines
        >>> training = hoam.Training(iterations=2, n_samples=16)
        >>> flow = baselines.fit_baseline(truth, baselines.CFM(), key=key, training=training, progress=False)
        >>> type(flow).__name__, flow.parameters
        ('SnapshotStepper', ('mu',))
    """
    network, training = VectorField() if network is None else network, Training() if training is None else training
    of_type("method", method, (CFM, NCSM))
    of_type("network", network, VectorField)
    of_type("training", training, Training)
    if network.conservative:
        raise ValueError("network=VectorField(conservative=True) is a force; a baseline takes conservative=False")
    if network.unseen:
        raise ValueError(
            f"network=VectorField(unseen={network.unseen!r}): a baseline sees all coordinates; leave it out"
        )
    ds = _checked(ensemble)
    variables, norm = ensembles.variables(ds), normalisation_of(ds)
    replaced = _required_start(ds, replaces, norm)
    task = Task(FreeField(network, len(norm.periods)), Embedding(norm.periods, network.harmonics), method, training)
    weights, losses = train(task, samples_of(ds, norm), key, progress=progress)
    configuration = {
        "method": description(method),
        "network": description(network),
        "training": dataclasses.asdict(training),
        "seed": np.asarray(jax.random.key_data(key)).tolist(),
    }
    curve = ("iteration", losses, {"units": "1", "long_name": "training loss"})
    history = xr.Dataset({"loss": curve}, {"iteration": np.arange(len(losses))})
    ranges = tuple((name, float(c.min()), float(c.max())) for name, c in ensembles.parameters(ds).items())
    return SnapshotStepper(
        weights=weights,
        normalisation=norm,
        replaces=replaced,
        method=method,
        network=network,
        variables=variables,
        trained=TrainedRange(ranges, norm.horizon),
        provenance=Provenance(json.dumps(configuration), history),
    )


def _checked(ensemble: xr.Dataset) -> xr.Dataset:
    """The ensemble, if a baseline can be trained on it."""
    ds = ensembles.validate(ensemble)
    for name in ensembles.variable_names(ds):
        require_representable(f"variable {name!r}", ds[name])
    if ds.sizes["time"] < 2:
        raise ValueError("the ensemble has 1 saved time; a baseline needs the initial population and a later one")
    return ds


def _required_start(ds: xr.Dataset, replaces: Stepper | None, norm: Normalisation) -> Stepper:
    """The stepper that draws the initial population, if there is one and the ensemble starts where it does."""
    replaced = required_stepper(rebuild_stepper(ds) if replaces is None else replaces, ensembles.variables(ds))
    if replaced is None:
        raise ValueError("replaces=None, and the ensemble names no known stepper; pass the one that draws the start")
    if not starts(norm, replaced.horizon[0]):
        raise ValueError(
            f"the ensemble starts at time {norm.horizon[0]:g}, but {type(replaced).__name__} draws its population at "
            f"{replaced.horizon[0]:g}; save that time as well"
        )
    return replaced
