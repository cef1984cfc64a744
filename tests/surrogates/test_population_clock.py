"""Surrogates whose time goes with the population: what they do in physical time is what it should be."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.stats import norm as normal

import hoam_plugin as hoam
from hoam_plugin.dynamics import Normalisation, PopulationClock, Structure, clock_through
from hoam_plugin.potentials import POTENTIALS, ScalarPotential, Streams, per_row
from hoam_plugin.steppers import SampleLayout, Variable, state_type
from hoam_plugin.surrogates import LearnedDynamics, Options, Surrogate, TrainedRange, log_density

pytestmark = pytest.mark.usefixtures("x64")

START, DURATION, SCALE = 100.0, 5.0, 2.0
A, B = -1.5, 2.0


@dataclasses.dataclass(frozen=True)
class Quadratic(ScalarPotential):
    """s(z, tau) = a z^2 / 2 + b (2 tau - 1) z."""

    width: int = 1
    depth: int = 1
    harmonics: int = 1

    def init(self, key: Any, n_features: int, n_conditions: int) -> Any:
        return {"a": jnp.asarray(A), "b": jnp.asarray(B)}

    def modulations(self, weights: Any, conditions: Any) -> Any:
        return jnp.stack([jnp.full(len(conditions), weights["a"]), weights["b"] * conditions[:, 0]], axis=1)

    def propagate(self, weights: Any, streams: Any, modulations: Any, rates: Any) -> Any:
        a, b = per_row(modulations, streams).T
        z = streams.value[:, 0]
        slope = a * z + b
        laplacian = None if streams.laplacian is None else slope * streams.laplacian[:, 0] + a
        value = a * z**2 / 2 + b * z
        return Streams(value, slope[None, :] * streams.gradient[..., 0], laplacian, slope * streams.rate[:, 0])

    def value(self, weights: Any, features: Any, modulation: Any) -> Any:
        return modulation[0] * features[:, 0] ** 2 / 2 + modulation[1] * features[:, 0]


@dataclasses.dataclass(frozen=True)
class Nothing(Quadratic):
    """A potential that moves nothing."""

    def init(self, key: Any, n_features: int, n_conditions: int) -> Any:
        return {"a": jnp.asarray(0.0), "b": jnp.asarray(0.0)}


def clock() -> PopulationClock:
    knots = np.asarray([0, 0.02, 0.05, 0.09, 0.15, 0.24, 0.4, 0.65, 1.0])
    return clock_through(knots, np.linspace(0, 1, 9))


def surrogate(
    of: PopulationClock | None, *, epsilon: float = 0.0, dt: float = 0.02, potential: Any = None, **options: Any
) -> Surrogate:
    """One coordinate at scale 2 around 7, driven by the quadratic potential."""
    potential = potential or Quadratic()
    norm = Normalisation(
        jnp.asarray([7.0]), jnp.asarray([SCALE]), jnp.zeros(0), jnp.zeros(0), (None,), (START, START + DURATION), (), of
    )
    learned = LearnedDynamics(
        weights=potential.init(None, 1, 1),
        normalisation=norm,
        replaces=None,
        potential=potential,
        layout=SampleLayout((Variable("x"),), ((),)),
        structure=Structure("gradient", (0,)),
        epsilon=epsilon,
        known_noise=False,
        known_drift=False,
    )
    return Surrogate(learned, TrainedRange((), norm.horizon), Options(dt, **options))


def state(x: Any, time: float = START) -> Any:
    return state_type(("x",))(jnp.asarray(time), jnp.asarray(x))


def mean_of(tau: Any, z: Any) -> Any:
    """The solution of dz/dtau = a z + b (2 tau - 1)."""
    particular = -(B / A) * (2 * tau - 1) - 2 * B / A**2
    return particular + (z + -B / A + 2 * B / A**2) * np.exp(A * tau)


TIMES = START + DURATION * np.asarray([0.0, 0.03, 0.11, 0.5, 1.0])


@pytest.mark.parametrize("way", ["solve", "equal steps", "steps", "simulate", "traced"])
def test_a_field_in_the_clock_is_solved_exactly_in_time(way: str) -> None:
    model = surrogate(clock())
    z = np.asarray([-1.0, 0.3, 2.0])
    begin = state(7 + SCALE * z)
    if way == "solve":
        x = model.solve(begin, TIMES, {}).x
    elif way == "equal steps":
        x = model.solve(begin, TIMES, {}, dt=0.01).x
    elif way == "traced":
        x = jax.jit(lambda times: model.solve(begin, times, {}).x)(jnp.asarray(TIMES))
    elif way == "simulate":
        x = hoam.simulate(model, {}, TIMES, key=jax.random.key(0), n_samples=3, initial=begin, progress=False)[
            "x"
        ].values[0]
    else:
        # One step may be as long as the phase allows, whatever the clock does in it.
        now, found = begin, [begin.x]
        for gap in np.diff(TIMES):
            for _ in range(80):
                now = model.step(now, gap / 80, {})
            found.append(now.x)
        x = jnp.stack(found)
    tau = clock().tau_on_host((TIMES - START) / DURATION)
    wanted = 7 + SCALE * mean_of(tau[:, None], z[None, :])
    # Fourth order in the clock, in which the field is smooth, across its knots as well.
    np.testing.assert_allclose(x, wanted, atol=3e-8)


def test_its_own_steps_are_even_in_the_clock() -> None:
    n = 25
    coarse = surrogate(clock(), dt=DURATION / n)
    z = np.asarray([0.5])
    end = coarse.solve(state(7 + SCALE * z), TIMES[[-1]], {}).x[0]
    even = surrogate(None, dt=DURATION / n).solve(state(7 + SCALE * z), TIMES[[-1]], {}).x[0]
    np.testing.assert_allclose(end, even, rtol=1e-12)
    together = hoam.simulate(
        coarse, {}, TIMES[[0, -1]], key=jax.random.key(0), n_samples=1, initial=state(7 + SCALE * z), progress=False
    )
    np.testing.assert_allclose(together["x"].values[0, -1], end, rtol=1e-12)


def test_rates_are_physical() -> None:
    model, h = surrogate(clock()), 1e-5
    x = np.asarray([3.0, 8.0])
    for time in (START + 0.07, START + 1.9):
        ends = [model.step(state(x, time), step, {}).x for step in (-h, h)]
        velocity = model.velocity(x[:, None], time, {})[:, 0]
        np.testing.assert_allclose(velocity, (ends[1] - ends[0]) / (2 * h), rtol=1e-6)
        np.testing.assert_allclose(model.rates(state(x, time), {})["x"], velocity, rtol=1e-12)


@pytest.mark.long
def test_gradients_through_a_solution_equal_central_differences() -> None:
    model = surrogate(clock(), dt=0.25)

    @jax.jit
    def goal(values: Any) -> Any:
        return jnp.sum(jnp.sin(model.solve(state(values[:2]), START + values[2:], {}).x))

    at = jnp.asarray([5.0, 9.0, 0.4, 2.2])
    reverse, h = jax.jit(jax.grad(goal))(at), 1e-6
    wanted = [float((goal(at.at[i].add(h)) - goal(at.at[i].add(-h))) / (2 * h)) for i in range(4)]
    np.testing.assert_allclose(reverse, wanted, rtol=1e-6)
    np.testing.assert_allclose(jax.jvp(goal, (at,), (at,))[1], reverse @ at, rtol=1e-10)


def test_a_clock_that_goes_with_time_changes_nothing() -> None:
    even = clock_through([0, 0.25, 1], [0, 0.25, 1])
    key, x = jax.random.key(3), np.linspace(3, 11, 50)
    solved, stepped = (
        [of_model(surrogate(of, epsilon=epsilon)) for of in (None, even)]
        for epsilon, of_model in (
            (0.4, lambda model: model.solve(state(x), TIMES, {}, key=key).x),
            (0.0, lambda model: model.step(state(x), 0.03, {}, key=key).x),
        )
    )
    np.testing.assert_allclose(solved[1], solved[0], rtol=1e-12)
    np.testing.assert_allclose(stepped[1], stepped[0], rtol=1e-12)


def test_entropic_noise_is_even_in_the_clock() -> None:
    n, epsilon = 40_000, 0.7
    model = surrogate(clock(), epsilon=epsilon, dt=0.1, potential=Nothing(), noise="independent")
    x = model.solve(state(np.full(n, 7.0)), TIMES, {}, key=jax.random.key(0)).x
    tau = clock().tau_on_host((TIMES - START) / DURATION)
    np.testing.assert_allclose(np.var(x, axis=1), (SCALE * epsilon) ** 2 * tau, rtol=0.03)


@dataclasses.dataclass(frozen=True)
class Bath:
    """Friction and noise that are known, per physical time."""

    variables = (Variable("q"), Variable("v", velocity_of="q"))
    parameters = ()
    dt = 0.1
    horizon = (START, START + DURATION)

    def init(self, key: Any, n_samples: int, parameters: Any) -> Any:
        raise NotImplementedError

    def step(self, state: Any, dt: Any, parameters: Any, key: Any = None) -> Any:
        raise NotImplementedError

    def refresh(self, state: Any, parameters: Any) -> Any:
        return state

    def known_drift(self, state: Any, parameters: Any) -> Any:
        return {"v": -0.8 * state.v}

    def noise(self, state: Any, parameters: Any) -> Any:
        return {"v": jnp.asarray(0.6)}


jax.tree_util.register_static(Bath)


@pytest.mark.long
@pytest.mark.parametrize("integrator", [None, "heun"])
def test_known_friction_and_noise_are_per_physical_time(integrator: Any) -> None:
    n = 40_000
    base = surrogate(clock(), dt=0.05, potential=Nothing(), noise="independent", integrator=integrator)
    two = dataclasses.replace(
        base.learned.normalisation, shift=jnp.zeros(2), scale=jnp.asarray([3.0, 0.5]), periods=(None, None)
    )
    learned = dataclasses.replace(
        base.learned,
        normalisation=two,
        replaces=Bath(),
        layout=SampleLayout(Bath.variables, ((), ())),
        structure=Structure("kinetic", (1,), ((0, 1),), (1.0,)),
        known_noise=True,
        known_drift=True,
    )
    model = dataclasses.replace(base, learned=learned)
    begin = state_type(("q", "v"))(jnp.asarray(START), q=jnp.zeros(n), v=jnp.ones(n))
    reached = model.solve(begin, TIMES, {}, key=jax.random.key(1))
    t = TIMES - START
    np.testing.assert_allclose(np.mean(reached.v, axis=1), np.exp(-0.8 * t), atol=8e-3)
    np.testing.assert_allclose(np.mean(reached.q, axis=1), (1 - np.exp(-0.8 * t)) / 0.8, atol=2e-2)
    np.testing.assert_allclose(np.var(reached.v, axis=1), 0.6**2 * (1 - np.exp(-1.6 * t)) / 1.6, rtol=0.04, atol=1e-12)
    z = jnp.asarray([[0.3, -1.2]])
    for time in (0.05, 3.0):
        # What the loss sees is the same per tau, at the pace of the clock.
        condition = two.condition(jnp.asarray(time), {}, jnp.float64)
        drift, noise = learned.dynamics.normalised(z, condition)
        unit = DURATION / clock().rate_on_host(np.asarray([time / DURATION])).item()
        np.testing.assert_allclose(drift[0], [unit * 0.5 * -1.2 / 3.0, -0.8 * unit * -1.2], rtol=1e-12)
        np.testing.assert_allclose(noise[0], [0.0, 0.6 * unit**0.5 / 0.5], rtol=1e-12)


@pytest.mark.long
def test_log_density_is_that_of_the_moved_normal() -> None:
    model = surrogate(clock())
    x = np.asarray([4.0, 7.0, 9.5])
    for time, dt in ((START + 0.2, None), (START + 4.0, 0.01)):
        found = log_density.log_prob(
            model, state(x, time), {}, initial_log_prob=lambda x: normal.logpdf(x[:, 0], 7.0, SCALE), dt=dt
        )
        tau = clock().tau_on_host(np.asarray([(time - START) / DURATION])).item()
        wanted = normal.logpdf(x, 7 + SCALE * mean_of(tau, 0.0), SCALE * np.exp(A * tau))
        np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_a_file_holds_the_clock_bit_for_bit(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(POTENTIALS, "Quadratic", Quadratic)
    for of in (clock(), None):
        surrogate(of).save(tmp_path / "m.hoam", overwrite=True)
        found = hoam.load(tmp_path / "m.hoam").learned.normalisation.clock
        assert (found and found.fields()) == (of and of.fields())
