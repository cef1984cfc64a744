"""All that `fit` chooses, and reads of the ensemble, once."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Sequence
from typing import Literal, get_args

import jax
import numpy as np
import xarray as xr

from hoam_plugin import ensembles
from hoam_plugin._internal.checks import of_type, one_of
from hoam_plugin._types import Key
from hoam_plugin.dynamics import (
    Dynamics,
    Kind,
    MomentDrift,
    Normalisation,
    PopulationClock,
    moment_drift,
    moment_motion,
    normalisation_of,
    population_clock_of,
    recorded_clock,
    structure_of,
    with_metric,
)
from hoam_plugin.losses import AbstractLoss
from hoam_plugin.losses import description as loss_description
from hoam_plugin.numerics import tolerances
from hoam_plugin.potentials import (
    ParticlePotential,
    Potential,
    SplinePotential,
    VectorField,
    Weights,
    bound,
    description,
    embedding_of,
)
from hoam_plugin.quadrature import Rule
from hoam_plugin.steppers import (
    SampleLayout,
    Stepper,
    rebuild_stepper,
    require_field_name,
    require_representable,
)
from hoam_plugin.surrogates import (
    LearnedDynamics,
    Options,
    Provenance,
    Surrogate,
    TrainedRange,
    required_stepper,
    runs_at,
)
from hoam_plugin.training import particle_places, solvable, spline_places
from hoam_plugin.training.data import Runs
from hoam_plugin.training.defaults import default_training
from hoam_plugin.training.iterations import Setup
from hoam_plugin.training.settings import Training
from hoam_plugin.training.solvable import Base
from hoam_plugin.training.time_resolution import resolved
from hoam_plugin.training.time_weights import weights_of_loss

# What normalised time goes evenly with.
Clock = Literal["physical", "population"]

# Substeps per horizon of a surrogate by default; the error at other numbers is in `benchmarks/results/rollout.md`.
_STEPS_PER_HORIZON = 125


@dataclasses.dataclass(frozen=True, eq=False)
class Choices:
    """What is learned, from which runs, and how.

    Attributes:
        runs: of the training; their dynamics hold the structure, the layout, the units and the replaced stepper.
        judged: what a model is judged on, with the loss that judges it: runs of validation, else those of the training.
        validates: whether `judged` are runs of validation.
        potential: the network.
        loss: with all of its choices.
        training: the settings.
        parameter_ranges: (name, lowest, highest) of each physics parameter over the runs.
        stepper_attribute: how to rebuild the stepper that made the ensemble, or "".
    """

    runs: Runs
    judged: Runs
    validates: bool
    potential: Potential | VectorField
    loss: AbstractLoss
    training: Training
    parameter_ranges: tuple[tuple[str, float, float], ...]
    stepper_attribute: str

    @property
    def dynamics(self) -> Dynamics:
        """What is known of the dynamics."""
        return self.runs.dynamics

    @property
    def setup(self) -> Setup:
        """What compiled iterations take."""
        return self._setup_of(self.loss)

    @property
    def judging(self) -> Setup:
        """The same with the loss that judges."""
        return self._setup_of(self.judged.loss)

    def _setup_of(self, loss: AbstractLoss) -> Setup:
        structure = self.dynamics.structure
        embedding = embedding_of(self.potential, self.dynamics.normalisation, structure)
        return Setup(bound(self.potential, structure, embedding), embedding, loss, self.training)

    def surrogates(self, key: Key) -> Callable[[Weights, xr.Dataset], Surrogate]:
        """The surrogate of given weights and history, of a training with this key."""
        dynamics, norm = self.dynamics, self.dynamics.normalisation
        structure = dynamics.structure
        configuration = {
            "structure": structure.kind,
            "potential": description(self.potential),
            "loss": loss_description(self.loss),
            "training": dataclasses.asdict(self.training),
            "clock": "physical" if norm.clock is None else "population",
            **({} if dynamics.base is None else {"base": "moments"}),
            "seed": np.asarray(jax.random.key_data(key)).tolist(),
        }

        ds = self.runs.ensemble
        sizes = {dim: ds.sizes[dim] for dim in ensembles.DIMS}
        runs = runs_at(ensembles.parameters(ds), norm)

        def surrogate(weights: Weights, history: xr.Dataset) -> Surrogate:
            learned = LearnedDynamics(
                weights=weights,
                normalisation=norm,
                replaces=dynamics.stepper,
                potential=self.potential,
                layout=dynamics.layout,
                structure=structure,
                epsilon=0.0 if structure.knows_dynamics else self.loss.noise,
                known_noise=dynamics.has_noise and self.loss.carries_noise,
                known_drift=dynamics.has_driven_drift,
                stepper_attribute=self.stepper_attribute,
                base=dynamics.base,
            )
            return Surrogate(
                learned,
                TrainedRange(self.parameter_ranges, norm.horizon),
                Options(norm.duration / _STEPS_PER_HORIZON),
                Provenance(json.dumps(configuration), history, sizes=sizes),
                runs,
            )

        return surrogate


def resolve(
    ensemble: xr.Dataset,
    *,
    structure: Kind | None,
    potential: Potential | VectorField | None,
    loss: AbstractLoss | None,
    training: Training | None,
    replaces: Stepper | None,
    validate: xr.Dataset | None,
    clock: Clock | None,
    base: Base | None,
    may_solve: bool = True,
) -> Choices:
    """Check what `fit` is given, and choose what it is not; arguments and errors are those of `fit`.

    With `may_solve`, the potential may be one that is solved for where nothing is said of potential, loss and training.
    """
    ds = ensembles.validate(ensemble)
    variables = ensembles.variables(ds)
    for variable in variables:
        require_field_name(variable.name)
    layout = SampleLayout(variables, tuple(ds[v.name].shape[3:] for v in variables))
    split = structure_of(structure or "gradient", variables, layout.widths)
    given = solvable.Given(potential, loss, training, validate, base)
    potential, loss = solvable.potential_and_loss(ds, split, sum(layout.widths), given, may_solve=may_solve)
    options = default_training(loss) if training is None else of_type("training", training, Training)
    _require_samples(ds, "")
    if ds.sizes["time"] < 2:
        raise ValueError("the ensemble has 1 saved time; action matching needs at least the two ends of a time range")
    driven = [v.name for v in variables if split.kind != "kinetic" or v.velocity_of is not None]
    loss.require_ensemble(ds, driven)
    replaced = required_stepper(rebuild_stepper(ds) if replaces is None else replaces, variables)
    ensembles.require_parameters_declared(ds, None if replaced is None else replaced.parameters, stacklevel=4)
    held_out = None if validate is None else _validation_runs(ds, validate)
    normalisation = normalisation_of(ds, stacklevel=4)
    normalisation = dataclasses.replace(normalisation, clock=_clock_of(clock, ds, normalisation, split.kind))
    if isinstance(potential, SplinePotential):
        normalisation = normalisation.stretched(math.sqrt(potential.period_weight))
    if isinstance(potential, ParticlePotential):
        own = particle_places.of_particles(potential, ds, normalisation, split, layout)
        potential, normalisation, split = own.in_noise_of(replaced, given.loss)
    split = with_metric(split, np.asarray(normalisation.scale, np.float64))
    dynamics = Dynamics(normalisation, replaced, split, layout)
    if isinstance(potential, SplinePotential):
        potential = spline_places.placed(potential, ds, normalisation)
    loss = loss.settled(dynamics, potential, trajectories=ensembles.are_trajectories(ds))
    dynamics = dataclasses.replace(dynamics, base=_base_of(base, ds, dynamics, loss))
    node_weights = weights_of_loss(loss, ds, loss.quadrature, normalisation.clock)
    if isinstance(potential, VectorField) and potential.time_harmonics is None:
        # A bounded loss has no quadrature error to exploit.
        bounded = dataclasses.replace(potential, time_harmonics=8)
        potential = bounded if loss.bounded else resolved(potential, ds, dynamics, node_weights)
    runs = Runs(ds, dynamics, loss, node_weights, loss.targets(ds, dynamics))
    judged, n_held_out = _judging(runs, held_out, driven, options)
    return Choices(
        runs=runs,
        judged=judged,
        validates=held_out is not None,
        potential=potential,
        loss=loss,
        training=dataclasses.replace(options, held_out=n_held_out),
        parameter_ranges=tuple((n, float(c.min()), float(c.max())) for n, c in ensembles.parameters(ds).items()),
        stepper_attribute=str(ds.attrs.get("stepper", "")),
    )


def _clock_of(clock: Clock | None, ds: xr.Dataset, normalisation: Normalisation, kind: Kind) -> PopulationClock | None:
    """The clock of the population that `fit` is asked for, or that helps."""
    if clock is not None:
        one_of("clock", clock, get_args(Clock))
    if clock == "physical":
        return None
    recorded = recorded_clock(ds)
    if recorded is not None:
        return recorded
    if clock == "population":
        return population_clock_of(ds, normalisation, always=True)
    # A force goes with physical time, however the marginals move.
    return population_clock_of(ds, normalisation) if kind == "gradient" else None


def _base_of(base: Base | None, ds: xr.Dataset, dynamics: Dynamics, loss: AbstractLoss) -> MomentDrift | None:
    """The base that `fit` is asked for.

    Raises:
        ValueError: an unknown one, or one that structure or loss do not go with.
    """
    if base is not None:
        one_of("base", base, get_args(Base))
    if base is None or base == "none":
        return None
    norm, kind = dynamics.normalisation, dynamics.structure.kind
    if kind != "gradient":
        raise ValueError(f"base={base!r} goes with structure='gradient' only, and the structure is {kind!r}")
    loss.require_structure(dynamics.structure, based=True)
    shift, scale = (np.asarray(values, np.float64) for values in (norm.shift, norm.scale))
    tau = norm.tau_on_host(ds["time"].values.astype(np.float64))
    return moment_drift(moment_motion(ds, shift, scale, [p is not None for p in norm.periods], tau), loss.noise)


def _judging(runs: Runs, held_out: xr.Dataset | None, driven: Sequence[str], training: Training) -> tuple[Runs, int]:
    """What judges a training, and how many samples of every run are held out for it."""
    ds, dynamics, judge = runs.ensemble, runs.dynamics, runs.loss.judged_by()
    if held_out is not None:
        judge.require_ensemble(held_out, driven)
        # Their saved times are their own, so that the rule of the training runs says nothing about them.
        return _judged(held_out, dynamics, judge, None), 0
    judged = runs if judge == runs.loss else _judged(ds, dynamics, judge, judge.quadrature)
    return judged, training.held_out_of(ds.sizes["sample"], int(np.count_nonzero(runs.node_weights)))


def _judged(ds: xr.Dataset, dynamics: Dynamics, judge: AbstractLoss, rule: Rule | None) -> Runs:
    return Runs(
        ds, dynamics, judge, weights_of_loss(judge, ds, rule, dynamics.normalisation.clock), judge.targets(ds, dynamics)
    )


def _require_samples(ds: xr.Dataset, whose: str) -> None:
    for name in ensembles.variable_names(ds):
        require_representable(f"variable {name!r}{whose}", ds[name])


def _validation_runs(training_runs: xr.Dataset, validate: xr.Dataset) -> xr.Dataset:
    ds = ensembles.validate(validate)
    for what, find in (("variables", ensembles.variables), ("parameters", lambda d: tuple(ensembles.parameters(d)))):
        if find(ds) != find(training_runs):
            raise ValueError(
                f"validate has the {what} {find(ds)!r}; they must be those of the ensemble, {find(training_runs)!r}"
            )
    ensembles.require_same_units("validate", ds, "the ensemble", training_runs)
    first, last = (float(training_runs["time"][i]) for i in (0, -1))
    if np.abs(ds["time"].values[[0, -1]] - [first, last]).max() > tolerances.overshoot(first, last):
        raise ValueError(
            f"validate has times from {float(ds['time'][0]):g} to {float(ds['time'][-1]):g}; it must span the times of "
            f"the ensemble, {first:g} to {last:g}"
        )
    _require_samples(ds, " of validate")
    return ds
