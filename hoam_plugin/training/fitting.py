"""`fit`: turn the ensemble that one stepper produced into another stepper that takes its place."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import xarray as xr

from hoam_plugin import ensembles
from hoam_plugin._internal.checks import random_key
from hoam_plugin._internal.files import as_path, require_writable
from hoam_plugin.dynamics import Dynamics, Kind, Structure, normalisation_of, structure_of, with_metric
from hoam_plugin.losses import (
    DICE,
    LOSSES,
    ActionMatching,
    Loss,
    Samples,
    TrajectoryMatching,
    VelocityMatching,
    has_rates,
    require_targets,
)
from hoam_plugin.losses import description as loss_description
from hoam_plugin.numerics import tolerances
from hoam_plugin.potentials import POTENTIALS, CoLoRA, Potential, VectorField, bound, description, embedding_of
from hoam_plugin.quadrature import Rule, simpson, trapezoid_weights
from hoam_plugin.steppers import SampleLayout, rebuild_stepper, require_field_name, require_representable
from hoam_plugin.surrogates import LearnedDynamics, Options, Provenance, Surrogate, TrainedRange, required_stepper
from hoam_plugin.training.defaults import VELOCITY_TIME_HARMONICS, velocity_field, velocity_training
from hoam_plugin.training.explained_motion import warn_of_unexplained
from hoam_plugin.training.iterations import Setup, Training
from hoam_plugin.training.run import TrainingRun
from hoam_plugin.training.time_resolution import resolved_time_harmonics
from hoam_plugin.training.windows import TrainingSamples

# Substeps per horizon of a surrogate by default; the error at other numbers is in `benchmarks/results/rollout.md`.
_STEPS_PER_HORIZON = 125


def fit(
    ensemble: xr.Dataset,
    *,
    key: jax.Array,
    structure: Kind | None = None,
    potential: Potential | VectorField | None = None,
    loss: Loss | None = None,
    training: Training | None = None,
    replaces: Any = None,
    validate: xr.Dataset | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    resume: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    progress: bool = True,
) -> Surrogate:
    """Learn the population dynamics of an ensemble, by default by higher-order action matching (arXiv:2410.12000).

    The defaults are quick settings: one to two minutes on two processor cores for 8 runs of 256 nodes. Where the
    ensemble carries enough for something more accurate and no structure is named, one line on standard error says so;
    where recorded rates show that the learned drift explains almost nothing of the motion, a warning does.

    Args:
        ensemble: the training runs, with saved times where the quadrature wants them (`simulate` on a rule does that).
        key: JAX random key; the same key gives the same surrogate.
        structure: what is learned. "gradient" (the default): all variables move along the gradient of the learned
            potential.
            "kinetic": positions move with their velocities (variables that declare `velocity_of`), exactly, with the
            friction and the noise that the stepper declares as `known_drift` and `noise`; the force is learned.
            "field": a free vector field in all variables, with the stepper's `noise`.
        potential: the network: `CoLoRA()` by default, or `FiLM` or `MLP`; for "kinetic" a `VectorField` by default (of
            four harmonics for velocity and trajectory matching, else of two), a force that depends on the positions
            only, while any of the others is a potential in the velocities whose force depends on them as well; for
            "field" a `VectorField`.
        loss: how the learned part follows from the samples: `ActionMatching` or `DICE` from marginals,
            `VelocityMatching` from recorded rates, `TrajectoryMatching` from trajectories. By default
            `ActionMatching()`, but `VelocityMatching()` for "kinetic" and "field" where the ensemble records rates.
        training: `Training()` by default, `recipes.velocity_training()` for velocity and trajectory matching.
        replaces: the stepper whose place the surrogate takes; by default rebuilt from the ensemble's attributes.
        validate: held-out runs with the same variables and parameters, inside the trained ranges or not. Their loss
            after every block is in the history as `validation`, and the surrogate gets the averaged weights where it
            was lowest; see also `Training.patience`.
        checkpoint: file that the model so far is written to now and then (see `Training.checkpoint_seconds`), when
            training is interrupted (Ctrl-C) or runs away, and at the end. `load` reads it at any time. The one before
            lies beside it as `*.previous` until the end.
        resume: checkpoint of a training to go on with, bit for bit, with the same ensemble, key and settings; a damaged
            one is skipped for the one before, with a warning. Further checkpoints go to `checkpoint`, by default there.
        overwrite: replace an existing `checkpoint` of another training, once the first of this one is complete.
        progress: show a progress bar with the loss.

    Returns:
        A surrogate; its `history` holds loss, quadratic part, validation loss if any, and seconds over the iterations.

    Raises:
        TypeError: float64 samples without `jax_enable_x64`, or an option of the wrong type.
        ValueError: not a valid ensemble, fewer than two times, a rule that does not match them, a variable without
            spread while epsilon > 0, an unknown structure or one that the variables do not allow, a loss or potential
            that does not go with it, missing rates, or `replaces` without a variable of the ensemble.
        FileExistsError: `checkpoint` exists and `overwrite` is False.
        FileNotFoundError: `resume` does not.
        TrainingDivergedError: a non-finite or run-away loss, still after going back and halving the learning rate three
            times; the error holds the last good surrogate.
        TrainingInterrupted: Ctrl-C (a KeyboardInterrupt); it holds the model so far, which was written to `checkpoint`.
    """
    random_key(key)
    ds = ensembles.validate(ensemble)
    variables = ensembles.variables(ds)
    for variable in variables:
        require_field_name(variable.name)
    shapes = tuple(ds[v.name].shape[3:] for v in variables)
    split = structure_of(structure or "gradient", variables, [math.prod(shape) for shape in shapes])
    loss = _loss_for(split, ds, _of_type("loss", loss, type(None), *LOSSES.values()))
    matched = isinstance(loss, VelocityMatching)
    default = CoLoRA if split.kind == "gradient" else velocity_field if matched else VectorField
    potential = _of_type("potential", potential, default, *POTENTIALS.values())
    options = _of_type("training", training, velocity_training if matched else Training, Training)
    for name in ensembles.variable_names(ds):
        require_representable(f"variable {name!r}", ds[name])
    if ds.sizes["time"] < 2:
        raise ValueError("the ensemble has 1 saved time; action matching needs at least the two ends of a time range")
    driven = [v.name for v in variables if split.kind != "kinetic" or v.velocity_of is not None]
    require_targets(ds, loss, driven)
    node_weights = _node_weights(ds, loss)
    attribute = str(ds.attrs.get("stepper", ""))
    replaced = required_stepper(rebuild_stepper(ds) if replaces is None else replaces, variables)
    ensembles.require_parameters_declared(ds, None if replaced is None else replaced.parameters)
    if options.patience is not None and validate is None:
        raise ValueError(f"patience={options.patience!r} needs validation runs; pass validate= or patience=None")
    held_out = None if validate is None else _validation_runs(ds, validate)
    path = _checkpoint_path(checkpoint, resume, overwrite)
    normalisation = normalisation_of(ds)
    split = with_metric(split, np.asarray(normalisation.scale, np.float64))
    dynamics = Dynamics(normalisation, replaced, split, variables, shapes)
    loss = _with_samples(_with_known_noise(loss, dynamics), split, potential)
    if isinstance(potential, VectorField) and potential.time_harmonics is None:
        n_harmonics = VELOCITY_TIME_HARMONICS
        if not matched:
            n_harmonics = resolved_time_harmonics(ds, dynamics, node_weights, potential.harmonics)
        potential = dataclasses.replace(potential, time_harmonics=n_harmonics)
    embedding = embedding_of(potential, normalisation, split)
    setup = Setup(bound(potential, split, embedding), embedding, loss, options)
    samples = TrainingSamples(ds, dynamics, node_weights, loss, options, jax.random.fold_in(key, 1))
    if progress and structure is None:
        _say_what_else(ds)

    def surrogate(weights: Any, history: xr.Dataset) -> Surrogate:
        learned = LearnedDynamics(
            weights=weights,
            normalisation=normalisation,
            replaces=replaced,
            potential=potential,
            layout=SampleLayout(variables, shapes),
            structure=split,
            epsilon=0.0 if split.knows_dynamics else loss.noise,
            known_noise=dynamics.has_noise and not isinstance(loss, TrajectoryMatching),
            known_drift=dynamics.has_driven_drift,
            stepper_attribute=attribute,
        )
        ranges = tuple((n, float(c.min()), float(c.max())) for n, c in ensembles.parameters(ds).items())
        return Surrogate(
            learned,
            TrainedRange(ranges, normalisation.horizon),
            Options(normalisation.duration / _STEPS_PER_HORIZON),
            Provenance(_configuration(potential, split, setup, key), history),
        )

    validation = None
    if held_out is not None:
        require_targets(held_out, loss, driven)
        rule = dataclasses.replace(loss, quadrature=None) if isinstance(loss, ActionMatching) else loss
        rule_weights = _node_weights(held_out, rule)
        validation_key = jax.random.fold_in(key, 2)
        validation = TrainingSamples(
            held_out, dynamics, rule_weights, loss, options, validation_key, one_batch=True
        ).with_reference(samples.at(0).reference)
    run = TrainingRun(setup, samples, key, surrogate, path, validation)
    if resume is not None:
        run.resume(as_path(resume, "resume"))
    model = run.train(progress=progress)
    warn_of_unexplained(model, ds, options.iterations)
    return model


def time_weights(ds: xr.Dataset, rule: Rule | None) -> np.ndarray:
    """Quadrature weights of the saved times, summing to 1.

    Raises:
        ValueError: a deterministic rule whose nodes are not the saved times (its two ends may be there as well).
    """
    times = ds["time"].values.astype(np.float64)
    tau = (times - times[0]) / (times[-1] - times[0])
    if rule is None or rule.random:
        if rule is None and "quadrature_weight" in ds:
            return ds["quadrature_weight"].values.astype(np.float64)
        if len(times) % 2 and len(times) >= 3 and tolerances.equally_spaced(times):
            return simpson(len(times)).nodes_and_weights()[1]
        return trapezoid_weights(times)
    nodes, rule_weights = rule.nodes_and_weights()
    weights = np.zeros(len(tau))
    nearest = np.abs(tau[:, None] - nodes[None, :]).argmin(axis=0)
    # A share of the time range, beside what single precision leaves of late times.
    if np.abs(tau[nearest] - nodes).max() * (times[-1] - times[0]) > tolerances.overshoot(times[0], times[-1]):
        raise ValueError(
            f"quadrature={rule} does not match the {len(times)} saved times on [{times[0]:g}, {times[-1]:g}]; simulate "
            "with times=that rule, or use quadrature=None, which picks a rule for the saved times"
        )
    weights[nearest] = rule_weights
    return weights


def _validation_runs(training_runs: xr.Dataset, validate: xr.Dataset) -> xr.Dataset:
    ds = ensembles.validate(validate)
    for what, find in (("variables", ensembles.variables), ("parameters", lambda d: tuple(ensembles.parameters(d)))):
        if find(ds) != find(training_runs):
            raise ValueError(
                f"validate has the {what} {find(ds)!r}; they must be those of the ensemble, {find(training_runs)!r}"
            )
    first, last = (float(training_runs["time"][i]) for i in (0, -1))
    if np.abs(ds["time"].values[[0, -1]] - [first, last]).max() > tolerances.overshoot(first, last):
        raise ValueError(
            f"validate has times from {float(ds['time'][0]):g} to {float(ds['time'][-1]):g}; it must span the times of "
            f"the ensemble, {first:g} to {last:g}"
        )
    for name in ensembles.variable_names(ds):
        require_representable(f"variable {name!r} of validate", ds[name])
    return ds


def _checkpoint_path(
    checkpoint: str | os.PathLike[str] | None, resume: str | os.PathLike[str] | None, overwrite: bool
) -> Path | None:
    if resume is not None and (checkpoint is None or as_path(checkpoint, "checkpoint") == as_path(resume, "resume")):
        return require_writable(resume, overwrite=True, name="resume")
    return None if checkpoint is None else require_writable(checkpoint, overwrite=overwrite, name="checkpoint")


def _loss_for(structure: Structure, ds: xr.Dataset, loss: Any) -> Loss:
    """The loss, by default the best one that the structure and the ensemble allow without trajectories.

    Raises:
        ValueError: a loss that does not go with the structure.
    """
    if loss is None:
        matching = structure.knows_dynamics and has_rates(ds)
        loss = VelocityMatching() if matching else ActionMatching()
    if structure.kind == "field" and not isinstance(loss, VelocityMatching):
        raise ValueError(
            f"loss={loss!r}: a free field does not follow from marginals; structure='field' takes VelocityMatching "
            "(with recorded rates) or TrajectoryMatching"
        )
    if structure.knows_dynamics and getattr(loss, "epsilon", None):
        raise ValueError(
            f"epsilon={loss.epsilon!r}: with structure={structure.kind!r} the noise is that of the stepper, which "
            "declares it as `noise`; leave epsilon=None"
        )
    return loss


def _with_known_noise(loss: Loss, dynamics: Dynamics) -> Loss:
    """The loss with its epsilon: its own, or 1 or 0, as amplitudes of the stepper's noise come with the samples."""
    if isinstance(loss, VelocityMatching):
        return loss
    known = 1.0 if dynamics.has_noise else 0.0
    return dataclasses.replace(loss, epsilon=known if dynamics.structure.knows_dynamics else loss.noise)


def _with_samples(loss: Loss, structure: Structure, potential: Any) -> Loss:
    """The loss with its choice of samples.

    Raises:
        ValueError: merged samples where the samples enter the loss in other ways than by their moments.
    """
    if not isinstance(loss, ActionMatching):
        return loss
    by_moments = len(structure.kinematics) == 1 and isinstance(potential, VectorField)
    if loss.merged and not by_moments:
        raise ValueError(
            "samples='merged' goes with structure='kinetic', one velocity and a VectorField(...) only; use "
            "'independent' or 'coupled'"
        )
    default: Samples = "merged" if by_moments else "independent"
    return dataclasses.replace(loss, samples=loss.samples or default)


def _node_weights(ds: xr.Dataset, loss: Loss) -> np.ndarray:
    """Weights of the saved times, as the loss wants them."""
    if isinstance(loss, DICE):
        return trapezoid_weights(ds["time"].values.astype(np.float64))
    if isinstance(loss, TrajectoryMatching):
        # The two ends have no symmetric increment.
        weights = np.ones(ds.sizes["time"])
        weights[[0, -1]] = 0
        return weights / weights.sum()
    return time_weights(ds, loss.quadrature)


def _say_what_else(ds: xr.Dataset) -> None:
    """One line about what the ensemble would also allow."""
    if not any(v.velocity_of for v in ensembles.variables(ds)):
        return
    with contextlib.suppress(ValueError):
        variables = ensembles.variables(ds)
        structure_of("kinetic", variables, [math.prod(ds[v.name].shape[3:]) for v in variables])
        rates = "; it records rates, which velocity matching then uses" if has_rates(ds) else ""
        print(
            f"fit: this ensemble has velocities, so structure='kinetic' is open to it and is more accurate{rates}",
            file=sys.stderr,
        )


def _configuration(potential: Any, structure: Structure, setup: Setup, key: jax.Array) -> str:
    return json.dumps(
        {
            "structure": structure.kind,
            "potential": description(potential),
            "loss": loss_description(setup.loss),
            "training": dataclasses.asdict(setup.training),
            "seed": np.asarray(jax.random.key_data(key)).tolist(),
        }
    )


def _of_type(name: str, value: Any, default: Callable[[], Any], *kinds: type) -> Any:
    if value is None:
        return default()
    if not isinstance(value, kinds):
        raise TypeError(f"{name}={value!r} must be {' or '.join(kind.__name__ + '(...)' for kind in kinds)}")
    return value
