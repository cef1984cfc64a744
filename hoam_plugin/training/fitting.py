"""`fit`: turn the ensemble that one stepper produced into another stepper that takes its place."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable
from pathlib import Path

import jax
import xarray as xr
from jax.sharding import Mesh

from hoam_plugin import ensembles
from hoam_plugin._internal import warned
from hoam_plugin._internal.checks import random_key
from hoam_plugin._internal.devices import Devices
from hoam_plugin._internal.files import as_path, require_writable
from hoam_plugin._internal.logs import LOGGER
from hoam_plugin._internal.threads import linear_algebra_in_one_thread
from hoam_plugin._types import Key
from hoam_plugin.dynamics import Kind
from hoam_plugin.inspection import short_form
from hoam_plugin.losses import AbstractLoss
from hoam_plugin.potentials import ParticlePotential, Potential, SplinePotential, VectorField
from hoam_plugin.steppers import Stepper
from hoam_plugin.surrogates import Surrogate
from hoam_plugin.training import checkpoints, committees, feedback, moments_alone, solved, spreading, step_size
from hoam_plugin.training.choices import Base, Choices, Clock, resolve
from hoam_plugin.training.explained_motion import warn_of_unexplained, warn_of_unexplained_forces
from hoam_plugin.training.guard import TrainingDivergedError
from hoam_plugin.training.judge import samples_and_judge
from hoam_plugin.training.particle_fitting import solve_particles
from hoam_plugin.training.run import TrainingRun
from hoam_plugin.training.said import one_ensemble, say_what_is_learned_from
from hoam_plugin.training.settings import Training

# What `fit` resolves.
_CHOSEN = ("structure", "potential", "loss", "training", "replaces", "validate", "clock", "base")
# With options by name.
_resolve: Callable[..., Choices] = resolve


@linear_algebra_in_one_thread()
def fit(
    ensemble: xr.Dataset | xr.DataTree,
    *,
    key: Key,
    structure: Kind | None = None,
    potential: Potential | VectorField | None = None,
    loss: AbstractLoss | None = None,
    training: Training | None = None,
    replaces: Stepper | None = None,
    validate: xr.Dataset | None = None,
    clock: Clock | None = None,
    base: Base | None = None,
    members: int = 1,
    checkpoint: str | os.PathLike[str] | None = None,
    resume: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    mesh: Mesh | None = None,
    progress: bool = True,
) -> Surrogate:
    """Learn the population dynamics of an ensemble, by default by higher-order action matching (arXiv:2410.12000).

    The defaults are quick settings: for 8 runs of 256 nodes some four minutes on two processor cores, and one in one or
    two coordinates, where the potential is solved for. Where the ensemble carries enough for something more accurate
    and no structure is named, one line on standard error says so, or in the log; where recorded rates show that the
    learned drift explains almost nothing of the motion, a warning does.

    Args:
        ensemble: the training runs, with saved times where the quadrature wants them (`simulate` on a rule does that).
            Runs of different times, lengths or numbers of samples are a tree with a node each (`ensemble.tree`).
        key: JAX random key; the same key gives the same surrogate.
        structure: what is learned. "gradient" (the default): all variables move along the gradient of the learned
            potential.
            "kinetic": positions move with their velocities (variables that declare `velocity_of`), exactly, with the
            friction and the noise that the stepper declares as `known_drift` and `noise`; the force is learned.
            "field": a free vector field in all variables, with the stepper's `noise`.
        potential: for "gradient" the network, a `CoLoRA` by default, or `FiLM` or `MLP`, or a `SplinePotential`, which
            is solved for. That one is the default in one or two coordinates where nothing is said of loss, training,
            validation and base, unless held-out samples or a run that is left out speak against it. For "kinetic" a
            `VectorField` by default (of four harmonics for velocity and trajectory matching, else of two), a force that
            depends on the positions only, while any of the networks for "gradient" is a potential in the velocities
            whose force depends on them as well; for "field" a `VectorField`.
        loss: how the learned part follows from the samples: `ActionMatching` or `DICE` from marginals,
            `MomentMatching` from marginals for free fields as well, `VelocityMatching` from recorded rates,
            `TrajectoryMatching` from trajectories. By default `ActionMatching()`, but for "kinetic" and "field"
            `VelocityMatching()` where the ensemble records rates, else `TrajectoryMatching()` where samples are the
            same ones at all times, and these are equally spaced and resolve how the samples move; else
            `MomentMatching()` for "field". A loss of one's own derives from `hoam_plugin.losses.AbstractLoss`.
        training: `Training()` by default, `recipes.velocity_training()` for velocity and trajectory matching.
        replaces: the stepper whose place the surrogate takes; by default rebuilt from the ensemble's attributes.
        validate: held-out runs with the same variables and parameters, inside the trained ranges or not. Training is
            then judged on them, and not on samples of every run that are held out of it (`Training.held_out`).
        clock: what normalised time goes evenly with: "physical" time, or the distance that the "population" travels, so
            that fast and slow phases take as much of it as they matter. The latter is found from the ensemble, or is
            the one over which `simulate(clock="population")` spread its times. By default the latter one where there
            is one; else, for the structure "gradient", one that is found where the fastest phase is more than twice as
            fast as the mean; else time.
        base: what moves samples where nothing was learned, and what the learned drift corrects, for the structure
            "gradient" and `ActionMatching`: "moments", the gradient field under which mean and covariance of all
            coordinates that are not periodic move as those of the ensemble, interpolated in time and parameters (about
            D^2 numbers for every run and saved time; for many coordinates that is most of what samples tell), or
            "none".
        members: of several, as many networks are trained side by side that differ in how they begin and in what they
            draw: a committee. Their mean moves samples, and what they disagree in is what the runs leave open; see
            `simulate(..., members=True)` and `hoam_plugin.trust`. A potential is then trained and not solved for, and
            not corrected in the end. A committee has no checkpoints, and stays on the devices of this process.
        checkpoint: file that the model so far is written to now and then (see `Training.checkpoint_seconds`), when
            training is interrupted (Ctrl-C) or runs away, and at the end. `load` reads it at any time. The one before
            lies beside it as `*.previous` until the end.
        resume: checkpoint of a training to go on with, bit for bit, with the same ensemble, key and settings; a damaged
            one is skipped for the one before, with a warning. Further checkpoints go to `checkpoint`, by default there.
        overwrite: replace an existing `checkpoint` of another training, once the first of this one is complete.
        mesh: devices that share the samples of every iteration of a training: along its only axis, or the one named
            "samples"; they have to divide `Training.n_samples` and `n_end_samples`. The weights are the same on all,
            gradients are averaged, and the numbers are those of one device but for the order of sums. With the devices
            of all processes of `jax.distributed`, which have to call this alike, each process reads the training
            samples of some of the runs, and the first one writes the checkpoint and shows progress. None takes the
            devices of this process, as many as divide the samples. What is found without iterations (potentials that
            are solved for, the motion of moments) and what completes a model (`Training.feedback`) runs on one device,
            and in every process.
        progress: show a progress bar with the loss.

    Returns:
        A surrogate, with the averaged weights that were judged best: by the form of the loss that has a lower bound,
        on samples that take no part in training; where it is in doubt whether these are better than those of the
        beginning, those that were most clearly so. Where none are, 100 iterations and more after the warm-up, it moves
        nothing, and a warning says so. Its `history` holds loss, quadratic part, what
        the judge said (`validation`, NaN after blocks that were not judged), and seconds over the iterations. Its
        attributes say what was judged on (`judged_on`), which iteration was best (`best_iteration`), and how training
        ended: `converged` is "converged", "still improving", "limited by the saved times" or "unstable", `verdict` a
        sentence about it; the latter two also warn. Of a `SplinePotential` the history is over its steps in time
        instead. A trained potential is corrected in the end (see `Training.feedback`), and `feedback` says what that
        brought. Where nothing is said of potential, loss, training, validation and base, and mean and covariance
        explain the samples up to their scatter, their motion is returned (see `hoam_plugin.training.moments_alone`).

    Raises:
        TypeError: float64 samples without `jax_enable_x64`, or an option of the wrong type.
        ValueError: not a valid ensemble, fewer than two times, a rule that does not match them, a variable without
            spread while epsilon > 0, an unknown structure or one that the variables do not allow, a loss or potential
            that does not go with it, missing rates, several members of a potential that is solved for or with
            checkpoints or a mesh, `replaces` without a variable of the ensemble, or a mesh without
            an axis for samples, with devices of some processes, or that does not divide the samples.
        FloatingPointError: a `SplinePotential` that was asked for, under which samples run away.
        FileExistsError: `checkpoint` exists and `overwrite` is False.
        FileNotFoundError: `resume` does not.
        TrainingDivergedError: a non-finite or run-away loss, still after going back and halving the learning rate three
            times, before anything was learned. Else the best model is returned, with a warning.
        TrainingInterrupted: Ctrl-C (a KeyboardInterrupt); it holds the model so far, which was written to `checkpoint`.

    Example:
        >>> small, short = hoam.VectorField(width=8, depth=2), hoam.Training(iterations=2, n_samples=16)
        >>> force = hoam.fit(truth, key=key, structure="kinetic", potential=small, training=short, progress=False)
        >>> force.ranges
        {'mu': (1.2, 1.6)}
        >>> force.horizon
        (0.0, 2.0)
    """
    random_key(key)
    devices = spreading.named_devices(mesh, training)
    ensemble = one_ensemble(ensemble, progress=progress)
    first = devices is None or devices.first
    progress = progress and first
    path = _checkpoint_path(checkpoint, resume, overwrite)
    told = functools.partial(
        resolve,
        structure=structure,
        potential=potential,
        loss=loss,
        training=training,
        replaces=replaces,
        validate=validate,
        clock=clock,
        base=base,
    )
    resolved = _dividing(devices, told)
    choose = functools.partial(resolved, ensemble)
    committees.require_members(members, potential, checkpoint=checkpoint, resume=resume, mesh=mesh)
    # What is solved for has no training to go on with.
    choices = choose(may_solve=resume is None and members == 1)
    LOGGER.debug("fit: %r, %r, %r", choices.potential, choices.loss, choices.training)
    if progress:
        LOGGER.info("fit: %s", short_form(choices.runs.ensemble))
        say_what_is_learned_from(choices, structure, loss)
    if members > 1:
        return committees.trained(choices, key, members, progress=progress)
    free = all(value is None for value in (potential, loss, training, validate, base, resume))
    if free and choices.dynamics.structure.kind == "gradient":
        moved = _by_moments_alone(resolved, choices.runs.ensemble, key)
        if moved is not None:
            if path is not None and first:
                checkpoints.finish(path, moved)
            return moved
    if resume is not None and isinstance(choices.potential, SplinePotential | ParticlePotential):
        who = type(choices.potential).__name__
        raise ValueError(f"resume={str(resume)!r}: {who}(...) is solved for at once, and is not resumed")
    if isinstance(choices.potential, ParticlePotential):
        model = solve_particles(choices, key=key, progress=progress)
        warn_of_unexplained_forces(model, choices.runs.ensemble)
        if path is not None and first:
            checkpoints.finish(path, model)
        return model
    if isinstance(choices.potential, SplinePotential):
        try:
            found = solved.solve(choices, key, progress=progress)
        except FloatingPointError:
            if potential is not None:
                raise
            return _trained(choose(may_solve=False), key, path, None, devices, progress=progress)
        if potential is None and found.doubt:
            try:
                return _trained(choose(may_solve=False), key, path, None, devices, progress=progress)
            except TrainingDivergedError as diverged:
                warned.warn(
                    f"the potential was solved for, but {found.doubt}; training one instead failed: {diverged.reason}",
                    stacklevel=2,
                )
        elif found.doubt:
            warned.warn(f"{found.doubt}; use potential=CoLoRA(...), or more runs or samples", stacklevel=2)
        elif found.limit:
            warned.warn(
                f"training is limited by the saved times: {found.limit}; more saved times would help", stacklevel=2
            )
        if path is not None and first:
            checkpoints.finish(path, found.model)
        return found.model
    return _trained(choices, key, path, resume, devices, progress=progress)


def options_of_training(ensemble: xr.Dataset, **options: object) -> Training | None:
    """The settings of the training that `fit` would do with these options; None where it has none, or may have none.

    Potentials that are solved for take no iterations. Which of both it is, and whether moments alone do, is up to what
    is found, where nothing is said of it.
    """
    given: dict[str, object] = dict.fromkeys(_CHOSEN)
    given |= {name: value for name, value in options.items() if name in _CHOSEN}
    if given["structure"] in (None, "gradient") and given["training"] is None:
        return None
    choices = _resolve(ensemble, may_solve=options.get("members", 1) == 1, **given)
    solved_for = isinstance(choices.potential, SplinePotential | ParticlePotential)
    return None if solved_for else dataclasses.replace(choices.training, held_out=_held_out_of(given["training"]))


def _held_out_of(training: object) -> int | None:
    """As it was asked for; what is chosen depends on the runs."""
    return training.held_out if isinstance(training, Training) else None


def _by_moments_alone(resolved: Callable[..., Choices], ds: xr.Dataset, key: Key) -> Surrogate | None:
    def around_moments(runs: xr.Dataset, loss: AbstractLoss) -> Choices:
        # What there is to warn of has been said.
        with warned.kept_back():
            return resolved(runs, loss=loss, potential=moments_alone.smallest(), base="moments")

    return moments_alone.found(around_moments, ds, key)


def _trained(
    choices: Choices,
    key: Key,
    path: Path | None,
    resume: str | os.PathLike[str] | None,
    named: Devices | None,
    *,
    progress: bool,
) -> Surrogate:
    """The surrogate of a network; arguments and errors are those of `fit`."""
    runs, setup = choices.runs, choices.setup
    devices = spreading.devices_of_training(named, choices)
    samples, judge = samples_and_judge(choices, key, devices)

    def completed(model: Surrogate) -> Surrogate:
        model = step_size.resolved(model, runs.ensemble, jax.random.fold_in(key, 4))
        if not setup.training.feedback or choices.dynamics.structure.kind != "gradient":
            return model
        return feedback.corrected(model, runs, setup.training, jax.random.fold_in(key, 5), progress=progress)

    run = TrainingRun(setup, samples, key, choices.surrogates(key), path, judge, completed, devices)
    if resume is not None:
        run.resume(as_path(resume, "resume"))
    model = run.train(progress=progress)
    warn_of_unexplained(model, runs.ensemble, setup.training.iterations)
    return model


def _dividing(devices: Devices | None, resolved: Callable[..., Choices]) -> Callable[..., Choices]:
    """The same, where processes that work together divide the runs to read."""

    def divided(ensemble: xr.Dataset, **options: object) -> Choices:
        with ensembles.shared_passes(devices):
            return resolved(ensemble, **options)

    return divided


def _checkpoint_path(
    checkpoint: str | os.PathLike[str] | None, resume: str | os.PathLike[str] | None, overwrite: bool
) -> Path | None:
    if resume is not None and (checkpoint is None or as_path(checkpoint, "checkpoint") == as_path(resume, "resume")):
        return require_writable(resume, overwrite=True, name="resume")
    return None if checkpoint is None else require_writable(checkpoint, overwrite=overwrite, name="checkpoint")
