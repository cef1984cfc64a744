"""A surrogate's own step as a diffrax solver. Imports diffrax, so it is itself imported when a solver is made."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp

from hoam_plugin._types import Key, PyTree, Scalar
from hoam_plugin.surrogates import one_step

from ..packing import Packed
from .learned_terms import BrownianMotion, Drift, condition, samples

_ORDERS = {"euler": 1, "heun": 2, "rk4": 4}


class OwnStep(diffrax.AbstractItoSolver, diffrax.AbstractStratonovichSolver):
    """The step that `Surrogate.solve` takes, on samples y of shape (..., D), with the noise of the same key.

    The noise of a surrogate does not depend on where its samples are, so that Ito and Stratonovich agree.
    """

    packed: Packed
    centred: bool = eqx.field(static=True)

    term_structure: ClassVar = diffrax.AbstractTerm
    interpolation_cls: ClassVar[Callable[..., diffrax.LocalLinearInterpolation]] = diffrax.LocalLinearInterpolation

    def order(self, terms: PyTree) -> int:
        """Order of the step without noise."""
        model = self.packed.surrogate
        if model.options.integrator is not None:
            return _ORDERS[model.options.integrator]
        return 2 if model.learned.structure.kind == "kinetic" or model.learned.has_noise else 4

    def strong_order(self, terms: PyTree) -> float:
        """Order with noise, which does not depend on the samples."""
        return 1.0

    def init(self, terms: PyTree, t0: Scalar, t1: Scalar, y0: PyTree, args: PyTree) -> jax.Array:
        """The number of the step, from which its noise is drawn."""
        self._key(terms)
        return jnp.zeros((), jnp.int32)

    def step(
        self,
        terms: PyTree,
        t0: Scalar,
        t1: Scalar,
        y0: PyTree,
        args: PyTree,
        solver_state: PyTree,
        made_jump: PyTree,
    ) -> tuple[PyTree, None, dict[str, PyTree], PyTree, PyTree]:
        """One step; positions are not wrapped, so that they can be interpolated."""
        model, key = self.packed.surrogate, self._key(terms)
        learned, options = model.learned, model.options
        y = samples(learned, y0, self.centred).reshape(-1, y0.shape[-1])
        # diffrax lets time run backwards by a change of its sign. The end as well has to lie in the trained range.
        direction = _parts(terms)[0].direction
        (start, row), (end, _) = (condition(model, direction * t, y0, args, self.centred) for t in (t0, t1))
        dt = end - start
        step_key = None if key is None else jax.random.fold_in(key, solver_state)
        inside = learned.normalisation.wrapped(y)
        increment = one_step.increment(learned, options.noise, inside, start, dt, row, step_key)
        moved = one_step.moved(learned, options.integrator, y, start, dt, row, increment)
        y1 = (moved if self.centred else learned.normalisation.physical(moved)).reshape(y0.shape).astype(y0.dtype)
        return y1, None, {"y0": y0, "y1": y1}, solver_state + 1, diffrax.RESULTS.successful

    def func(self, terms: PyTree, t0: Scalar, y0: PyTree, args: PyTree) -> PyTree:
        """The vector field of the terms."""
        return terms.vf(t0, y0, args)

    def _key(self, terms: PyTree) -> Key | None:
        """The key of the noise in terms that belong to a surrogate.

        Raises:
            ValueError: other terms, samples measured in another way, or noise that is not known by its key.
        """
        parts = [getattr(part, "term", part) for part in _parts(terms)]
        if not isinstance(getattr(parts[0], "vector_field", None), Drift):
            raise ValueError(
                f"terms={type(parts[0]).__name__}: solver(surrogate) takes steps of terms(surrogate) alone; for other "
                "terms, such as those that BacksolveAdjoint solves backwards, name another solver, as in "
                "BacksolveAdjoint(solver=diffrax.Tsit5())"
            )
        if parts[0].vector_field.centred != self.centred:
            raise ValueError(
                f"terms: solver(surrogate, centred={self.centred}) needs terms(surrogate, centred={self.centred}), "
                "which measure samples and times in the same way"
            )
        if not self.packed.surrogate.learned.has_noise:
            return None
        path = getattr(parts[-1], "control", None)
        if not isinstance(path, BrownianMotion):
            raise ValueError(
                "terms: solver(surrogate) draws the noise of its steps itself; use terms(surrogate, key=key), without "
                "path="
            )
        return path.key


def _parts(terms: PyTree) -> tuple[PyTree, ...]:
    """The terms of a sum, each wrapped by `diffeqsolve` together with the direction of time."""
    return terms.terms if isinstance(terms, diffrax.MultiTerm) else (terms,)
