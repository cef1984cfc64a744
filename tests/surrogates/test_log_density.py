import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy
from jax.scipy.stats import norm
from made_once import made_once

import hoam_plugin as hoam
from hoam_plugin.steppers import state_type
from hoam_plugin.surrogates import log_density, with_learned

MU = {"mu": 1.5}


def standard_normal(x: Any) -> Any:
    return norm.logpdf(x[:, 0])


def gaussian(dt: float = 0.02) -> hoam.Surrogate:
    return toy.gaussian_surrogate().with_options(dt=dt)


def population(model: hoam.Surrogate, y: Any, time: float) -> Any:
    return model.learned.in_place.state_from_samples({"y": y}, jnp.asarray(time))


@made_once
def kinetic() -> hoam.Surrogate:
    """A force on the velocities alone, not trained."""
    structure = hoam.fit(
        toy.small_plasma_ensemble(),
        key=jax.random.key(1),
        structure="kinetic",
        potential=hoam.CoLoRA(width=8, depth=2, rank=2, hyper_width=5),
        loss=hoam.ActionMatching(),
        training=hoam.Training(iterations=10, n_samples=64, block=10, learning_rate=2e-2, warmup=2),
        progress=False,
    )
    return structure.with_options(integrator="rk4", dt=0.05)


def jacobian_log_determinant(model: hoam.Surrogate, z: Any, parameters: Any) -> tuple[Any, Any]:
    """Where the flow takes samples by the end of the horizon, and log |det| of its Jacobian there, by brute force."""
    names = [v.name for v in model.variables]
    times = jnp.asarray([model.horizon[1]])

    def flow(row: Any) -> Any:
        state = state_type(tuple(names))(
            time=jnp.asarray(model.horizon[0]), **{name: row[i : i + 1] for i, name in enumerate(names)}
        )
        moved = model.solve(state, times, parameters)
        return jnp.stack([getattr(moved, name)[0, 0] for name in names])

    return jax.jit(jax.vmap(lambda row: (flow(row), jnp.linalg.slogdet(jax.jacfwd(flow)(row))[1])))(z)


@pytest.mark.long
@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("case", ["gaussian", "torus", pytest.param("kinetic", marks=pytest.mark.slow)])
def test_it_is_that_of_the_jacobian_of_the_flow(case):
    model = {"gaussian": gaussian, "torus": toy.plasma_surrogate, "kinetic": kinetic}[case]().with_options(dt=0.05)
    z = jax.random.normal(jax.random.key(0), (5, len(model.variables)))

    def initial(x: Any) -> Any:
        return norm.logpdf(x[:, -1]) + (jnp.cos(2 * jnp.pi * x[:, 0] / 50) if case != "gaussian" else 0.0)

    moved, change = jacobian_log_determinant(model, z, MU)
    state = state_type(tuple(v.name for v in model.variables))(
        jnp.asarray(model.horizon[1]), *jnp.unstack(moved, axis=1)
    )
    found = model.log_prob(state, MU, initial_log_prob=initial)
    assert found.dtype == jnp.float64
    np.testing.assert_allclose(found, initial(z) - change, atol=1e-5)
    assert float(jnp.max(jnp.abs(change))) > 1e-3


@pytest.mark.long
@pytest.mark.usefixtures("x64")
def test_it_integrates_to_one_and_differentiates():
    model = gaussian()
    y = jnp.linspace(-4, 10, 1001)
    density = jnp.exp(model.log_prob(population(model, y, 2.0), MU, initial_log_prob=standard_normal))
    assert float(jnp.trapezoid(density, y)) == pytest.approx(1, abs=1e-6)

    def total(mu: Any, shift: Any) -> Any:
        at = population(model, jnp.linspace(0.0, 5.0, 1001) + shift, 2.0)
        return jnp.mean(model.log_prob(at, {"mu": mu}, initial_log_prob=standard_normal))

    point, h = (jnp.asarray(1.5), jnp.asarray(0.1)), 1e-5
    mu, shift = jax.grad(total, argnums=(0, 1))(*point)
    assert float(mu) == pytest.approx(float((total(1.5 + h, 0.1) - total(1.5 - h, 0.1)) / (2 * h)), rel=1e-5)
    assert float(shift) == pytest.approx(float((total(1.5, 0.1 + h) - total(1.5, 0.1 - h)) / (2 * h)), rel=1e-5)


@pytest.mark.long
def test_random_directions_are_unbiased():
    model = toy.plasma_surrogate().with_options(dt=0.2)
    state = dataclasses.replace(model.init(jax.random.key(0), 8, MU), time=jnp.asarray(4.0))

    def initial(x: Any) -> Any:
        return norm.logpdf(x[:, 1])

    exact = model.log_prob(state, MU, initial_log_prob=initial, trace="exact")
    keys = jax.random.split(jax.random.key(1), 64)
    drawn = jax.vmap(lambda key: model.log_prob(state, MU, initial_log_prob=initial, trace="hutchinson", key=key))(keys)
    error = jnp.mean(drawn, axis=0) - exact
    standard = jnp.std(drawn, axis=0) / 8
    assert float(jnp.sqrt(jnp.mean((error / standard) ** 2))) < 2
    assert float(jnp.min(standard)) > 0


def test_pushed_forward_and_taken_back_it_is_the_same():
    model = gaussian()
    start = population(model, jnp.linspace(-2.0, 2.0, 9), 0.0)
    moved, pushed = log_density.push_forward(model, start, 2.0, MU, standard_normal(start.y[:, None]), dt=0.05)
    assert float(moved.time) == 2.0
    solved = model.solve(start, jnp.asarray([2.0]), MU).y[0]
    np.testing.assert_allclose(moved.y, solved, atol=1e-5)
    np.testing.assert_allclose(model.log_prob(moved, MU, initial_log_prob=standard_normal), pushed, atol=1e-4)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Known:
    """A stepper that knows the density of its initial population; nobody asks it for samples."""

    mean: float = dataclasses.field(default=0.0, metadata={"static": True})
    variables = (hoam.Variable("y"),)
    parameters = ("mu",)
    dt = 0.1
    horizon = (0.0, 2.0)
    init = step = refresh = staticmethod(lambda *_: None)

    def log_density(self, x: Any, parameters: Any) -> Any:
        return norm.logpdf(x[:, 0], self.mean)


def test_the_replaced_stepper_may_know_the_initial_density():
    model = gaussian()
    state = population(model, jnp.linspace(-2.0, 2.0, 9), 1.0)
    found = with_learned(model, replaces=Known()).log_prob(state, MU)
    np.testing.assert_allclose(found, model.log_prob(state, MU, initial_log_prob=standard_normal), rtol=1e-6)
    with pytest.raises(ValueError, match="log_density"):
        model.log_prob(state, MU)


def test_what_has_no_such_density_is_refused():
    model = gaussian()
    state = population(model, jnp.zeros(3), 1.0)
    with pytest.raises(ValueError, match=r"epsilon=0\.3"):
        with_learned(model, epsilon=0.3).log_prob(state, MU, initial_log_prob=standard_normal)
    with pytest.raises(ValueError, match="needs a key"):
        model.log_prob(state, MU, initial_log_prob=standard_normal, trace="hutchinson")
    with pytest.raises(ValueError, match="one number per sample"):
        model.log_prob(state, MU, initial_log_prob=lambda x: norm.logpdf(x))
    late = dataclasses.replace(state, time=jnp.asarray(3.0))
    with pytest.raises(ValueError, match="outside the trained horizon"):
        model.log_prob(late, MU, initial_log_prob=standard_normal)
    traced = jax.jit(lambda mu: model.log_prob(state, {"mu": mu}, initial_log_prob=standard_normal))
    assert bool(jnp.isnan(traced(9.0)).all())


@pytest.mark.usefixtures("as_installed")
def test_an_unknown_kind_of_trace_is_refused():
    model = gaussian()
    with pytest.raises(ValueError, match="must be one of 'auto'"):
        model.log_prob(population(model, jnp.zeros(3), 1.0), MU, initial_log_prob=standard_normal, trace="some")
