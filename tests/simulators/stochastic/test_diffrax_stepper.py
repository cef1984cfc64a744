"""Anybody's own SDE as a stepper: laws against analytic ones, every kind of noise and solver, gradients, errors."""

import dataclasses
import subprocess
import sys

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hoam_plugin as hoam
from hoam_plugin.simulators import DiffraxStepper
from hoam_plugin.steppers import Variable

KEY = jax.random.key(0)
N = 20_000
# Largest of some hundred standard normal variates; the keys are fixed.
ERROR_BARS = 4.5


def relaxation(time, x, parameters):
    return -parameters["theta"] * x


def around_one(key, n_samples, parameters):
    return 1 + 0.3 * jax.random.normal(key, (n_samples, 2))


def ornstein_uhlenbeck(**options) -> DiffraxStepper:
    """dx = -theta x dt + noise in two dimensions, from N(1, 0.3^2)."""
    arguments = {"diffusion": (0.5, 0.2), "initial": around_one, "parameters": ("theta",), "dt": 0.1}
    return DiffraxStepper(relaxation, **(arguments | options))


def at_points(stepper, x, time=0.0, parameters=None):
    """A state of `stepper` that holds given samples."""
    state = stepper.init(KEY, len(x), parameters or {})
    return dataclasses.replace(state, x=jnp.asarray(x, state.x.dtype), time=jnp.asarray(time, state.x.dtype))


def run(stepper, state, n_steps, parameters, dt, key=KEY):
    """`n_steps` equal steps, compiled, with the stepper as an argument."""

    @jax.jit
    def loop(stepper, state, parameters, key):
        def body(i, state):
            return stepper.step(state, dt, parameters, key=jax.random.fold_in(key, i))

        return jax.lax.fori_loop(0, n_steps, body, state)

    return loop(stepper, state, parameters, key)


def moments(x):
    wide = np.asarray(x, np.float64)
    return wide.mean(0), np.cov(wide.T)


# The laws


def test_full_constant_noise_gives_the_analytic_law_at_all_saved_times():
    rows = ((0.5, 0.0, 0.1), (0.4, 0.2, 0.0))
    stepper = ornstein_uhlenbeck(diffusion=rows, solver="Heun", dt=0.02)
    times, theta = np.asarray([0.0, 0.3, 1.0, 2.0]), 1.5
    ds = hoam.simulate(stepper, {"theta": [theta]}, times, key=KEY, n_samples=N, progress=False)
    assert ds["x"].dims == ("run", "time", "sample", "axis")
    sources = np.asarray(rows) @ np.asarray(rows).T
    for i, t in enumerate(times):
        decay = np.exp(-2 * theta * t)
        covariance = 0.09 * np.eye(2) * decay + sources * (1 - decay) / (2 * theta)
        mean, measured = moments(ds["x"].values[0, i])
        scale = np.sqrt(np.diag(covariance))
        assert (np.abs(mean - np.exp(-theta * t)) < ERROR_BARS * scale / np.sqrt(N)).all()
        assert (np.abs(measured - covariance) < ERROR_BARS * np.sqrt(2 / N) * np.outer(scale, scale)).all()


@pytest.mark.parametrize("solver", ["Euler", "ItoMilstein"])
def test_noise_that_grows_with_the_state_is_taken_in_the_sense_of_ito(solver):
    def start(key, n, parameters):
        return jnp.ones((n, 1))

    stepper = DiffraxStepper(lambda t, x, p: p["r"] * x, lambda t, x, p: 0.5 * x, start, ("r",), solver=solver)
    state = run(stepper, stepper.init(KEY, N, {"r": 0.3}), 200, {"r": 0.3}, 0.005)
    mean, variance = moments(state.x)
    expected = np.exp(2 * 0.3) * (np.exp(0.25) - 1)
    # In the sense of Stratonovich the mean would be 13 % larger, some 30 standard errors.
    assert abs(mean[0] - np.exp(0.3)) < ERROR_BARS * np.sqrt(expected / N)
    # The fourth moment of this log-normal law makes the error bar of the variance 2.6 times that of a normal law.
    assert abs(variance / expected - 1) < ERROR_BARS * 2.6 * np.sqrt(2 / N)


def test_noise_as_a_matrix_that_depends_on_state_time_and_parameters():
    def diffusion(time, x, parameters):
        return jnp.stack([jnp.stack([x[0], time, parameters["s"]]), jnp.stack([x[1], x[0], jnp.zeros_like(time)])])

    stepper = DiffraxStepper(lambda t, x, p: jnp.zeros_like(x), diffusion, around_one, ("s",))
    point, dt = np.asarray([0.5, -2.0]), 0.25
    state = at_points(stepper, np.tile(point, (N, 1)), time=3.0, parameters={"s": 1.0})
    mean, covariance = moments(stepper.step(state, dt, {"s": 1.0}, key=KEY).x)
    rows = np.asarray([[0.5, 3.0, 1.0], [-2.0, 0.5, 0.0]])
    expected = dt * rows @ rows.T
    scale = np.sqrt(np.diag(expected))
    assert (np.abs(mean - point) < ERROR_BARS * scale / np.sqrt(N)).all()
    assert (np.abs(covariance - expected) < ERROR_BARS * np.sqrt(2 / N) * np.outer(scale, scale)).all()


@pytest.mark.parametrize("solver", ["Euler", "Heun", "SEA", "SRA1", diffrax.ShARK()])
def test_a_large_step_has_the_law_that_the_scheme_has_on_paper(solver):
    h = 0.8
    factors = {  # of x, and variance of the noise over that of W, for dx = -x dt + dW
        "Euler": (1 - h, 1.0),
        "Heun": (1 - h + h**2 / 2, (1 - h / 2) ** 2),
        "SEA": (1 - h, (1 - h / 2) ** 2 + h**2 / 12),
        "SRA1": (1 - h + h**2 / 2, (1 - h / 2) ** 2 + h**2 / 12),
        "ShARK": (1 - h + h**2 / 2, (1 - h / 2) ** 2 * (1 + h**2 / 12)),
    }
    stepper = ornstein_uhlenbeck(diffusion=0.7, solver=solver)
    state = at_points(stepper, np.tile([1.0, -2.0], (N, 1)), parameters={"theta": 1.0})
    mean, covariance = moments(stepper.step(state, h, {"theta": 1.0}, key=KEY).x)
    factor, share = factors[solver if isinstance(solver, str) else "ShARK"]
    variance = 0.49 * h * share
    assert (np.abs(mean - factor * np.asarray([1.0, -2.0])) < ERROR_BARS * np.sqrt(variance / N)).all()
    assert (np.abs(covariance / variance - np.eye(2)) < ERROR_BARS * np.sqrt(2 / N)).all()


def test_coordinates_without_noise_move_exactly_and_the_others_independently():
    stepper = ornstein_uhlenbeck(diffusion=(0.0, 0.4))
    state = stepper.init(KEY, N, {"theta": 1.0})
    after = stepper.step(state, 0.1, {"theta": 1.0}, key=KEY)
    np.testing.assert_allclose(after.x[:, 0], 0.9 * state.x[:, 0], rtol=1e-6)
    kicks = np.asarray(after.x[:, 1] - 0.9 * state.x[:, 1], np.float64) / (0.4 * np.sqrt(0.1))
    assert abs(kicks.mean()) < ERROR_BARS / np.sqrt(N)
    assert abs(kicks.var() - 1) < ERROR_BARS * np.sqrt(2 / N)
    assert abs(np.mean(kicks[1:] * kicks[:-1])) < ERROR_BARS / np.sqrt(N)


def test_a_late_step_in_single_precision_is_as_long_as_an_early_one():
    stepper = DiffraxStepper(lambda t, x, p: jnp.ones_like(x), None, around_one, solver="Heun")
    early, late = (at_points(stepper, np.zeros((1, 2)), time=time) for time in (0.0, 4096.0))
    for state in (early, late):
        np.testing.assert_allclose(stepper.step(state, 1e-3, {}).x, 1e-3, rtol=1e-6)


def test_time_enters_the_drift():
    stepper = DiffraxStepper(lambda t, x, p: jnp.full_like(x, 3 * t**2), None, around_one, solver="Tsit5", dt=0.5)
    state = at_points(stepper, np.zeros((1, 2)), time=1.0)
    np.testing.assert_allclose(stepper.step(state, 0.5, {}).x, 1.5**3 - 1, rtol=1e-5)
    assert float(stepper.step(state, 0.5, {}).time) == 1.5


def test_without_noise_a_solver_of_higher_order_is_that_much_better(x64):
    errors = {}
    for solver in ("Euler", "Heun", "Tsit5"):
        stepper = ornstein_uhlenbeck(diffusion=None, solver=solver)
        state = stepper.init(KEY, 4, {"theta": 1.0})
        for n_steps in (16, 32):
            after = run(stepper, state, n_steps, {"theta": 1.0}, 1 / n_steps)
            errors[solver, n_steps] = float(jnp.abs(after.x - state.x * np.exp(-1.0)).max())
    for solver, order in (("Euler", 1), ("Heun", 2), ("Tsit5", 5)):
        assert np.log2(errors[solver, 16] / errors[solver, 32]) == pytest.approx(order, abs=0.35)


# Far from the origin


def constant_drift(offset: float, **options) -> DiffraxStepper:
    """Samples at 1 + offset and offset that drift by 1 in a unit of time."""

    def initial(key, n_samples, parameters):
        return jnp.tile(jnp.asarray([[1.0, 0.0]]) + offset, (n_samples, 1))

    return DiffraxStepper(lambda t, x, p: jnp.ones_like(x), initial=initial, **options)


@pytest.mark.parametrize(
    "options",
    [
        {"diffusion": None, "solver": "Euler"},
        {"diffusion": 0.3, "solver": "Heun"},
        {"diffusion": ((0.1, 0.2), (0.3, 0.0)), "solver": "SRA1"},
        {"diffusion": None, "solver": "Tsit5", "stepsize_controller": (1e-4, 1e-6)},
    ],
)
def test_steps_below_a_unit_in_the_last_place_add_up(options):
    moves = []
    for offset in (0.0, 1e5):
        stepper = constant_drift(offset, **options)
        start = stepper.init(KEY, 64, {})
        # A unit in the last place at 1e5 is .0078.
        after = run(stepper, start, 500, {}, 1e-3)
        x = (np.asarray(part, np.float64) for part in (after.x, start.x, after.remainder["x"]))
        end, begin, rest = x
        assert np.abs(rest).max() <= np.spacing(np.float32(2e5)) / 2
        moves.append(end + rest - begin)
        if options["diffusion"] is None:
            np.testing.assert_allclose(end + rest - begin, 0.5, atol=2e-5)
    np.testing.assert_allclose(moves[1], moves[0], atol=2e-5)


def test_only_samples_that_can_lose_digits_carry_remainders(x64):
    stepper = ornstein_uhlenbeck()
    assert set(stepper.init(KEY, 4, {"theta": 1.0}).remainder) == {"time"}
    plain = hoam.simulators.duffing().init(KEY, 4, {"mu": 0.2})
    assert set(plain.remainder) == {"time"}


def test_a_state_without_remainders_keeps_its_structure():
    stepper = ornstein_uhlenbeck(diffusion=None)
    state = dataclasses.replace(stepper.init(KEY, 4, {"theta": 1.0}), remainder=())
    after = stepper.step(state, 0.1, {"theta": 1.0})
    assert jax.tree.structure(after) == jax.tree.structure(state)
    np.testing.assert_allclose(after.x, 0.9 * state.x, rtol=1e-6)


def test_samples_of_half_precision_are_stepped_in_single():
    stepper = ornstein_uhlenbeck(
        initial=lambda key, n, p: around_one(key, n, p).astype(jnp.float16), diffusion=None, solver="Heun"
    )
    start = stepper.init(KEY, 64, {"theta": 1.0})
    after = run(stepper, start, 1000, {"theta": 1.0}, 1e-3)
    assert after.x.dtype == jnp.float16
    assert float(after.time) == pytest.approx(1.0, rel=1e-5)
    # Without remainders, steps of a thousandth would stay below half a unit in the last place.
    np.testing.assert_allclose(after.x.astype(jnp.float32), np.exp(-1) * start.x.astype(jnp.float32), rtol=2e-3)


# Adaptive steps


def test_adaptive_steps_reach_a_tolerance_that_one_fixed_step_misses():
    def stiff_then_slow(time, x, parameters):
        return -50 * (x - jnp.cos(time))

    fixed = DiffraxStepper(stiff_then_slow, None, around_one, solver="Tsit5")
    adaptive = dataclasses.replace(fixed, stepsize_controller=(1e-5, 1e-6))
    state = fixed.init(KEY, 16, {})
    exact = (2500 * np.cos(1.0) + 50 * np.sin(1.0)) / 2501
    np.testing.assert_allclose(jax.jit(adaptive.step)(state, 1.0, {}).x, exact, rtol=2e-4)
    assert np.abs(fixed.step(state, 1.0, {}).x - exact).max() > 1


def test_adaptive_steps_with_noise_have_the_analytic_law():
    n, theta, t = 4000, 2.0, 0.5
    stepper = ornstein_uhlenbeck(diffusion=0.5, solver="Heun", stepsize_controller=(1e-2, 1e-2), dt=0.5)
    ds = hoam.simulate(stepper, {"theta": [theta]}, [0.0, t, 2 * t], key=KEY, n_samples=n, progress=False)
    for i in (1, 2):
        decay = np.exp(-2 * theta * t * i)
        variance = 0.09 * decay + 0.25 * (1 - decay) / (2 * theta)
        mean, covariance = moments(ds["x"].values[0, i])
        assert (np.abs(mean - np.exp(-theta * t * i)) < ERROR_BARS * np.sqrt(variance / n)).all()
        assert (np.abs(covariance / variance - np.eye(2)) < ERROR_BARS * np.sqrt(2 / n)).all()


def test_a_sample_whose_adaptive_solve_fails_is_reported():
    stepper = DiffraxStepper(
        lambda t, x, p: x**2, None, lambda key, n, p: jnp.ones((n, 1)), solver="Tsit5", stepsize_controller=(1e-3, 1e-3)
    )
    with pytest.raises(FloatingPointError, match="variable 'x' became non-finite at time 2"):
        hoam.simulate(stepper, {}, [0.0, 2.0], dt=2.0, key=KEY, n_samples=2, progress=False)


# The contract


def pendulums() -> DiffraxStepper:
    """Two variables of two axes each, with friction declared as known."""

    def drift(time, x, parameters):
        return jnp.concatenate([x[2:], -parameters["k"] * x[:2] - 0.5 * x[2:]])

    return DiffraxStepper(
        drift,
        (0.0, 0.0, 0.3, 0.1),
        lambda key, n, parameters: jax.random.normal(key, (n, 4)),
        parameters=("k",),
        variables=(Variable("q", dims=("axis",)), Variable("p", dims=("axis",), velocity_of="q")),
        known=lambda time, x, parameters: jnp.concatenate([jnp.zeros_like(x[2:]), -0.5 * x[2:]]),
        solver="Heun",
    )


def test_variables_rates_noise_and_known_drift():
    stepper = pendulums()
    ds = hoam.simulate(stepper, {"k": [1.0, 2.0]}, [0.0, 0.1], key=KEY, n_samples=8, rates=True, progress=False)
    assert ds["p"].shape == (2, 2, 8, 2)
    np.testing.assert_array_equal(ds["axis"], [0, 1])
    np.testing.assert_array_equal(ds["q_rate"], ds["p"])
    k = np.asarray([1.0, 2.0], np.float32)[:, None, None, None]
    np.testing.assert_allclose(ds["p_rate"], -k * ds["q"] - 0.5 * ds["p"], rtol=1e-5, atol=1e-6)
    state = stepper.init(KEY, 8, {"k": 1.0})
    np.testing.assert_allclose(stepper.noise(state, {"k": 1.0})["p"][3], [0.3, 0.1])
    assert not np.any(stepper.noise(state, {"k": 1.0})["q"])
    np.testing.assert_allclose(stepper.known_drift(state, {"k": 1.0})["p"], -0.5 * state.p)
    assert isinstance(stepper, hoam.steppers.Stepper)


def test_only_noise_that_is_the_same_for_all_samples_is_declared():
    def diagonal(time, x, parameters):
        return jnp.full_like(x, parameters["theta"])

    state = ornstein_uhlenbeck().init(KEY, 3, {"theta": 0.5})
    declared = ornstein_uhlenbeck(diffusion=diagonal, additive=True)
    np.testing.assert_allclose(declared.noise(state, {"theta": 0.5})["x"], np.full((3, 2), 0.5))
    for stepper in (
        ornstein_uhlenbeck(diffusion=diagonal),
        ornstein_uhlenbeck(diffusion=((0.1, 0.2), (0.0, 0.3))),
        ornstein_uhlenbeck(diffusion=None),
    ):
        assert stepper.noise is None
        assert stepper.known_drift is None


def test_equal_steppers_share_one_compilation_and_parameters_batch():
    traces = []

    def drift(time, x, parameters):
        traces.append(1)
        return -parameters["theta"] * x

    first, second = (DiffraxStepper(drift, 0.1, around_one, ("theta",)) for _ in range(2))
    assert first == second
    assert hash(jax.tree.structure(first)) == hash(jax.tree.structure(second))

    @jax.jit
    def advance(stepper, theta):
        state = stepper.init(KEY, 16, {"theta": theta})
        return stepper.step(state, 0.1, {"theta": theta}, key=KEY).x

    one = advance(first, 1.0)
    seen = len(traces)
    np.testing.assert_array_equal(advance(second, 1.0), one)
    assert len(traces) == seen
    batch = jax.vmap(lambda theta: advance(first, theta))(jnp.asarray([1.0, 2.0]))
    np.testing.assert_allclose(batch[0], one, rtol=1e-6)
    np.testing.assert_allclose(batch[1], advance(first, 2.0), rtol=1e-6)


def test_the_samples_dtype_is_that_of_jax(x64):
    stepper = ornstein_uhlenbeck(solver="SRA1")
    after = stepper.step(stepper.init(KEY, 4, {"theta": 1.0}), 0.1, {"theta": 1.0}, key=KEY)
    assert {leaf.dtype for leaf in jax.tree.leaves(after)} == {np.dtype(np.float64)}


@pytest.mark.parametrize("solver", ["Euler", "ItoMilstein", "Heun", "SRA1"])
def test_gradients_equal_central_differences(x64, solver):
    additive = solver in ("Heun", "SRA1")

    def diffusion(time, x, parameters):
        return parameters["s"] * (jnp.ones_like(x) if additive else 1 + x**2)

    def drift(time, x, parameters):
        return -parameters["theta"] * x**3 + jnp.sin(time)

    stepper = DiffraxStepper(drift, diffusion, around_one, ("theta", "s"), solver=solver, additive=additive)
    start = stepper.init(KEY, 5, {"theta": 1.0, "s": 0.3})

    @jax.jit
    @jax.value_and_grad
    def outcome(inputs):
        parameters = {"theta": inputs[0], "s": inputs[1]}
        state = dataclasses.replace(start, x=start.x + inputs[2])

        def body(state, key):
            return stepper.step(state, inputs[3], parameters, key=key), None

        return jnp.sum(jnp.cos(jax.lax.scan(body, state, jax.random.split(KEY, 3))[0].x))

    inputs, h = jnp.asarray([1.3, 0.4, 0.2, 0.15]), 1e-5
    differences = [(outcome(inputs + h * e)[0] - outcome(inputs - h * e)[0]) / (2 * h) for e in np.eye(4)]
    np.testing.assert_allclose(outcome(inputs)[1], differences, rtol=1e-6, atol=1e-8)


def test_gradients_through_adaptive_steps_equal_the_exact_ones(x64):
    stepper = ornstein_uhlenbeck(diffusion=0.4, solver="Heun", stepsize_controller=(1e-3, 1e-3))
    start = stepper.init(KEY, 5, {"theta": 1.0})

    def outcome(shift):
        state = dataclasses.replace(start, x=start.x + shift)
        return jnp.mean(stepper.step(state, 0.5, {"theta": 1.3}, key=KEY).x)

    assert jax.jit(jax.grad(outcome))(0.2) == pytest.approx(np.exp(-0.65), rel=1e-3)


def test_importing_the_simulators_leaves_diffrax_alone():
    code = (
        "import sys; from hoam_plugin import simulators as s; s.duffing(); s.lorenz9(); s.trap();"
        "s.DiffraxStepper(abs, None, abs, solver='Tsit5', stepsize_controller=(1e-3, 1e-3));"
        "sys.exit('diffrax' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# Errors


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
