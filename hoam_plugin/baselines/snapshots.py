"""`SnapshotStepper`: a generative model of the population at any one time, as a Stepper."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from hoam_plugin._internal.static import pytree
from hoam_plugin._types import Key, Parameters, SampleState, Scalar, State
from hoam_plugin.baselines.methods import Method
from hoam_plugin.dynamics import Normalisation, centred, with_centred
from hoam_plugin.numerics import tolerances
from hoam_plugin.numerics.integrators import Velocity
from hoam_plugin.potentials import Embedding, FreeField, VectorField, Weights
from hoam_plugin.steppers import OfState, ParameterRow, SampleLayout, Stepper, Variable, clock, row_of, state_type
from hoam_plugin.surrogates import InPlaceOf, Provenance, TrainedRange


@pytree(data=("state",))
class InitialPopulation:
    """The `aux` of a `SnapshotStepper`: the replaced stepper's State at the start, from which every time is drawn."""

    state: State


@pytree(data=("weights", "normalisation", "replaces"), dropped=("provenance",), eq=False)
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
        trained: the ranges of parameters and times that it was trained on.
        provenance: the training configuration and history.
        snapshots: says that samples of different times are unrelated.

    Example:
        >>> from hoam_plugin import baselines
        >>> training = hoam.Training(iterations=2, n_samples=16)
        >>> flow = baselines.fit_baseline(truth, baselines.CFM(), key=key, training=training, progress=False)
        >>> flow.snapshots
        True
    """

    weights: Weights
    normalisation: Normalisation
    replaces: Stepper
    method: Method
    network: VectorField
    variables: tuple[Variable, ...]
    trained: TrainedRange
    provenance: Provenance = dataclasses.field(default_factory=Provenance)

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
        return self.trained.horizon

    @property
    def dt(self) -> float:
        """The length of the horizon, so that `simulate` takes one step per saved time."""
        return self.normalisation.duration

    def init(self, key: Key, n_samples: int, parameters: Parameters) -> SampleState:
        """Draw the initial population of the replaced stepper."""
        return self._started(self.replaces.init(key, n_samples, parameters))

    def refresh(self, state: State, parameters: Parameters) -> SampleState:
        """Take the samples of a state, this stepper's or the replaced one's, as the initial population.

        Raises:
            ValueError: a concrete time that is not the start of the horizon.
        """
        if clock.is_known(state) and not starts(self.normalisation, clock.reading(state)):
            raise ValueError(
                f"the initial samples are of time {clock.reading(state):g}; snapshots are drawn from the population at "
                f"the start of the trained horizon, {self.horizon[0]:g}"
            )
        if isinstance(state.aux, InitialPopulation):
            return self._started(self._in_the_replaced_state(state, state.aux))
        return self._started(state)

    def step(self, state: State, dt: Scalar, parameters: Parameters, key: Key | None = None) -> SampleState:
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

    def check_domain(self, parameters: Mapping[str, np.ndarray], times: np.ndarray) -> None:
        """Raise ValueError for a parameter or time outside the trained range; `simulate` calls it first."""
        self._require_inside(parameters, times)

    @property
    def diagnostics(self) -> OfState | None:
        """The replaced stepper's diagnostics of the drawn population; None where it has none."""
        theirs = self._place.diagnostics
        if theirs is None:
            return None
        return lambda state, parameters: theirs(self._in_the_replaced_state(state, state.aux), parameters)

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

    def _started(self, initial: State) -> SampleState:
        fields = {name: getattr(initial, name) for name in self._place.names}
        start = clock.at(self.horizon[0], jnp.asarray(initial.time).dtype)
        return state_type(self._place.names)(**start, **fields, aux=InitialPopulation(initial))

    def _in_the_replaced_state(self, state: State, start: InitialPopulation) -> State:
        fields = {name: getattr(state, name) for name in self._place.names}
        initial = dataclasses.replace(start.state, **fields)
        return clock.with_time(initial, state.time, clock.remainder_of(state, clock.TIME))

    def _require_inside(self, parameters: Mapping[str, ArrayLike], times: ArrayLike) -> None:
        problem = self.trained.violation(parameters, times)
        if problem is not None:
            raise ValueError(f"{problem}; train over a wider range")


def starts(norm: Normalisation, time: float) -> bool:
    """Whether a time is the start of the trained horizon, up to round-off."""
    return abs(time - norm.horizon[0]) <= tolerances.overshoot(*norm.horizon)


@jax.jit
def _draw(stepper: SnapshotStepper, state: State, parameters: ParameterRow, key: Key | None) -> State:
    """The population at the state's time."""
    norm, layout = stepper.normalisation, SampleLayout.of(stepper.variables, state)
    initial = centred(state.aux.state, layout, norm)
    dtype = initial.dtype
    weights = jax.tree.map(lambda w: w.astype(dtype), stepper.weights)
    embedding = Embedding(norm.periods, stepper.network.harmonics)
    field = FreeField(stepper.network, initial.shape[1])
    condition = norm.condition(clock.elapsed(state, norm.horizon[0]), parameters, dtype)

    def field_at(last: Float[Array, ""]) -> Velocity:
        conditions = jnp.concatenate([condition, last[None]])
        modulation = field.modulations(weights, conditions[None])[0]
        return lambda z: field.drift_at_one_time(weights, embedding, z, modulation)

    drawn = stepper.method.sample(field_at, norm.of_centred(initial), key, norm.periods)
    return with_centred(state, layout, norm, norm.wrapped(norm.centred_samples(drawn)))
