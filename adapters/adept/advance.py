"""The border to codes that step as adept does: `diffrax.ODETerm(callable(t, y, args) -> y_next)` with a fake solver.

    field = vector_field(model, dt, names={"x": "x_electron", "v": "v_electron"}, recorded={"e": "electric_field"})
    y0 = field.initial(key, n_samples, {"mu": 1.4})
    sol = diffrax.diffeqsolve(diffrax.ODETerm(field), Stepper(), 0.0, 40.0, dt, y0, args={"mu": 1.4}, saveat=...)

y is a dict of particles, fields and distributions, of which a surrogate moves the particles.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from hoam_plugin._internal.checks import positive_float, random_key, suggestion
from hoam_plugin._internal.static import pytree
from hoam_plugin._types import DTypeLike, Key, Parameters, PyTree, Scalar, State
from hoam_plugin.steppers import abilities_of, clock, default_float, state_type
from hoam_plugin.surrogates import Surrogate

from ..packing import Packed, packed

# Name to particles, a field, a distribution, or anything else that the code keeps there.
Entries: TypeAlias = Mapping[str, PyTree]


@pytree(data=("leaves", "key"), eq=False)
class Advance(Packed):
    """A surrogate's step as `callable(t, y, args) -> y_next`; see `vector_field`.

    Attributes:
        leaves: of the surrogate, which moves the particles.
        treedef: its structure.
        key: of its noise, or None.
        dt: length of a step.
        names: (variable, entry of y) of the particles.
        recorded: (entry of y, diagnostic) of what is computed from the particles after each step.

    Example:
        >>> from hoam_plugin.adapters import adept
        >>> isinstance(adept.vector_field(model, 0.25), adept.Advance)
        True
    """

    key: PyTree
    dt: float
    names: tuple[tuple[str, str], ...]
    recorded: tuple[tuple[str, str], ...]

    def __call__(self, t: Scalar, y: Entries, args: object) -> dict[str, PyTree]:
        """The entries of y after a step of the length `dt`."""
        return self.advanced(t, y, args, self.dt)

    def advanced(self, t: Scalar, y: Entries, args: object, dt: Scalar) -> dict[str, PyTree]:
        """The entries of y after a step of any length, those that are neither particles nor recorded unchanged.

        Raises:
            ValueError: an entry or a parameter that is missing, or a recorded one of another shape.
        """
        missing = [
            entry for _, entry in (*self.names, *((entry, entry) for entry, _ in self.recorded)) if entry not in y
        ]
        if missing:
            raise ValueError(f"y={list(y)!r} lacks the entries {missing!r}; `initial` makes a y that has them")
        parameters = self._parameters(args)
        samples = {name: y[entry] for name, entry in self.names}
        dtype = next(iter(samples.values())).dtype
        state = state_type(tuple(samples))(**_time(t, dtype), **samples)
        if self.surrogate.trained.policy == "fallback":
            state = self.surrogate.refresh(state, parameters)
        key = None if self.key is None else jax.random.fold_in(self.key, self._index(t))
        moved = self.surrogate.step(state, dt, parameters, key=key)
        following = {entry: getattr(moved, name) for name, entry in self.names}
        for entry, value in self._diagnosed(moved, parameters).items():
            if jnp.shape(value) != jnp.shape(y[entry]):
                raise ValueError(
                    f"y[{entry!r}] has the shape {jnp.shape(y[entry])}, but {dict(self.recorded)[entry]!r} of the "
                    f"replaced stepper has {jnp.shape(value)}; use its grid"
                )
            following[entry] = value.astype(y[entry].dtype)
        return {**y, **following}

    def initial(self, key: Key, n_samples: int, parameters: Parameters) -> dict[str, PyTree]:
        """The entries of y at the start: particles of the replaced stepper's initial population, and what is recorded.

        Raises:
            ValueError: the surrogate replaces no stepper.
        """
        state = self.surrogate.init(key, n_samples, parameters)
        return {
            **{entry: getattr(state, name) for name, entry in self.names},
            **self._diagnosed(state, self._parameters(parameters)),
        }

    @property
    def periods(self) -> dict[str, float]:
        """Period of the entries that lie on a torus."""
        entries = dict(self.names)
        return {entries[v.name]: v.period for v in self.surrogate.variables if v.period is not None}

    def _diagnosed(self, state: State, parameters: Parameters) -> dict[str, PyTree]:
        diagnostics = self.surrogate.diagnostics
        if not self.recorded or diagnostics is None:
            return {}
        values = diagnostics(state, parameters)
        return {entry: values[name] for entry, name in self.recorded}

    def _parameters(self, args: object) -> dict[str, Scalar]:
        given = args.get("parameters", args) if isinstance(args, Mapping) else {}
        missing = [name for name in self.surrogate.parameters if name not in given]
        if missing:
            raise ValueError(
                f"args={args!r} lacks the parameters {missing!r}; give them as its entries, or as those of "
                "args['parameters']"
            )
        return {name: given[name] for name in self.surrogate.parameters}

    def _index(self, t: Scalar) -> jax.Array:
        """Number of the step that starts at a time."""
        elapsed = clock.since(t, self.surrogate.horizon[0], default_float())
        return jnp.round(elapsed / self.dt).astype(jnp.int32)


def _time(t: Scalar, dtype: DTypeLike) -> dict[str, PyTree]:
    """The fields `time` and `remainder` of a state at t, which may have more digits than the samples."""
    if not isinstance(t, jax.Array):
        return clock.at(float(t), dtype)
    t = t if jnp.issubdtype(t.dtype, jnp.floating) else t.astype(default_float())
    time = clock.rounded(t.astype(dtype))
    return {"time": time, "remainder": {clock.TIME: (t - time.astype(t.dtype)).astype(dtype)}}


def vector_field(
    surrogate: Surrogate,
    dt: float,
    *,
    names: Mapping[str, str] | None = None,
    recorded: Mapping[str, str] | None = None,
    key: Key | None = None,
) -> Advance:
    """A surrogate's step as `callable(t, y, args) -> y_next`, in the place of that of an adept-style code.

    y is a dict. The entries that hold particles are moved; those in `recorded` are computed anew from the particles, as
    fields and distributions on the grid of the stepper that the surrogate replaces (see
    `hoam_plugin.adapters.vlasov.in_place_of`); all others are passed through. args are the physics parameters, or hold
    them as `args["parameters"]`. It is a pytree, so that gradients with respect to the surrogate's weights flow.

    Args:
        surrogate: what moves the particles.
        dt: length of a step; the `dt0` of the solve.
        names: variable to entry of y; the variables' own names by default.
        recorded: entry of y to diagnostic of the replaced stepper, such as {"e": "electric_field", "electron":
            "distribution"}.
        key: of the noise, from which every step draws its own.

    Raises:
        ValueError: unknown variables or diagnostics, a dt that is not positive, or noise without a key.
        TypeError: a key that is no JAX random key.

    Warns:
        UserWarning: in the precision of t the surrogate's times cannot resolve `dt`.

    Example:
        >>> from hoam_plugin.adapters import adept
        >>> field = adept.vector_field(model, 0.25)
        >>> sorted(field.initial(key, 64, {"mu": 1.4}))
        ['v', 'x']
    """
    variables = [v.name for v in surrogate.variables]
    entries = {name: name for name in variables} | dict(names or {})
    for name in entries:
        if name not in variables:
            raise ValueError(f"names has the unknown variable {name!r}; {suggestion(name, variables)}")
    diagnostics = [v.name for v in abilities_of(surrogate).diagnostic_variables]
    for name in (recorded or {}).values():
        if name not in diagnostics:
            raise ValueError(f"recorded has the unknown diagnostic {name!r}; {suggestion(name, diagnostics)}")
    if surrogate.learned.has_noise and key is None:
        raise ValueError("key=None: this surrogate has noise and needs a key, such as jax.random.key(0)")
    if key is not None:
        random_key(key)
    dt = positive_float("dt", dt)
    # diffrax adds dt to a t that keeps no remainder.
    latest = max(surrogate.horizon, key=abs)
    clock.warn_if_unresolved(state_type(())(time=np.asarray(latest, default_float())), dt)
    return Advance(*packed(surrogate), key, dt, tuple(entries.items()), tuple(dict(recorded or {}).items()))
