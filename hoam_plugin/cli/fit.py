"""`hoam fit`: learn a surrogate from an ensemble and write it, also where training ends early."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from cyclopts import Parameter

from hoam_plugin.cli.messages import say
from hoam_plugin.cli.parsing import Location, Output, Overwrite, Whole, require_input, require_output

if TYPE_CHECKING:
    import xarray as xr

    from hoam_plugin.dynamics import Structure as DynamicsStructure
    from hoam_plugin.losses import AbstractLoss

# A larger training ensemble stays on disk.
_LARGEST_IN_MEMORY = 1 << 30

Structure = Literal["gradient", "kinetic", "field"]
Recipe = Literal["quick", "quality", "paper"]
# Options of the function `fit` by name.
Settings: TypeAlias = dict[str, Any]
Loss = Literal["action-matching", "dice", "moment-matching", "velocity-matching", "trajectory-matching"]


@dataclasses.dataclass(frozen=True)
class Optimisation:
    """How it is learned; None takes what the recipe says.

    Attributes:
        loss: what training minimises: action-matching or dice from samples alone, moment-matching from samples alone
            for --structure field, velocity-matching from recorded rates, trajectory-matching from trajectories. By
            default velocity-matching where force or field is learned and rates are recorded, trajectory-matching where
            samples are the same ones at equally spaced times, else moment-matching for a field and action-matching.
        iterations: steps of the optimiser.
        samples: samples per saved time and iteration.
        optimiser: muon, adam or another of `hoam_plugin.Training`; the best learning rate differs.
        learning_rate: its largest value.
        epsilon: noise amplitude of the learned dynamics in normalised units; 0 gives an ODE.
    """

    loss: Loss | None = None
    iterations: Whole | None = None
    samples: Whole | None = None
    optimiser: str | None = None
    learning_rate: float | None = None
    epsilon: float | None = None


@dataclasses.dataclass(frozen=True)
class Network:
    """Sizes of the potential; None takes what the recipe says.

    Attributes:
        width: features per hidden layer.
        depth: layers.
        rank: rank of the modulated part of each layer.
        hyper_width: width of the hyper-network.
        harmonics: harmonics of each periodic coordinate.
    """

    width: Whole | None = None
    depth: Whole | None = None
    rank: Whole | None = None
    hyper_width: Whole | None = None
    harmonics: Whole | None = None


@dataclasses.dataclass(frozen=True)
class Frame:
    """In which time, and around what, is learned.

    Attributes:
        clock: what the model's time goes evenly with: physical time, or the distance that the population travels. By
            default the latter where hoam simulate --clock=population made the ensemble, and for gradients where the
            fastest phase is more than twice as fast as the mean.
        base: what moves samples where nothing was learned: none, or moments, the motion of mean and covariance.
        members: so many networks are trained, whose mean moves samples: a committee, for hoam propose.
    """

    clock: Literal["physical", "population"] | None = None
    base: Literal["none", "moments"] | None = None
    members: Whole | None = None


@dataclasses.dataclass(frozen=True)
class HeldOut:
    """Runs that are not trained on.

    Attributes:
        validate: held-out runs, on which training is judged in the place of samples held out of every run; the model
            gets the weights that are best there.
        patience: stop after this many iterations without a lower validation loss.
    """

    validate: Location | None = None
    patience: Whole | None = None


@dataclasses.dataclass(frozen=True)
class Course:
    """What else is asked of the command.

    Attributes:
        resume: go on with a training that was interrupted or killed, from OUTPUT.checkpoint, with the same options.
        overwrite: replace an existing output once the new one is complete.
        devices: share the samples of every iteration among so many devices of this machine; by default as many as
            divide them.
        progress: show a progress bar with the loss.
    """

    resume: Annotated[bool, Parameter(negative=())] = False
    overwrite: Overwrite = False
    devices: Whole | None = None
    progress: bool = True

    @property
    def replaces(self) -> bool:
        """Whether an output that exists gives way."""
        return self.overwrite or self.resume

    def checkpoint(self, path: Path) -> dict[str, Path | bool]:
        """Where the training is kept, as options of `fit`."""
        return {"resume": path} if self.resume else {"checkpoint": path, "overwrite": self.overwrite}


def fit(
    ensemble: Location,
    /,
    *,
    output: Output,
    structure: Structure | None = None,
    recipe: Recipe = "quick",
    frame: Annotated[Frame, Parameter(name="*")] = Frame(),
    optimisation: Annotated[Optimisation, Parameter(name="*")] = Optimisation(),
    network: Annotated[Network, Parameter(name="*")] = Network(),
    held_out: Annotated[HeldOut, Parameter(name="*")] = HeldOut(),
    seed: Whole = 0,
    course: Annotated[Course, Parameter(name="*")] = Course(),
) -> None:
    """Learn a surrogate from an ensemble. Ctrl-C writes the model so far; --resume goes on from there.

    Args:
        ensemble: the training runs, as written by `hoam simulate`.
        output: the surrogate's file, such as model.hoam.
        structure: what is learned: gradient (the default), a potential that moves all variables (the paper); kinetic,
            the force alone, for ensembles with velocities; field, a free vector field, for ensembles with --rates.
        recipe: the settings to start from, with --structure gradient: quick takes a minute on two cores in one or two
            coordinates, where the potential is solved for if no other option says how it is learned, else some four
            minutes; quality ten minutes on an ensemble saved on gauss:256, paper (those of arXiv:2410.12000) many
            hours.
        frame: in which time and around what it is learned, see `Frame`.
        optimisation: how it is learned, see `Optimisation`.
        network: sizes of the potential, see `Network`.
        held_out: runs for validation, see `HeldOut`.
        seed: seed of all random numbers.
        course: of the command, see `Course`.
    """
    require_output(output, overwrite=course.replaces, inputs=(ensemble,))
    require_input("ENSEMBLE", ensemble)
    require_input("--validate", held_out.validate)
    checkpoint = output.with_name(f"{output.name}.checkpoint")
    if not course.replaces and checkpoint.exists():
        raise FileExistsError(
            f"{str(checkpoint)!r} is left of an unfinished training; go on with --resume or begin anew with --overwrite"
        )

    import jax

    from hoam_plugin import ensembles, training
    from hoam_plugin.cli.lookup import mesh_of

    mesh = mesh_of(course.devices, "samples")

    ds, said = ensembles.one_of_tree(ensembles.load_runs(ensemble, lazy=True))
    if said:
        say(said)
    settings = options_of_fit(ds, structure, recipe, optimisation, network, held_out)
    settings |= {name: given for name, given in dataclasses.asdict(frame).items() if given is not None}
    if ds.nbytes <= _LARGEST_IN_MEMORY:
        ds = ds.load()
    began = time.perf_counter()
    if held_out.validate is not None:
        settings["validate"] = ensembles.load(held_out.validate)
    if frame.members in (None, 1):
        settings |= course.checkpoint(checkpoint)
    elif course.resume:
        raise ValueError(f"--resume goes on with a checkpoint, which --members={frame.members} does not write")
    try:
        model = training.fit(ds, key=jax.random.key(seed), mesh=mesh, progress=course.progress, **settings)
    except (training.TrainingInterrupted, training.TrainingDivergedError) as stopped:
        partial = stopped.surrogate
        if partial is None or partial.history is None:
            raise
        partial.save(output, overwrite=course.replaces)
        written = f"the model of iteration {partial.history.sizes['iteration']} was written to {str(output)!r}"
        # A training that ran away would run away again.
        can_go_on = isinstance(stopped, training.TrainingInterrupted) and checkpoint.exists()
        rest = "; --resume goes on from there" if can_go_on else ""
        raise type(stopped)(f"{stopped.reason}; {written}{rest}") from stopped
    except KeyboardInterrupt as interrupt:  # before or after the training itself
        if "resume" not in settings and not checkpoint.exists():
            raise
        raise KeyboardInterrupt(f"{str(checkpoint)!r} is kept, and --resume goes on") from interrupt
    model.save(output, overwrite=course.replaces)
    checkpoint.unlink(missing_ok=True)
    assert model.history is not None
    last = float(model.history["loss"][-100:].mean())
    n_done = model.history.sizes["iteration"]
    say(f"{output}: {n_done} iterations in {time.perf_counter() - began:.1f} s, loss {last:.5f}")
    if "converged" in model.history.attrs:  # not in what an older version trained to the end
        say(f"{output}: {model.history.attrs['converged']}: {model.history.attrs['verdict']}")


def options_of_fit(
    ds: xr.Dataset,
    structure: Structure | None,
    recipe: Recipe,
    optimisation: Optimisation,
    network: Network,
    held_out: HeldOut,
) -> Settings:
    """What the function `fit` is told; nothing where it is to choose.

    Raises:
        ValueError: options that do not go together.
    """
    kind = structure or "gradient"
    loss = None if optimisation.loss is None else _loss_of(optimisation.loss, recipe)
    started = _settings(ds, kind, recipe, loss)
    settings = _changed(started, kind, optimisation, network, held_out)
    if recipe == "quick" and settings == started:
        # Where nothing is said of how it is learned, or no more than by which loss, the function chooses.
        settings = {} if loss is None else {"loss": loss}
    if structure is not None:
        settings["structure"] = structure
    return settings


def _settings(ds: xr.Dataset, kind: Structure, recipe: Recipe, loss: AbstractLoss | None) -> dict[str, Any]:
    """The recipe, or what goes with a loss that is named, as options of the function `fit`.

    Raises:
        ValueError: a recipe that does not go with the structure, or a structure that the variables do not allow.
    """
    from hoam_plugin import recipes
    from hoam_plugin.losses import ActionMatching, marginal_potential
    from hoam_plugin.training import Training, default_loss

    if loss is not None:
        return {**_of_loss(loss, _split(ds, kind)), "loss": loss}
    if recipe != "quick":
        if kind != "gradient":
            raise ValueError(f"--recipe={recipe!r} goes with --structure=gradient; leave it out for {kind!r}")
        return dict(recipes.quality() if recipe == "quality" else recipes.paper())
    if kind == "gradient":
        return {"potential": marginal_potential(), "loss": ActionMatching(), "training": Training()}
    split = _split(ds, kind)
    return _of_loss(default_loss(split, ds), split)


def _split(ds: xr.Dataset, kind: Structure) -> DynamicsStructure:
    from hoam_plugin import ensembles
    from hoam_plugin.dynamics import structure_of

    variables = ensembles.variables(ds)
    return structure_of(kind, variables, [math.prod(ds[v.name].shape[3:]) for v in variables])


def _of_loss(loss: AbstractLoss, split: DynamicsStructure) -> dict[str, object]:
    """The potential and the settings that a loss takes by default."""
    from hoam_plugin.training import Training

    return {"potential": loss.default_potential(split), "training": Training(**loss.default_training())}


def _loss_of(name: Loss, recipe: Recipe) -> AbstractLoss:
    """The loss of a name.

    Raises:
        ValueError: a recipe that brings its own.
    """
    from hoam_plugin import losses

    if recipe != "quick":
        raise ValueError(f"--recipe={recipe!r} has a loss of its own; leave it out, or --loss={name!r}")
    kinds: dict[Loss, type[AbstractLoss]] = {
        "action-matching": losses.ActionMatching,
        "dice": losses.DICE,
        "moment-matching": losses.MomentMatching,
        "velocity-matching": losses.VelocityMatching,
        "trajectory-matching": losses.TrajectoryMatching,
    }
    return kinds[name]()


def _changed(
    settings: Mapping[str, Any], kind: Structure, optimisation: Optimisation, network: Network, held_out: HeldOut
) -> Settings:
    """The settings with what the options say in their place.

    Raises:
        ValueError: an option that the settings of this structure have no place for.
    """
    changes: dict[str, dict[str, int | float | str | None]] = {
        "potential": dataclasses.asdict(network),
        "loss": {"epsilon": optimisation.epsilon},
        "training": {
            "iterations": optimisation.iterations,
            "n_samples": optimisation.samples,
            "optimiser": optimisation.optimiser,
            "learning_rate": optimisation.learning_rate,
            "patience": held_out.patience,
        },
    }
    changed = dict(settings)
    for name, values in changes.items():
        known = {field.name for field in dataclasses.fields(settings[name])} if name in settings else set()
        for field, value in values.items():
            if value is None:
                continue
            if field not in known:
                raise ValueError(f"--{field.replace('_', '-')}={value!r} does not go with --structure={kind}")
            changed[name] = dataclasses.replace(changed[name], **{field: value})
    return changed
