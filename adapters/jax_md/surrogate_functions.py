"""A surrogate as jax-md's pair of functions `init_fn` and `apply_fn`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from hoam_plugin._internal.checks import random_key
from hoam_plugin._types import ArrayLike, DTypeLike, Key, Parameters, SampleState, Scalar
from hoam_plugin.steppers import clock, default_float
from hoam_plugin.surrogates import Surrogate, react

from . import ensemble_arguments, momenta_and_chain, particles_as_samples, spaces
from .jax_md_modules import jax_md_simulate, usual_promotions
from .particles_as_samples import PositionAndMomentum
from .protocols import InitFn, Pair, Shift, SystemState
from .surrogate_states import SurrogateState, check, state_class

Beyond = Literal["raise", "hold"]
# What programs give by keyword, to be taken from as it is used.
Keywords: TypeAlias = dict[str, Any]
_BOXES = ("box", "new_box")


@dataclasses.dataclass(frozen=True)
class Compiled:
    """The compiled methods of a `Replacement`."""

    begin: Callable[..., SurrogateState]
    advance: Callable[..., tuple[SurrogateState, jax.Array, jax.Array]]
    land: Callable[..., SurrogateState]


@dataclasses.dataclass(frozen=True, eq=False)
class Replacement:
    """What a surrogate in the place of one of jax-md's ensembles needs beside itself.

    Attributes:
        ensemble: name of jax-md's function.
        variables: position and momentum among those of the surrogate.
        surrogate: the surrogate.
        shift_fn: moves positions.
        dt: time step.
        constants: the ensemble's own parameters (`kT`, `gamma`).
        parameters: values of the surrogate's other parameters.
        chain: length and period of a Nose-Hoover chain, or None.
        beyond: "raise" (as the surrogate's `on_extrapolation` says) or "hold" (the dynamics of the end of the trained
            time range go on) after that range.
    """

    ensemble: str
    variables: PositionAndMomentum
    surrogate: Surrogate
    shift_fn: Shift
    dt: Scalar
    constants: Mapping[str, Scalar]
    parameters: Mapping[str, Scalar]
    chain: tuple[int, Scalar] | None = None
    beyond: Beyond = "raise"

    # The start.

    def start(
        self,
        compiled: Compiled,
        key: Key,
        R: ArrayLike,
        mass: ArrayLike,
        momenta: ArrayLike | None,
        kT: Scalar,
        keywords: Keywords,
    ) -> SurrogateState:
        """The state of `init_fn`: checks what is known while tracing, then calls the compiled method."""
        random_key(key)
        shape = np.shape(R)
        self.variables.require_shape(shape)
        ensemble_arguments.require_start(shape, mass, momenta, kT)
        ensemble_arguments.require_mass(self.surrogate, mass)
        fits = self._fits(shape[1], keywords)
        own = {n: keywords.pop(n) for n in self.surrogate.parameters if n in keywords}
        stored = {n: v for n, v in {**self.parameters, **own}.items() if n not in self.constants}
        if "kT" in self.surrogate.parameters and "kT" not in self.constants:
            stored["kT"] = kT
        parameters = {**{n: v for n, v in self.constants.items() if n in self.surrogate.parameters}, **stored}
        self._check_domain(parameters, np.asarray([self.surrogate.horizon[0]]))
        complete = all(n in parameters for n in self.surrogate.parameters)
        return compiled.begin(self.surrogate, key, R, mass, momenta, kT, stored, parameters if complete else None, fits)

    def begin(
        self,
        surrogate: Surrogate,
        key: Key,
        R: jax.Array,
        mass: jax.Array,
        momenta: jax.Array | None,
        kT: Scalar,
        stored: Parameters,
        parameters: Parameters | None,
        fits: jax.Array,
    ) -> SurrogateState:
        """The state of `init_fn`, traceable; momenta and random numbers are drawn as jax-md draws them."""
        simulate = jax_md_simulate()
        position = jnp.asarray(R) if momenta is None else jnp.asarray(R, jnp.promote_types(R.dtype, momenta.dtype))
        position = jnp.where(fits, position, jnp.nan)
        rng, draw = momenta_and_chain.keys(self.ensemble, key)
        now: dict[str, Any] = clock.at(surrogate.horizon[0], default_float())
        now["remainder"] |= self.variables.no_remainders(position)
        now["parameters"] = {n: jnp.asarray(v).astype(position.dtype) for n, v in stored.items()}
        with usual_promotions():
            if self.ensemble == "brownian":
                state = state_class("brownian")(position=position, mass=mass, rng=rng, **now)
                return simulate.canonicalize_mass(state)
            held = {"chain": None} if self.chain is not None else {}
            state = state_class(self.ensemble)(
                position=position, momentum=None, force=None, mass=mass, rng=rng, **held, **now
            )
            state = simulate.canonicalize_mass(state)
            drawn = momenta_and_chain.drawn_momenta(state, draw, kT) if momenta is None else momenta
            state = state.set(momentum=jnp.asarray(drawn).astype(position.dtype))
        force = jnp.zeros_like(position)
        if parameters is not None:
            plain = self.variables.state(state)
            rate = particles_as_samples.learned_rate(
                surrogate.learned, plain, self._as_arrays(parameters, position.dtype)
            )
            force = self.variables.force(rate, state.mass, position.shape)
        state = state.set(force=force)
        return state if self.chain is None else state.set(chain=momenta_and_chain.chain_at_rest(state, kT, *self.chain))

    # A step.

    def move(self, compiled: Compiled, state: SystemState, keywords: Keywords) -> SurrogateState:
        """The state of `apply_fn`: checks what is known while tracing, then calls the compiled methods."""
        if not isinstance(state, SurrogateState):
            raise TypeError(
                f"state={type(state).__name__} carries no time of a surrogate; make states with the init_fn that came "
                "with this apply_fn"
            )
        dt = keywords.pop("dt", self.dt)
        n_substeps = ensemble_arguments.substeps(self.surrogate, dt)
        parameters = self._parameters_of_step(state, keywords)
        kT = keywords.pop("kT", self.constants.get("kT"))
        fits = self._fits(state.position.shape[1], keywords) if any(n in keywords for n in _BOXES) else True
        ensemble_arguments.warn_of_ignored(self.surrogate, keywords)
        is_traced = any(isinstance(leaf, jax.core.Tracer) for leaf in (state.position, state.time, dt))
        times: ArrayLike = state.time
        if not is_traced:
            now = clock.reading(state)
            times = np.asarray([now, now + float(dt)])
            times = np.minimum(times, self.surrogate.horizon[1]) if self.beyond == "hold" else times
        self._check_domain(parameters, times)
        size = jnp.asarray(dt).astype(state.time.dtype)
        boxes = {name: keywords[name] for name in _BOXES if name in keywords}
        moved, change, displacement = compiled.advance(
            self.surrogate, state, size, parameters, kT, boxes, n_substeps=n_substeps
        )
        # Not compiled with the rest, which needs none of the keywords: neighbour lists compile anew.
        with usual_promotions():
            position = self.shift_fn(state.position, displacement, **keywords)
        moved = compiled.land(moved, position, change, fits)
        return moved if isinstance(moved.position, jax.core.Tracer) else check(moved)

    def advance(
        self,
        surrogate: Surrogate,
        state: SurrogateState,
        dt: jax.Array,
        parameters: Parameters,
        kT: Scalar | None,
        boxes: Mapping[str, jax.Array],
        n_substeps: int | None,
    ) -> tuple[SurrogateState, jax.Array, jax.Array]:
        """The state of `apply_fn` but for its positions, how much these change, and by which displacement; traceable.

        `n_substeps` is None for a time step that is being traced.
        """
        variables, shape, dtype = self.variables, state.position.shape, state.position.dtype
        rng, key = jax.random.split(state.rng)
        parameters = self._as_arrays(parameters, dtype)
        first = self._within_horizon(surrogate, variables.state(state), dt)
        if surrogate.trained.policy == "fallback":
            first = surrogate.refresh(first, parameters)
        n = ensemble_arguments.traced_substeps(surrogate, dt) if n_substeps is None else n_substeps
        size = dt / jnp.asarray(n, dt.dtype)

        def substep(i: int | jax.Array, plain: SampleState) -> SampleState:
            return surrogate.step(plain, size, parameters, key=jax.random.fold_in(key, i))

        before = first if n_substeps == 1 else jax.lax.fori_loop(0, n - 1, substep, first)
        after = substep(n - 1, before)
        change = variables.change(state, after)
        displacement = self._as_displacement(change, boxes)
        moved = clock.advanced(state, dt).set(rng=rng)
        if self.ensemble == "brownian":
            return moved, change, displacement
        last = jax.random.fold_in(key, n - 1)
        rate = particles_as_samples.learned_rate_of_step(
            surrogate.learned, surrogate.options.noise, before, after, size, parameters, last
        )
        moved = variables.with_momenta(moved, after)
        moved = moved.set(force=variables.force(rate, state.mass, shape).astype(state.force.dtype))
        if self.chain is None or kT is None:
            return moved, change, displacement
        chain = momenta_and_chain.chain_at_rest(moved, kT, *self.chain)
        as_before = jax.tree.map(lambda new, old: new.astype(old.dtype), chain, state.chain)
        chain = state.chain.set(kinetic_energy=as_before.kinetic_energy, mass=as_before.mass)
        return moved.set(chain=chain), change, displacement

    def land(self, state: SurrogateState, position: jax.Array, change: jax.Array, fits: jax.Array) -> SurrogateState:
        """The state with positions that `shift_fn` has moved, and what it had to round off; traceable."""
        old = state.position
        position = jnp.where(fits, position, jnp.nan).astype(old.dtype)
        if "position" not in state.remainder:
            return state.set(position=position)
        lost = (change - clock.rounded(position - old)).astype(old.dtype)
        return state.set(position=position, remainder={**state.remainder, "position": lost})

    def _within_horizon(self, surrogate: Surrogate, plain: SampleState, dt: jax.Array) -> SampleState:
        """A state from which a step ends within the trained time range, where `beyond` says so."""
        if self.beyond == "raise":
            return plain
        start, end = surrogate.horizon
        latest = jnp.asarray(end - start, dt.dtype) - dt
        return clock.with_elapsed(plain, start, jnp.minimum(clock.elapsed(plain, start), latest))

    def _as_displacement(self, change: jax.Array, boxes: Mapping[str, jax.Array]) -> jax.Array:
        """What `shift_fn` must be given so that positions change by `change`."""
        matrix = spaces.displacement_map(self.shift_fn, change.shape[1], self.variables.period, boxes)
        if spaces.is_identity(matrix):
            return change
        return change @ jnp.linalg.inv(jnp.asarray(matrix, change.dtype)).T

    # Checks.

    def _parameters_of_step(self, state: SurrogateState, keywords: Keywords) -> dict[str, Scalar]:
        """Values of the surrogate's parameters; takes what it knows out of `keywords`.

        Raises:
            ValueError: one is missing, or one that was not trained over is changed.
        """
        known = {**self.constants, **state.parameters}
        values = {}
        for name in self.surrogate.parameters:
            if name in keywords:
                # kT stays for the chain.
                values[name] = keywords[name] if name == "kT" else keywords.pop(name)
            elif name in known:
                values[name] = known[name]
        missing = [name for name in self.surrogate.parameters if name not in values]
        if missing:
            raise ValueError(
                f"the surrogate's parameters {missing!r} are not known; give them to init_fn or apply_fn as keywords, "
                f"or to {self.ensemble} as parameters={{{missing[0]!r}: ...}}"
            )
        for name in self.constants:
            if name in keywords and name not in self.surrogate.parameters:
                ensemble_arguments.require_unchanged(self.ensemble, name, self.constants[name], keywords[name])
                if name != "kT":
                    del keywords[name]
        return values

    def _check_domain(self, parameters: Parameters, times: ArrayLike) -> None:
        """Apply the surrogate's policy to what is known while tracing."""
        trained = self.surrogate.trained
        problem = trained.violation(parameters, times)
        if problem is not None and trained.violation(parameters, np.asarray([])) is None:
            problem += " (with beyond='hold' the dynamics of its end go on)"
        react(trained.policy, problem)

    def _fits(self, dim: int, keywords: Mapping[str, object]) -> jax.Array:
        """Whether `shift_fn` has the trained box, as a traceable boolean.

        Raises:
            ValueError: it has not, as far as is known while tracing.
        """
        period = self.variables.period
        fits = spaces.shifts_as(self.shift_fn, dim, period, keywords)
        if isinstance(fits, jax.core.Tracer) or bool(fits):
            return fits
        trained = "in free space" if period is None else f"in a periodic box of {period:g}"
        raise ValueError(
            f"shift_fn does not move positions {trained}, where the surrogate was trained; use the space of the "
            "training (positions must be wrapped), or train in this one"
        )

    @staticmethod
    def _as_arrays(parameters: Parameters, dtype: DTypeLike) -> dict[str, jax.Array]:
        return {name: jnp.asarray(value).astype(dtype) for name, value in parameters.items()}

    def pair(self) -> Pair:
        """`init_fn` and `apply_fn`."""
        # Compiled here and not for the whole module, so that what they refer to goes with them, as in jax-md.
        advance = jax.jit(self.advance, static_argnames=("n_substeps",))
        compiled, one = Compiled(jax.jit(self.begin), advance, jax.jit(self.land)), np.float32(1.0)

        def init_nve(
            key: Key,
            R: ArrayLike,
            kT: Scalar,
            mass: ArrayLike = one,
            momenta: ArrayLike | None = None,
            **kwargs: Any,
        ) -> SurrogateState:
            return self.start(compiled, key, R, mass, momenta, kT, kwargs)

        def init_nvt(
            key: Key,
            R: ArrayLike,
            mass: ArrayLike = one,
            momenta: ArrayLike | None = None,
            **kwargs: Any,
        ) -> SurrogateState:
            kT = kwargs.pop("kT", self.constants["kT"])
            return self.start(compiled, key, R, mass, momenta, kT, kwargs)

        def init_brownian(key: Key, R: ArrayLike, mass: ArrayLike = one, **kwargs: Any) -> SurrogateState:
            return self.start(compiled, key, R, mass, None, self.constants["kT"], kwargs)

        def apply_fn(state: SystemState, **kwargs: Any) -> SurrogateState:
            return self.move(compiled, state, kwargs)

        starts: dict[str, InitFn] = {"nve": init_nve, "brownian": init_brownian}
        return starts.get(self.ensemble, init_nvt), apply_fn
