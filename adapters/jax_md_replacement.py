"""A surrogate as jax-md's pair of functions `init_fn` and `apply_fn`."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from hoam_plugin import extrapolation
from hoam_plugin.adapters import jax_md_samples, jax_md_spaces
from hoam_plugin.adapters.jax_md_import import jax_md_simulate, usual_promotions
from hoam_plugin.adapters.jax_md_samples import Columns
from hoam_plugin.adapters.jax_md_states import check, state_class
from hoam_plugin.adapters.jax_md_stepper import JaxMDStepper
from hoam_plugin.steppers import default_float
from hoam_plugin.surrogate import Surrogate

# Keywords that say where particles or what their neighbours are; the learned dynamics need none of them.
_HARMLESS = ("t", "neighbor", "neighbors", "neighbor_idx", "nbrs", "nbr_lists", "box", "new_box", "perturbation")
_BOXES = ("box", "new_box")
# A gap of a whole number of steps must not be cut into one more by round-off.
_ROUND_OFF = 1e-5


@dataclasses.dataclass(frozen=True, eq=False)
class Replacement:
    """What a surrogate in the place of one of jax-md's ensembles needs beside itself.

    Attributes:
        ensemble: name of jax-md's function.
        columns: position and momentum among the surrogate's variables.
        surrogate: the surrogate.
        shift_fn: moves positions.
        dt: time step.
        constants: the ensemble's own parameters (`kT`, `gamma`).
        parameters: values of the surrogate's other parameters.
        chain: length and period of a Nose-Hoover chain, or None.
    """

    ensemble: str
    columns: Columns
    surrogate: Surrogate
    shift_fn: Callable[..., Any]
    dt: Any
    constants: Mapping[str, Any]
    parameters: Mapping[str, Any]
    chain: tuple[int, Any] | None = None

    # The start.

    def start(
        self, begin: Callable[..., Any], key: Any, R: Any, mass: Any, momenta: Any, kT: Any, keywords: dict[str, Any]
    ) -> Any:
        """The state of `init_fn`: checks what is known while tracing, then calls `begin`, the compiled method."""
        shape = np.shape(R)
        self.columns.require_shape(shape)
        self._require_mass(mass)
        fits = self._fits(shape[1], keywords)
        own = {n: keywords.pop(n) for n in self.surrogate.parameters if n in keywords}
        stored = {n: v for n, v in {**self.parameters, **own}.items() if n not in self.constants}
        if "kT" in self.surrogate.parameters and "kT" not in self.constants:
            stored["kT"] = kT
        parameters = {**{n: v for n, v in self.constants.items() if n in self.surrogate.parameters}, **stored}
        time = self.surrogate.horizon[0]
        self._check_domain(parameters, np.asarray([time]))
        complete = all(n in parameters for n in self.surrogate.parameters)
        return begin(self.surrogate, key, R, mass, momenta, kT, stored, parameters if complete else None, fits)

    def begin(
        self,
        surrogate: Surrogate,
        key: Any,
        R: Any,
        mass: Any,
        momenta: Any,
        kT: Any,
        stored: Any,
        parameters: Any,
        fits: Any,
    ) -> Any:
        """The state of `init_fn`, traceable; momenta and random numbers are drawn as jax-md draws them."""
        simulate = jax_md_simulate()
        position = jnp.asarray(R) if momenta is None else jnp.asarray(R, jnp.promote_types(R.dtype, momenta.dtype))
        position = jnp.where(fits, position, jnp.nan)
        if self.ensemble == "nvt_langevin":
            rng, draw = jax.random.split(key)
        else:
            # Where jax-md draws momenta from the key itself, or keeps it.
            rng, draw = key if self.ensemble == "brownian" else jax.random.fold_in(key, 1), key
        time = jnp.asarray(surrogate.horizon[0], default_float())
        clock = {
            "time": time,
            "time_lost": jnp.zeros_like(time),
            "parameters": {n: jnp.asarray(v).astype(position.dtype) for n, v in stored.items()},
        }
        with usual_promotions():
            if self.ensemble == "brownian":
                state = state_class("brownian")(position=position, mass=mass, rng=rng, **clock)
                return simulate.canonicalize_mass(state)
            held = {"chain": None} if self.chain is not None else {}
            state = state_class(self.ensemble)(
                position=position, momentum=None, force=None, mass=mass, rng=rng, **held, **clock
            )
            state = simulate.canonicalize_mass(state)
            drawn = simulate.initialize_momenta(state, draw, kT).momentum if momenta is None else momenta
            state = state.set(momentum=jnp.asarray(drawn).astype(position.dtype))
        force = jnp.zeros_like(position)
        if parameters is not None:
            plain = self.columns.state(time, position, state.momentum, state.mass)
            rate = jax_md_samples.learned_rate(surrogate, plain, self._as_arrays(parameters, position.dtype))
            force = self.columns.force(rate, state.mass, position.shape)
        state = state.set(force=force)
        return state if self.chain is None else state.set(chain=self._chain_at_rest(state, kT))

    # A step.

    def move(self, advance: Callable[..., Any], state: Any, keywords: dict[str, Any]) -> Any:
        """The state of `apply_fn`: checks what is known while tracing, then calls `advance`, the compiled method."""
        if not hasattr(state, "time"):
            raise TypeError(
                f"state={type(state).__name__} carries no time of a surrogate; make states with the init_fn that came "
                "with this apply_fn"
            )
        dt = keywords.pop("dt", self.dt)
        n_substeps = self.substeps(dt)
        parameters = self._parameters_of_step(state, keywords)
        kT = keywords.pop("kT", self.constants.get("kT"))
        fits = self._fits(state.position.shape[1], keywords) if any(n in keywords for n in _BOXES) else True
        self._warn_of_ignored(keywords)
        is_traced = any(isinstance(leaf, jax.core.Tracer) for leaf in (state.position, state.time, dt))
        times: Any = state.time
        if not is_traced:
            times = np.asarray([float(state.time), float(state.time) + float(dt)])
        self._check_domain(parameters, times)
        size = jnp.asarray(dt).astype(state.time.dtype)
        boxes = {name: keywords[name] for name in _BOXES if name in keywords}
        moved, displacement = advance(self.surrogate, state, size, parameters, kT, boxes, n_substeps=n_substeps)
        # Not compiled with the rest, which needs none of the keywords: neighbour lists compile anew.
        with usual_promotions():
            position = self.shift_fn(state.position, displacement, **keywords).astype(state.position.dtype)
            moved = moved.set(position=position if fits is True else jnp.where(fits, position, jnp.nan))
        return moved if isinstance(moved.position, jax.core.Tracer) else check(moved)

    def advance(
        self,
        surrogate: Surrogate,
        state: Any,
        dt: Any,
        parameters: Any,
        kT: Any,
        boxes: Any,
        n_substeps: int | None,
    ) -> tuple[Any, Any]:
        """The state of `apply_fn` but for its positions, and their displacement; traceable.

        `n_substeps` is None for a time step that is being traced.
        """
        columns, shape, dtype = self.columns, state.position.shape, state.position.dtype
        rng, key = jax.random.split(state.rng)
        parameters = self._as_arrays(parameters, dtype)
        momentum = getattr(state, "momentum", None)
        first = columns.state(state.time, state.position, momentum, state.mass)
        if surrogate.on_extrapolation == "fallback":
            first = surrogate.refresh(first, parameters)
        n: Any = n_substeps
        if n is None:
            n = jnp.maximum(1, jnp.ceil(dt / surrogate.dt - _ROUND_OFF)).astype(jnp.int32)
        size = dt / jnp.asarray(n, dt.dtype)

        def substep(i: Any, plain: Any) -> Any:
            return surrogate.step(plain, size, parameters, key=jax.random.fold_in(key, i))

        before = first if n_substeps == 1 else jax.lax.fori_loop(0, n - 1, substep, first)
        after = substep(n - 1, before)
        displacement = self._as_displacement(columns.displacement(first, after, shape), boxes)
        time, lost = _sum(state.time, state.time_lost, dt)
        moved = state.set(rng=rng, time=time, time_lost=lost)
        if self.ensemble == "brownian":
            return moved, displacement
        last = jax.random.fold_in(key, n - 1)
        rate = jax_md_samples.learned_rate_of_step(surrogate, before, after, size, parameters, last)
        moved = moved.set(
            momentum=columns.momenta(after, state.mass, shape).astype(state.momentum.dtype),
            force=columns.force(rate, state.mass, shape).astype(state.force.dtype),
        )
        if self.chain is None:
            return moved, displacement
        chain = self._chain_at_rest(moved, kT)
        as_before = jax.tree.map(lambda new, old: new.astype(old.dtype), chain, state.chain)
        chain = state.chain.set(kinetic_energy=as_before.kinetic_energy, mass=as_before.mass)
        return moved.set(chain=chain), displacement

    def _as_displacement(self, change: Any, boxes: Mapping[str, Any]) -> Any:
        """What `shift_fn` must be given so that positions change by `change`."""
        matrix = jax_md_spaces.displacement_map(self.shift_fn, change.shape[1], self.columns.period, boxes)
        if jax_md_spaces.is_identity(matrix):
            return change
        return change @ jnp.linalg.inv(jnp.asarray(matrix, change.dtype)).T

    def _chain_at_rest(self, state: Any, kT: Any) -> Any:
        """A Nose-Hoover chain that holds no energy, so that jax-md's invariant is the energy of the particles."""
        assert self.chain is not None
        length, tau = self.chain
        p = state.momentum
        n_dof = p.size
        kT, tau = (jnp.asarray(value).astype(p.dtype) for value in (kT, tau))
        mass = (kT * tau**2 * jnp.ones(length, p.dtype)).at[0].multiply(n_dof)
        kinetic = jnp.sum(p**2 / jnp.asarray(state.mass, p.dtype)) / 2
        rest = jnp.zeros(length, p.dtype)
        return jax_md_simulate().NoseHooverChain(rest, rest, mass, tau, kinetic, n_dof)

    # Checks.

    def _parameters_of_step(self, state: Any, keywords: dict[str, Any]) -> dict[str, Any]:
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
                self._require_unchanged(name, keywords[name])
                if name != "kT":
                    del keywords[name]
        return values

    def _require_unchanged(self, name: str, value: Any) -> None:
        have = self.constants[name]
        if value is have:
            return
        if isinstance(value, jax.core.Tracer) or isinstance(have, jax.core.Tracer):
            changed = f"{name} is being traced and may change"
        elif not np.allclose(np.asarray(value), np.asarray(have), rtol=1e-6):
            changed = (
                f"{name}={np.asarray(value).tolist()!r} is not the {np.asarray(have).tolist()!r} of {self.ensemble}"
            )
        else:
            return
        raise ValueError(
            f"{changed}, but the surrogate was not trained over {name}; leave it constant, or train over several values"
        )

    def _check_domain(self, parameters: Mapping[str, Any], times: Any) -> None:
        """Apply the surrogate's policy to what is known while tracing."""
        model = self.surrogate
        extrapolation.enforce(
            model.on_extrapolation, extrapolation.violation(parameters, times, model.ranges, model.horizon)
        )

    def _fits(self, dim: int, keywords: Mapping[str, Any]) -> Any:
        """Whether `shift_fn` has the trained box, as a traceable boolean.

        Raises:
            ValueError: it has not, as far as is known while tracing.
        """
        period = self.columns.period
        fits = jax_md_spaces.shifts_as(self.shift_fn, dim, period, keywords)
        if isinstance(fits, jax.core.Tracer) or bool(fits):
            return fits
        trained = "in free space" if period is None else f"in a periodic box of {period:g}"
        raise ValueError(
            f"shift_fn does not move positions {trained}, where the surrogate was trained; use the space of the "
            "training (positions must be wrapped), or train in this one"
        )

    def _require_mass(self, mass: Any) -> None:
        replaced = self.surrogate.replaces
        if not isinstance(replaced, JaxMDStepper) or isinstance(mass, jax.core.Tracer):
            return
        trained, given = np.asarray(replaced.setup.mass), np.asarray(mass)
        same = given.size in (1, trained.size) or trained.size == 1
        if not (same and np.allclose(given.ravel(), trained.ravel(), rtol=1e-5)):
            raise ValueError(
                f"mass={given.tolist()!r} is not the {trained.tolist()!r} that the surrogate was trained with; "
                "give the same"
            )

    def substeps(self, dt: Any) -> int | None:
        """Steps of the surrogate's own size, or smaller, that make up `dt`; None where it is being traced.

        Raises:
            ValueError: a step that is not positive, or longer than the trained time range.
        """
        if isinstance(dt, jax.core.Tracer):
            return None
        size, duration = float(np.asarray(dt)), self.surrogate.horizon[1] - self.surrogate.horizon[0]
        if not (math.isfinite(size) and 0 < size <= duration * (1 + _ROUND_OFF)):
            raise ValueError(
                f"dt={size!r} must be above 0 and at most {duration:g}, the length of the time range that the "
                "surrogate was trained on"
            )
        return max(1, math.ceil(size / self.surrogate.dt - _ROUND_OFF))

    def _warn_of_ignored(self, keywords: Mapping[str, Any]) -> None:
        for name, value in keywords.items():
            is_number = isinstance(value, float | np.ndarray | np.floating | jax.Array)
            if name not in _HARMLESS and is_number and jnp.issubdtype(jnp.result_type(value), jnp.floating):
                warnings.warn(
                    f"the keyword {name!r} is ignored: the surrogate was trained over "
                    f"{list(self.surrogate.parameters)!r}",
                    UserWarning,
                    stacklevel=4,
                )

    @staticmethod
    def _as_arrays(parameters: Mapping[str, Any], dtype: Any) -> dict[str, Any]:
        return {name: jnp.asarray(value).astype(dtype) for name, value in parameters.items()}

    def pair(self) -> tuple[Callable[..., Any], Callable[..., Any]]:
        """`init_fn` and `apply_fn`."""
        # Compiled here and not for the whole module, so that what they refer to goes with them, as in jax-md.
        begin = jax.jit(self.begin)
        advance = jax.jit(self.advance, static_argnames=("n_substeps",))
        one = np.float32(1.0)

        def init_nve(key: Any, R: Any, kT: Any, mass: Any = one, momenta: Any = None, **kwargs: Any) -> Any:
            return self.start(begin, key, R, mass, momenta, kT, kwargs)

        def init_nvt(key: Any, R: Any, mass: Any = one, momenta: Any = None, **kwargs: Any) -> Any:
            kT = kwargs.pop("kT", self.constants["kT"])
            return self.start(begin, key, R, mass, momenta, kT, kwargs)

        def init_brownian(key: Any, R: Any, mass: Any = one, **kwargs: Any) -> Any:
            return self.start(begin, key, R, mass, None, self.constants["kT"], kwargs)

        def apply_fn(state: Any, **kwargs: Any) -> Any:
            return self.move(advance, state, kwargs)

        starts: dict[str, Callable[..., Any]] = {"nve": init_nve, "brownian": init_brownian}
        return starts.get(self.ensemble, init_nvt), apply_fn


def _sum(total: Any, lost: Any, term: Any) -> tuple[Any, Any]:
    """A sum and what its rounding has lost (Kahan 1965, doi:10.1145/363707.363723): many small steps add up exactly."""
    term = term - lost
    new = total + term
    return new, (new - total) - term
