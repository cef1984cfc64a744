"""Configurations of particles have hundreds of coordinates, and what is compiled does not grow with their number."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hoam_plugin.dynamics import Dynamics, Normalisation
from hoam_plugin.dynamics.structure import structure_of
from hoam_plugin.steppers import SampleLayout, Variable


def dynamics(n: int, *, velocity_first: bool = False) -> Dynamics:
    """Positions on a torus, one more coordinate, and velocities."""
    box = 2.0
    variables = [
        Variable("x", dims=("particle",), period=box),
        Variable("y", dims=("particle",), period=3.0),
        Variable("h", dims=("particle",)),
        Variable("v", dims=("particle",), velocity_of="x"),
        Variable("w", dims=("particle",), velocity_of="y"),
        Variable("g", dims=("particle",), velocity_of="h"),
    ]
    if velocity_first:
        variables = variables[3:] + variables[:3]
    structure = structure_of("kinetic", variables, [n] * 6)
    d, rng = 6 * n, np.random.default_rng(0)
    scale = jnp.asarray(rng.uniform(0.5, 2, d))
    lengths = np.repeat([np.nan if v.period is None else v.period for v in variables], n)
    periods = tuple(None if np.isnan(p) else float(p / s) for p, s in zip(lengths, np.asarray(scale), strict=True))
    norm = Normalisation(
        shift=jnp.asarray(rng.standard_normal(d)),
        scale=scale,
        parameter_shift=jnp.zeros(0),
        parameter_scale=jnp.ones(0),
        periods=periods,
        horizon=(0.0, 1.0),
        parameters=(),
    )
    layout = SampleLayout(tuple(variables), ((n,),) * 6)
    return Dynamics(normalisation=norm, stepper=None, structure=structure, layout=layout)


@pytest.mark.parametrize("velocity_first", [False, True])
def test_positions_move_with_their_velocities_and_are_wrapped_column_by_column(velocity_first: bool) -> None:
    of = dynamics(3, velocity_first=velocity_first)
    norm = of.normalisation
    y = jnp.asarray(np.random.default_rng(1).uniform(-9, 9, (5, 18)), norm.scale.dtype)
    drift, x = np.asarray(of.drift(y, 0.0, {})), np.asarray(norm.physical(y))
    expected = np.zeros_like(drift)
    for position, velocity in of.structure.kinematics:
        expected[:, position] = x[:, velocity]
    np.testing.assert_array_equal(drift, expected)
    inside = np.asarray(norm.wrapped(y))
    for d, period in enumerate(norm.periods):
        if period is None:
            np.testing.assert_array_equal(inside[:, d], y[:, d])
        else:
            length = period * float(norm.scale[d])
            turns = (inside[:, d] - np.asarray(y[:, d])) / length
            np.testing.assert_allclose(turns, np.round(turns), atol=20 * np.finfo(np.float32).eps)
            assert (inside[:, d] >= 0).all()
            assert (inside[:, d] < length).all()


def test_what_is_compiled_does_not_grow_with_the_number_of_particles() -> None:
    """Particles of one kind have one scale."""

    def size(n: int) -> int:
        of = dynamics(n)
        norm = of.normalisation
        alike = Normalisation(
            **{
                **{name: getattr(norm, name) for name in ("shift", "parameter_shift", "parameter_scale", "parameters")},
                "scale": jnp.ones(6 * n),
                "periods": (2.0,) * n + (3.0,) * n + (None,) * (4 * n),
                "horizon": (0.0, 1.0),
            }
        )
        of = Dynamics(normalisation=alike, stepper=None, structure=of.structure, layout=of.layout)
        y = jnp.zeros((5, 6 * n))
        return str(jax.make_jaxpr(lambda y: (of.drift(y, 0.0, {}), alike.wrapped(y)))(y)).count(" = ")

    assert 0 < size(40) == size(4)
