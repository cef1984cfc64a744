"""The generative baselines of arXiv:2410.12000: a network that draws the population of any one time from scratch."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array

from hoam_plugin import ensembles
from hoam_plugin.baselines.methods import CFM as CFM
from hoam_plugin.baselines.methods import NCSM as NCSM
from hoam_plugin.baselines.methods import Method
from hoam_plugin.baselines.training import samples_of, train
from hoam_plugin.dynamics import Normalisation, centred, normalisation_of, with_centred
from hoam_plugin.numerics import tolerances
from hoam_plugin.potentials import Embedding, FreeField, VectorField, Weights, description
from hoam_plugin.steppers import Parameters, Variable, clock, rebuild_stepper, require_representable, row_of, state_type
from hoam_plugin.surrogates import InPlaceOf, Provenance, TrainedRange, required_stepper
from hoam_plugin.training import Setup, Training


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class InitialPopulation:
    """The `aux` of a `SnapshotStepper`: the replaced stepper's State at the start, from which every time is drawn."""

    state: Any


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["weights", "normalisation", "replaces"],
    meta_fields=["method", "network", "variables", "parameter_ranges", "provenance"],
)
@dataclasses.dataclass(frozen=True, eq=False)
class SnapshotStepper:
    """A generative model of the population at (t, mu), with the interface of a stepper.

    There are no trajectories: `step` draws the population at its end anew, and of the samples it is given only their
    number counts. Samples of different times are unrelated; those of one index share at most the point of the initial
    population that `CFM` starts from, which says nothing about paths. That population rides along in the state's
    `aux`, so that the law at a time depends on no other time. `simulate` takes one step per saved time; at the start of
    the horizon it saves the initial population itself.

    Attributes:
        weights: of the network.
        normalisation: of samples, time and parameters.
        replaces: the stepper that gives the initial population and the diagnostics.
        method: how samples are drawn.
        network: the flow's velocity or the scaled score.
        variables: the components of a sample.
        parameter_ranges: (name, lowest, highest) of each trained physics parameter.
        provenance: the replaced stepper's description, the training configuration and history.
        snapshots: says that samples of different times are unrelated.
    """

    weights: Weights
    normalisation: Normalisation
    replaces: Any
    method: Method
    network: VectorField
    variables: tuple[Variable, ...]
    parameter_ranges: tuple[tuple[str, float, float], ...]
    provenance: Provenance

    snapshots: ClassVar[bool] = True

    @property
    def history(self) -> xr.Dataset | None:
        """The training loss over `iteration`."""
        return self.provenance.history

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the physics parameters."""
        return self.normalisation.parameters

    @property
    def horizon(self) -> tuple[float, float]:
        """The trained time range, physical units."""
        return self.normalisation.horizon

    @property
    def dt(self) -> float:
        """The length of the horizon, so that `simulate` takes one step per saved time."""
        return self.normalisation.duration

    def init(self, key: Array, n_samples: int, parameters: Parameters) -> Any:
        """Draw the initial population of the replaced stepper."""
        return self._started(self.replaces.init(key, n_samples, parameters))

    def refresh(self, state: Any, parameters: Parameters) -> Any:
        """Take the samples of a state, this stepper's or the replaced one's, as the initial population.

        Raises:
            ValueError: a concrete time that is not the start of the horizon.
        """
        if clock.is_known(state) and not _starts(self.normalisation, clock.reading(state)):
            raise ValueError(
                f"the initial samples are of time {clock.reading(state):g}; snapshots are drawn from the population at "
                f"the start of the trained horizon, {self.horizon[0]:g}"
            )
        if isinstance(state.aux, InitialPopulation):
            return self._started(self._in_the_replaced_state(state))
        return self._started(state)

    def step(self, state: Any, dt: Any, parameters: Parameters, key: Array | None = None) -> Any:
        """Draw the population at `state.time + dt`, as many samples as the state has.

        Raises:
            ValueError: a state that does not come from `init` or `refresh`, no key although the method draws random
                numbers, or a concrete parameter or time outside the trained range.
        """
        if not isinstance(state.aux, InitialPopulation):
            raise ValueError(
                f"state is a {type(state).__name__} that carries no initial population; take it from init, or pass a "
                "population at the start of the horizon through refresh"
            )
        if self.method.needs_key and key is None:
            raise ValueError(f"key=None: {type(self.method).__name__} draws noise and needs a key: jax.random.key(0)")
        if clock.is_known(state) and not isinstance(dt, jax.core.Tracer):
            self._require_inside(parameters, clock.reading(state) + float(dt))
        return _draw(self, clock.advanced(state, dt), row_of(parameters, self.parameters), key)

    def check_domain(self, parameters: dict[str, np.ndarray], times: np.ndarray) -> None:
        """Raise ValueError for a parameter or time outside the trained range; `simulate` calls it first."""
        self._require_inside(parameters, times)

    @property
    def diagnostics(self) -> Callable[[Any, Parameters], dict[str, Any]] | None:
        """The replaced stepper's diagnostics of the drawn population; None where it has none."""
        theirs = self._place.diagnostics
        if theirs is None:
            return None
        return lambda state, parameters: theirs(self._in_the_replaced_state(state), parameters)

    @property
    def diagnostic_variables(self) -> tuple[Variable, ...]:
        """What `diagnostics` returns."""
        return self._place.diagnostic_variables

    @property
    def coordinates(self) -> Mapping[str, Any]:
        """Values along the extra dimensions of variables and diagnostics."""
        return self._place.coordinates

    @property
    def _place(self) -> InPlaceOf:
        return InPlaceOf(self.replaces, self.variables, self.parameters)

    @property
    def _names(self) -> tuple[str, ...]:
        return tuple(v.name for v in self.variables)

    def _started(self, initial: Any) -> Any:
        fields = {name: getattr(initial, name) for name in self._names}
        start = clock.at(self.horizon[0], jnp.asarray(initial.time).dtype)
        return state_type(self._names)(**start, **fields, aux=InitialPopulation(initial))

    def _in_the_replaced_state(self, state: Any) -> Any:
        fields = {name: getattr(state, name) for name in self._names}
        initial = dataclasses.replace(state.aux.state, **fields)
        return clock.with_time(initial, state.time, clock.remainder_of(state, clock.TIME))

    def _require_inside(self, parameters: Parameters, times: Any) -> None:
        problem = TrainedRange(self.parameter_ranges, self.horizon).violation(parameters, times)
        if problem is not None:
            raise ValueError(f"{problem}; train over a wider range")


def _starts(norm: Normalisation, time: float) -> bool:
    """Whether a time is the start of the trained horizon, up to round-off."""
    return abs(time - norm.horizon[0]) <= tolerances.overshoot(*norm.horizon)


@jax.jit
def _draw(stepper: SnapshotStepper, state: Any, parameters: Any, key: Any) -> Any:
    """The population at the state's time."""
    norm, initial = stepper.normalisation, centred(state.aux.state, stepper.variables, stepper.normalisation)
    dtype = initial.dtype
    weights = jax.tree.map(lambda w: w.astype(dtype), stepper.weights)
    embedding = Embedding(norm.periods, stepper.network.harmonics)
    field = FreeField(stepper.network, initial.shape[1])
    condition = norm.condition(clock.elapsed(state, norm.horizon[0]), parameters, dtype)

    def field_at(last: Any) -> Callable[[Any], Any]:
        conditions = jnp.concatenate([condition, last[None]])
        modulation = field.modulations(weights, conditions[None])[0]
        return lambda z: field.drift_at_one_time(weights, embedding, z, modulation)

    drawn = stepper.method.sample(field_at, norm.of_centred(initial), key, norm.periods)
    return with_centred(state, stepper.variables, norm, norm.wrapped(norm.centred_samples(drawn)))


def fit_baseline(
    ensemble: xr.Dataset,
    method: Method,
    *,
    key: jax.Array,
    network: VectorField | None = None,
    training: Training | None = None,
    replaces: Any = None,
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
    """
    network, training = VectorField() if network is None else network, Training() if training is None else training
    options: dict[str, tuple[Any, tuple[type, ...]]] = {
        "method": (method, (CFM, NCSM)),
        "network": (network, (VectorField,)),
        "training": (training, (Training,)),
    }
    for name, (value, kinds) in options.items():
        if not isinstance(value, kinds):
            raise TypeError(f"{name}={value!r} must be {' or '.join(kind.__name__ + '(...)' for kind in kinds)}")
    if network.conservative:
        raise ValueError("network=VectorField(conservative=True) is a force; a baseline takes conservative=False")
    ds = ensembles.validate(ensemble)
    for name in ensembles.variable_names(ds):
        require_representable(f"variable {name!r}", ds[name])
    if ds.sizes["time"] < 2:
        raise ValueError("the ensemble has 1 saved time; a baseline needs the initial population and a later one")
    variables = ensembles.variables(ds)
    replaced = required_stepper(rebuild_stepper(ds) if replaces is None else replaces, variables)
    if replaced is None:
        raise ValueError("replaces=None, and the ensemble names no known stepper; pass the one that draws the start")
    norm = normalisation_of(ds)
    if not _starts(norm, replaced.horizon[0]):
        raise ValueError(
            f"the ensemble starts at time {norm.horizon[0]:g}, but {type(replaced).__name__} draws its population at "
            f"{replaced.horizon[0]:g}; save that time as well"
        )
    field: Any = FreeField(network, len(norm.periods))
    loss: Any = method
    setup = Setup(field, Embedding(norm.periods, network.harmonics), loss, training)
    weights, losses = train(setup, samples_of(ds, norm), norm.periods, key, progress=progress)
    configuration = {
        "method": description(method),
        "network": description(network),
        "training": dataclasses.asdict(training),
        "seed": np.asarray(jax.random.key_data(key)).tolist(),
    }
    curve = ("iteration", losses, {"units": "1", "long_name": "training loss"})
    history = xr.Dataset({"loss": curve}, {"iteration": np.arange(len(losses))})
    return SnapshotStepper(
        weights=weights,
        normalisation=norm,
        replaces=replaced,
        method=method,
        network=network,
        variables=variables,
        parameter_ranges=tuple((n, float(c.min()), float(c.max())) for n, c in ensembles.parameters(ds).items()),
        provenance=Provenance(json.dumps(configuration), history),
    )
