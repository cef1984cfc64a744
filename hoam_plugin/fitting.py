"""`fit`: turn the ensemble that one stepper produced into another stepper that takes its place."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
import xarray as xr

from hoam_plugin import ensemble as ensembles
from hoam_plugin import registry
from hoam_plugin.action_matching import ActionMatching
from hoam_plugin.embedding import Embedding
from hoam_plugin.files import require_writable
from hoam_plugin.normalisation import normalisation_of
from hoam_plugin.potentials import POTENTIALS, CoLoRA, Potential, description
from hoam_plugin.quadrature import Rule, simpson, trapezoid_weights
from hoam_plugin.steppers import require_representable
from hoam_plugin.surrogate import Provenance, Surrogate, required_stepper
from hoam_plugin.training import Setup, Training
from hoam_plugin.training_run import TrainingRun
from hoam_plugin.training_samples import TrainingSamples

# Substeps per horizon of a surrogate by default; the error at other numbers is in `benchmarks/results/rollout.md`.
_STEPS_PER_HORIZON = 125


def fit(
    ensemble: xr.Dataset,
    *,
    key: jax.Array,
    structure: Literal["gradient"] = "gradient",
    potential: Potential | None = None,
    loss: ActionMatching | None = None,
    training: Training | None = None,
    replaces: Any = None,
    validate: xr.Dataset | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    resume: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    progress: bool = True,
) -> Surrogate:
    """Learn the population dynamics of an ensemble by higher-order action matching (arXiv:2410.12000).

    The defaults are quick settings: one to two minutes on two processor cores for 8 runs of 256 nodes.

    Args:
        ensemble: the training runs, with saved times where the quadrature wants them (`simulate` on a rule does that).
        key: JAX random key; the same key gives the same surrogate.
        structure: "gradient": all variables move along the gradient of the learned potential.
        potential: the network, `CoLoRA`, `FiLM` or `MLP`; `CoLoRA()` by default.
        loss: `ActionMatching()` by default.
        training: `Training()` by default.
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
            spread while epsilon > 0, an unknown structure, or `replaces` without a variable of the ensemble.
        FileExistsError: `checkpoint` exists and `overwrite` is False.
        FileNotFoundError: `resume` does not.
        TrainingDivergedError: a non-finite or run-away loss, still after going back and halving the learning rate three
            times; the error holds the last good surrogate.
        TrainingInterrupted: Ctrl-C (a KeyboardInterrupt); it holds the model so far, which was written to `checkpoint`.
    """
    potential = _of_type("potential", potential, CoLoRA, *POTENTIALS.values())
    loss = _of_type("loss", loss, ActionMatching)
    options = _of_type("training", training, Training)
    if structure != "gradient":
        raise ValueError(f"structure={structure!r} is not available; choose 'gradient'")
    ds = ensembles.validate(ensemble)
    for name in ensembles.variable_names(ds):
        require_representable(f"variable {name!r}", ds[name])
    if ds.sizes["time"] < 2:
        raise ValueError("the ensemble has 1 saved time; action matching needs at least the two ends of a time range")
    node_weights = time_weights(ds, loss.quadrature)
    variables = ensembles.variables(ds)
    attribute = str(ds.attrs.get("stepper", ""))
    replaced = required_stepper(registry.rebuild_stepper(ds) if replaces is None else replaces, variables)
    if options.patience is not None and validate is None:
        raise ValueError(f"patience={options.patience!r} needs validation runs; pass validate= or patience=None")
    held_out = None if validate is None else _validation_runs(ds, validate)
    path = _checkpoint_path(checkpoint, resume, overwrite)
    normalisation = normalisation_of(ds)
    samples = TrainingSamples(ds, normalisation, node_weights, loss, options, jax.random.fold_in(key, 1))
    setup = Setup(potential, Embedding(normalisation.periods, potential.harmonics), loss, options)

    def surrogate(weights: Any, history: xr.Dataset) -> Surrogate:
        return Surrogate(
            weights=weights,
            normalisation=normalisation,
            replaces=replaced,
            potential=potential,
            variables=variables,
            parameter_ranges=tuple((n, float(c.min()), float(c.max())) for n, c in ensembles.parameters(ds).items()),
            epsilon=loss.epsilon,
            dt=normalisation.duration / _STEPS_PER_HORIZON,
            provenance=Provenance(attribute, _configuration(structure, setup, key), history),
        )

    validation = None
    if held_out is not None:
        rule_weights = time_weights(held_out, None)
        validation_key = jax.random.fold_in(key, 2)
        validation = TrainingSamples(
            held_out, normalisation, rule_weights, loss, options, validation_key, one_batch=True
        ).with_reference(samples.at(0).reference)
    run = TrainingRun(setup, samples, key, surrogate, path, validation)
    if resume is not None:
        run.resume(Path(resume))
    return run.train(progress=progress)


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
        if len(times) % 2 and len(times) >= 3 and np.allclose(np.diff(tau), 1 / (len(times) - 1), rtol=1e-5):
            return simpson(len(times)).nodes_and_weights()[1]
        return trapezoid_weights(times)
    nodes, rule_weights = rule.nodes_and_weights()
    weights = np.zeros(len(tau))
    nearest = np.abs(tau[:, None] - nodes[None, :]).argmin(axis=0)
    if np.abs(tau[nearest] - nodes).max() > 1e-5:
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
    if not np.allclose(ds["time"].values[[0, -1]], [first, last], rtol=1e-6, atol=1e-6 * (last - first)):
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
    if resume is not None and (checkpoint is None or Path(checkpoint) == Path(resume)):
        return require_writable(resume, overwrite=True, name="resume")
    return None if checkpoint is None else require_writable(checkpoint, overwrite=overwrite, name="checkpoint")


def _configuration(structure: str, setup: Setup, key: jax.Array) -> str:
    quadrature = setup.loss.quadrature
    return json.dumps(
        {
            "structure": structure,
            "potential": description(setup.potential),
            "loss": {
                "kind": "ActionMatching",
                "epsilon": setup.loss.epsilon,
                "quadrature": str(quadrature or "ensemble"),
            },
            "training": dataclasses.asdict(setup.training),
            "seed": np.asarray(jax.random.key_data(key)).tolist(),
        }
    )


def _of_type(name: str, value: Any, default: type, *others: type) -> Any:
    if value is None:
        return default()
    kinds = others or (default,)
    if not isinstance(value, kinds):
        raise TypeError(f"{name}={value!r} must be {' or '.join(kind.__name__ + '(...)' for kind in kinds)}")
    return value
