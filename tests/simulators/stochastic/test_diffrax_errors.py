"""What is said of equations that make no sense."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hoam_plugin.simulators import DiffraxStepper
from hoam_plugin.steppers import Variable

KEY = jax.random.key(0)


def relaxation(time, x, parameters):
    return -parameters["theta"] * x


def around_one(key, n_samples, parameters):
    return 1 + 0.3 * jax.random.normal(key, (n_samples, 2))


def ornstein_uhlenbeck(**options) -> DiffraxStepper:
    """dx = -theta x dt + noise in two dimensions, from N(1, 0.3^2)."""
    arguments = {"diffusion": (0.5, 0.2), "initial": around_one, "parameters": ("theta",), "dt": 0.1}
    return DiffraxStepper(relaxation, **(arguments | options))


@pytest.mark.parametrize(
    ("wrong", "error", "says"),
    [
        ({"diffusion": "much"}, TypeError, "diffusion='much' must be None, numbers or a function"),
        ({"diffusion": (0.1, np.nan)}, ValueError, r"diffusion=\(0.1, nan\) must be a finite number"),
        ({"initial": 3.0}, TypeError, "initial=3.0 must be a function"),
        ({"known": 1.0}, TypeError, "known=1.0 must be a function or None"),
        ({"variables": ()}, ValueError, "must name at least one variable"),
        ({"sizes": {"axes": 2}}, ValueError, r"names the dimension 'axes', but the variables have \['axis'\]"),
        ({"sizes": {"axis": 0}}, ValueError, r"sizes\['axis'\]=0 must be a whole number of at least 1"),
        ({"parameters": "theta"}, TypeError, r"parameters='theta' must be a list of names, such as \('theta',\)"),
        ({"variables": Variable("x")}, TypeError, "variables='x' must be a list of them"),
        ({"variables": (Variable("lambda"),)}, ValueError, "the variable name 'lambda' cannot be a field of a State"),
        ({"solver": diffrax.Heun}, TypeError, r"solver=Heun is a class; call it, as in solver=diffrax.Heun\(\)"),
        ({"dt": 0.0}, ValueError, "dt=0.0 must be a finite number above 0"),
        ({"horizon": (1.0, 1.0)}, ValueError, r"horizon=\(1.0, 1.0\) must be increasing"),
        ({"solver": "Eulr"}, ValueError, "solver='Eulr' is not one of Euler, .*did you mean 'Euler'"),
        ({"solver": 3}, TypeError, "solver=3 must be the name of a diffrax solver"),
        (
            {"solver": "Heun", "diffusion": relaxation},
            ValueError,
            "does not converge to the Ito solution .* 'ItoMilstein'",
        ),
        ({"solver": diffrax.Heun(), "diffusion": relaxation}, ValueError, "does not converge to the Ito solution"),
        ({"solver": "Tsit5"}, ValueError, "does not converge to the Ito solution .* 'Heun'"),
        ({"solver": "SRA1", "diffusion": None}, ValueError, "is for equations with noise"),
        ({"solver": diffrax.HalfSolver(diffrax.Euler())}, ValueError, "halves its steps"),
        ({"stepsize_controller": (1e-3, 1e-3)}, ValueError, "solver='Euler' has no error estimate .* 'Heun' or 'SRA1'"),
        ({"solver": "Heun", "stepsize_controller": (1e-3,)}, ValueError, r"must be \(rtol, atol\)"),
        ({"solver": "Heun", "stepsize_controller": 1e-3}, TypeError, "must be None, .rtol, atol. or an adaptive"),
    ],
)
def test_wrong_arguments_are_named_at_once(as_installed, wrong, error, says):
    with pytest.raises(error, match=says):
        ornstein_uhlenbeck(**wrong)


def with_initial(initial, **options):
    return ornstein_uhlenbeck(initial=initial, **options)


@pytest.mark.parametrize(
    ("stepper", "parameters", "error", "says"),
    [
        (ornstein_uhlenbeck(), {}, ValueError, r"lacks \['theta'\]"),
        (
            ornstein_uhlenbeck(),
            {"theta": float("nan")},
            ValueError,
            r"parameters\['theta'\]=nan must be a finite number",
        ),
        (
            with_initial(lambda k, n, p: jnp.zeros(n)),
            {"theta": 1.0},
            ValueError,
            r"returned the shape \(4,\); it must be",
        ),
        (with_initial(lambda k, n, p: jnp.zeros((n, 2), int)), {"theta": 1.0}, TypeError, "initial returned int32"),
        (with_initial(lambda k, n, p: np.zeros((n, 2))), {"theta": 1.0}, TypeError, "is float64 but JAX is in 32-bit"),
        (
            ornstein_uhlenbeck(sizes={"axis": 3}),
            {"theta": 1.0},
            ValueError,
            "hold 3 coordinates, but initial returned 2",
        ),
        (
            ornstein_uhlenbeck(variables=(Variable("x", dims=("i", "j")),)),
            {"theta": 1.0},
            ValueError,
            r"lacks the lengths of \['i', 'j'\]; give all but one",
        ),
        (
            ornstein_uhlenbeck(variables=(Variable("x", dims=("i",)), Variable("y", dims=("i",)), Variable("z"))),
            {"theta": 1.0},
            ValueError,
            "no length of the dimension 'i' makes up the 2 coordinates",
        ),
    ],
)
def test_a_wrong_start_is_explained(as_installed, stepper, parameters, error, says):
    with pytest.raises(error, match=says):
        stepper.init(KEY, 4, parameters)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"diffusion": (0.1, 0.2, 0.3)}, r"diffusion has the shape \(3,\) for samples of 2 coordinates"),
        ({"diffusion": lambda t, x, p: jnp.zeros(())}, r"diffusion has the shape \(\) for samples of 2 coordinates"),
    ],
)
def test_wrong_shapes_of_the_functions_are_explained(options, says):
    stepper = ornstein_uhlenbeck(**options)
    state = stepper.init(KEY, 4, {"theta": 1.0})
    with pytest.raises(ValueError, match=says):
        stepper.step(state, 0.1, {"theta": 1.0}, key=KEY)
    scalar = DiffraxStepper(lambda t, x, p: x[0], None, around_one)
    with pytest.raises(ValueError, match=r"drift returned the shape \(\) for a sample of shape \(2,\)"):
        scalar.step(scalar.init(KEY, 4, {}), 0.1, {})


def test_noise_needs_a_key():
    stepper = ornstein_uhlenbeck()
    state = stepper.init(KEY, 8, {"theta": 1.0})
    with pytest.raises(ValueError, match="key=None: the noise needs random numbers"):
        stepper.step(state, 0.1, {"theta": 1.0})
    quiet = ornstein_uhlenbeck(diffusion=(0.0, 0.0))
    np.testing.assert_allclose(quiet.step(state, 0.1, {"theta": 1.0}).x, 0.9 * state.x, rtol=1e-6)
