"""jax-md's own ensembles with the energy that a surrogate of particles has learned."""

from __future__ import annotations

import inspect
from collections.abc import Mapping

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
from .protocols import Pair, Shift


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
    force_fn = learned_force(surrogate, displacement_fn, parameters=own)
    # Within `replacing`, the name stands for this function.
    original = inspect.unwrap(getattr(jax_md_simulate(), ensemble))
    taken = inspect.signature(original).parameters
    pair: Pair = original(force_fn, shift_fn, dt, **{n: v for n, v in constants.items() if n in taken})
    return pair


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
            sides = np.stack([_side(shift_fn, dim, length / 64), _side(shift_fn, dim, length / 128)])
    except TypeError:
        sides = np.full((2, dim), np.nan)
    side = sides[0]
    # Displacements of fractional coordinates would land elsewhere.
    side = np.where(np.abs(sides[1] - side) < length / 4096, side, np.nan)
    wraps = np.abs(side) > length / 128
    if not np.isfinite(side).all() or wraps.any() != (trained is not None) or (wraps.any() and not wraps.all()):
        raise ValueError(
            "shift_fn does not say what the distance of two particles is: it must wrap positions at the sides of a box "
            f"{'as that of the training did' if trained is not None else 'nowhere, as that of the training'}; make "
            "jax-md's ensemble of learned_energy(surrogate, displacement_fn) instead"
        )
    if trained is None:
        return lambda a, b, **_: a - b

    def displacement(a: Float[Array, " dim"], b: Float[Array, " dim"], **_: object) -> Float[Array, " dim"]:
        return nearest_image(a - b, jnp.asarray(side, a.dtype))

    return displacement


def _side(shift_fn: Shift, dim: int, step: float) -> np.ndarray:
    """Where a small step down from the origin leads to, less that step: the side of the box, or 0."""
    return np.asarray(shift_fn(jnp.zeros((1, dim)), jnp.full((1, dim), -step)))[0] + step
