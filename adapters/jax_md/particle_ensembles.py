"""jax-md's own ensembles with the energy that a surrogate of particles has learned."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hoam_plugin._types import Parameters, Scalar
from hoam_plugin.numerics.periodic import nearest_image
from hoam_plugin.surrogates import Surrogate

from .jax_md_modules import jax_md_simulate, usual_promotions
from .particle_energy import Displacement, learned_force
from .particles_as_samples import PositionAndMomentum
from .protocols import Pair, Shift, SystemState

# Keywords of jax-md's displacements that say other lengths than those of the space.
_DEFORMING = ("box", "new_box", "perturbation")


def particle_ensemble(
    ensemble: str,
    variables: PositionAndMomentum,
    surrogate: Surrogate,
    shift_fn: Shift,
    dt: Scalar,
    constants: Mapping[str, Scalar],
    parameters: Parameters,
) -> Pair:
    """What jax-md's function of that name returns for the learned energy: thermostats are its own.

    Any number of particles in any box: the space is that of `shift_fn`.

    Args:
        ensemble: name of jax-md's function.
        variables: of the surrogate.
        surrogate: with a potential of particles.
        shift_fn: moves positions.
        dt: time step.
        constants: the ensemble's own arguments, such as `kT`; they are also values of parameters of these names.
        parameters: values of the others.

    Raises:
        ValueError: a shift from which distances do not follow.
    """
    displacement_fn = displacement_of(shift_fn, variables.position_shape[1], variables.period)
    own = {n: constants[n] for n in surrogate.parameters if n in constants} | dict(parameters)
    learned = learned_force(surrogate, displacement_fn, parameters=own)

    def force_fn(R: Array, *, of_this_step: Parameters | None = None, **kwargs: object) -> Array:
        return learned(R, **(kwargs | dict(of_this_step or {})))

    def passing_on(function: Callable[..., SystemState]) -> Callable[..., SystemState]:
        """Parameters that a call changes reach the force too: jax-md keeps a `kT` to its thermostat."""

        @functools.wraps(function)
        def called(*args: object, **kwargs: object) -> SystemState:
            changed = {n: kwargs[n] for n in surrogate.parameters if n in kwargs and n in taken}
            return function(*args, **kwargs, **({"of_this_step": changed} if changed else {}))

        return called

    # Within `replacing`, the name stands for this function.
    original = inspect.unwrap(getattr(jax_md_simulate(), ensemble))
    taken = inspect.signature(original).parameters
    init_fn, apply_fn = original(force_fn, shift_fn, dt, **{n: v for n, v in constants.items() if n in taken})
    return passing_on(init_fn), passing_on(apply_fn)


def displacement_of(shift_fn: Shift, dim: int, trained: float | None) -> Displacement:
    """The displacement of the space in which a shift moves positions.

    Args:
        shift_fn: moves positions.
        dim: number of axes.
        trained: period of the positions in the training, or None.

    Raises:
        ValueError: a shift that wraps other than at the sides of a box, or does not wrap although the training did.
    """
    length = 1.0 if trained is None else trained
    try:
        with jax.ensure_compile_time_eval(), usual_promotions():
            sides = np.stack([_sides(shift_fn, dim, length / 64), _sides(shift_fn, dim, length / 128)])
    except TypeError:
        sides = np.full((2, dim, dim), np.nan)
    side = np.diagonal(sides[0])
    # Displacements of fractional coordinates would land elsewhere, and those along an axis of a sheared box beside it.
    side = np.where(np.abs(sides - np.diag(side)).max(axis=(0, 1)) < length / 4096, side, np.nan)
    wraps = np.abs(side) > length / 128
    if not np.isfinite(side).all() or wraps.any() != (trained is not None) or (wraps.any() and not wraps.all()):
        raise ValueError(
            "shift_fn does not say what the distance of two particles is: it must wrap positions at the sides of a box "
            f"{'as that of the training did' if trained is not None else 'nowhere, as that of the training'}; make "
            "jax-md's ensemble of learned_energy(surrogate, displacement_fn) instead"
        )
    if trained is None:
        return lambda a, b, **_: a - b

    def displacement(a: Float[Array, " dim"], b: Float[Array, " dim"], **keywords: object) -> Float[Array, " dim"]:
        deforming = [name for name in _DEFORMING if keywords.get(name) is not None]
        if deforming:
            raise ValueError(
                f"{deforming[0]}= changes distances, and this ensemble has those of its shift_fn; make jax-md's "
                "ensemble of learned_energy(surrogate, displacement_fn) instead, which hands it on to displacement_fn"
            )
        return nearest_image(a - b, jnp.asarray(side, a.dtype))

    return displacement


def _sides(shift_fn: Shift, dim: int, step: float) -> np.ndarray:
    """Where small steps down along each axis lead to from the origin, less that step: (axis of the step, axis).

    Its diagonal is the sides of the box, or 0; the rest is 0.
    """
    steps = -step * jnp.eye(dim)
    return np.asarray(shift_fn(jnp.zeros((dim, dim)), steps) - steps)
