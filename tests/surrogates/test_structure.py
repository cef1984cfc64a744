"""Action matching around known drifts: exact forces of solvable dynamics, and the loss against a naive formulation."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy
import xarray as xr

import hoam_plugin as hoam
from hoam_plugin.dynamics.structure import structure_of, with_metric
from hoam_plugin.losses import cells as merging
from hoam_plugin.losses.batch import Batch
from hoam_plugin.losses.evaluation import loss_and_gradient, loss_value
from hoam_plugin.potentials.embedding import Embedding
from hoam_plugin.potentials.forms import bound
from hoam_plugin.steppers import Variable, state_type
from hoam_plugin.surrogates import provenance_of, with_learned

STRENGTHS = (1.0, 2.0, 3.0)
SMALL_FIELD = hoam.VectorField(width=24, depth=3, time_harmonics=1)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Trap:
    """dv = (-mu x - friction v) dt + amplitude dW: what a surrogate may know of it is friction and noise."""

    friction: float = dataclasses.field(default=0.0, metadata={"static": True})
    amplitude: float = dataclasses.field(default=0.0, metadata={"static": True})
    dt: float = dataclasses.field(default=0.05, metadata={"static": True})
    horizon: tuple[float, float] = dataclasses.field(default=(0.0, 2.0), metadata={"static": True})

    @property
    def variables(self) -> tuple[Variable, ...]:
        return Variable("x"), Variable("v", velocity_of="x")

    @property
    def parameters(self) -> tuple[str, ...]:
        return ("mu",)

    def init(self, key: Any, n_samples: int, parameters: Any) -> Any:
        draws = jax.random.normal(key, (n_samples, 2))
        state = state_type(("x", "v"))
        return state(time=jnp.zeros(()), x=1.0 + 0.5 * draws[:, 0], v=0.5 * draws[:, 1])

    def step(self, state: Any, dt: Any, parameters: Any, key: Any = None) -> Any:
        half = state.x + dt / 2 * state.v
        noise = self.amplitude * jnp.sqrt(dt) * jax.random.normal(key, half.shape)
        v = state.v + dt * (-parameters["mu"] * half - self.friction * state.v) + noise
        return dataclasses.replace(state, time=state.time + dt, x=half + dt / 2 * v, v=v)

    def refresh(self, state: Any, parameters: Any) -> Any:
        return state

    def rates(self, state: Any, parameters: Any) -> dict[str, Any]:
        return {"x": state.v, "v": -parameters["mu"] * state.x - self.friction * state.v}

    def known_drift(self, state: Any, parameters: Any) -> dict[str, Any]:
        return {"v": -self.friction * state.v}

    def noise(self, state: Any, parameters: Any) -> dict[str, Any]:
        return {"v": self.amplitude}


def trap_ensemble(stepper: Any, nodes: int = 24, n_samples: int = 4000, dt: float = 0.01, **options: Any) -> xr.Dataset:
    return hoam.simulate(
        stepper,
        {"mu": STRENGTHS},
        hoam.quadrature.gauss_legendre(nodes),
        key=jax.random.key(0),
        n_samples=n_samples,
        dt=dt,
        progress=False,
        **options,
    )


def shuffled(ds: xr.Dataset) -> xr.Dataset:
    """The same marginals with nothing that links the samples of different times."""
    rng = np.random.default_rng(5)
    order = rng.permuted(np.tile(np.arange(ds.sizes["sample"]), (ds.sizes["run"], ds.sizes["time"], 1)), axis=2)
    names = hoam.ensemble.variable_names(ds)
    return ds.assign({n: (ds[n].dims, np.take_along_axis(ds[n].values, order, axis=2), ds[n].attrs) for n in names})


def fit_kinetic(ds: xr.Dataset, **options: Any) -> hoam.Surrogate:
    settings: dict[str, Any] = {
        "potential": SMALL_FIELD,
        "training": hoam.Training(iterations=600, n_samples=128, learning_rate=1e-2, warmup=20),
    }
    return hoam.fit(ds, key=jax.random.key(1), structure="kinetic", progress=False, **settings | options)


def force_error(model: hoam.Surrogate, expected: Any, mu: float = 2.0, stepper: Any = None) -> float:
    """Relative error of the learned part of dv/dt over the population of a new run."""
    stepper = stepper or model.learned.replaces or Trap()
    times = np.asarray([0.4, 1.0, 1.6])
    held = hoam.simulate(stepper, {"mu": [mu]}, times, key=jax.random.key(9), n_samples=500, dt=0.01, progress=False)
    errors, squares = 0.0, 0.0
    for i, time in enumerate(times):
        x = jnp.asarray(hoam.ensemble.samples(held, 0, i))
        drift = model.velocity(x, jnp.asarray(time, jnp.float32), {"mu": jnp.asarray(mu)})
        np.testing.assert_allclose(drift[:, 0], x[:, 1], rtol=1e-6)
        wanted = expected(x, mu)
        errors += float(jnp.sum((drift[:, 1] - wanted) ** 2))
        squares += float(jnp.sum(wanted**2))
    return (errors / squares) ** 0.5


def spring(x: Any, mu: float) -> Any:
    return -mu * x[:, 0]


@pytest.mark.parametrize(
    ("loss", "bound"),
    [
        (hoam.ActionMatching(samples="merged"), 0.03),
        (hoam.ActionMatching(samples="independent"), 0.04),
        (hoam.ActionMatching(quadrature=hoam.quadrature.low_discrepancy(16)), 0.08),
        (hoam.DICE(), 0.06),
    ],
    ids=["merged", "independent", "random times", "dice"],
)
def test_spring_from_marginals_alone(loss: Any, bound: float) -> None:
    ds = shuffled(trap_ensemble(Trap()))
    assert force_error(fit_kinetic(ds, loss=loss), spring) < bound


def test_coupled_samples_need_few_of_them() -> None:
    few = hoam.Training(iterations=600, n_samples=8, learning_rate=1e-2, warmup=20)
    ds = trap_ensemble(Trap(), n_samples=1000)
    errors = {
        samples: force_error(fit_kinetic(ds, loss=hoam.ActionMatching(samples=samples), training=few), spring)
        for samples in ("coupled", "independent")
    }
    assert errors["coupled"] < 0.03
    assert errors["coupled"] < errors["independent"] / 2


def test_friction_and_noise_are_known_and_the_spring_is_learned() -> None:
    ds = trap_ensemble(Trap(friction=0.7, amplitude=0.6))
    model = fit_kinetic(shuffled(ds), replaces=Trap(friction=0.7, amplitude=0.6))
    assert model.learned.known_noise
    assert model.learned.epsilon == 0
    assert force_error(model, lambda x, mu: -mu * x[:, 0] - 0.7 * x[:, 1]) < 0.08
    # The population of the rollout then has the right spread as well.
    times = np.asarray([0.0, 1.0, 2.0])
    truth = trap_like(Trap(friction=0.7, amplitude=0.6), times)
    learned = trap_like(model, times, initial=truth)
    for name in ("x", "v"):
        np.testing.assert_allclose(learned[name].std("sample"), truth[name].std("sample"), rtol=0.06)
        np.testing.assert_allclose(learned[name].mean("sample"), truth[name].mean("sample"), atol=0.05)


def trap_like(stepper: Any, times: Any, **options: Any) -> xr.Dataset:
    return hoam.simulate(
        stepper, {"mu": [2.0]}, times, key=jax.random.key(3), n_samples=4000, dt=0.02, progress=False, **options
    )


def test_what_is_left_of_a_known_field() -> None:
    """Streaming in a field of which the stepper declares a part: the rest is learned."""

    @jax.tree_util.register_dataclass
    @dataclasses.dataclass(frozen=True)
    class HalfKnown(Trap):
        def known_drift(self, state: Any, parameters: Any) -> dict[str, Any]:
            return {"v": -0.5 * parameters["mu"] * state.x}

        noise = property()  # type: ignore[assignment]

    model = fit_kinetic(shuffled(trap_ensemble(Trap())), replaces=HalfKnown())
    learned = model.learned.learned_drift(jnp.asarray(1.0), {"mu": jnp.asarray(2.0)}, jnp.float32)
    x = jnp.stack([jnp.linspace(-1.5, 1.5, 50), jnp.zeros(50)], axis=1)
    wanted = -x[:, 0]
    assert float(jnp.abs(learned(x)[:, 0] - wanted).mean() / jnp.abs(wanted).mean()) < 0.15
    assert force_error(with_learned(model, replaces=None), lambda x, mu: -0.5 * mu * x[:, 0]) < 0.15


@pytest.mark.slow
@pytest.mark.parametrize("potential", [hoam.CoLoRA(width=16, depth=3, rank=2), hoam.MLP(width=16, depth=3)])
def test_force_that_depends_on_the_velocity(potential: Any) -> None:
    """A potential in (x, v) finds friction that nobody declared."""
    stepper = Trap(friction=0.7)
    ds = shuffled(trap_ensemble(stepper))
    training = hoam.Training(iterations=800, n_samples=128, learning_rate=1e-2, warmup=20)
    model = fit_kinetic(ds, potential=potential, replaces=Trap(), training=training)
    assert force_error(model, lambda x, mu: -mu * x[:, 0] - 0.7 * x[:, 1], stepper=stepper) < 0.12


def test_force_that_depends_on_the_velocity_from_rates() -> None:
    ds = trap_ensemble(Trap(friction=0.7), nodes=12, n_samples=1000, rates=True)
    potential, training = hoam.CoLoRA(width=16, depth=3, rank=2), hoam.recipes.velocity_training(600)
    model = fit_kinetic(ds, potential=potential, replaces=Trap(), training=training)
    assert '"VelocityMatching"' in provenance_of(model).configuration
    assert force_error(model, lambda x, mu: -mu * x[:, 0] - 0.7 * x[:, 1], stepper=Trap(friction=0.7)) < 0.03


def test_velocity_matching_to_recorded_rates() -> None:
    ds = trap_ensemble(Trap(friction=0.7, amplitude=0.6), rates=True)
    model = fit_kinetic(ds, replaces=Trap(friction=0.7, amplitude=0.6))
    assert '"VelocityMatching"' in provenance_of(model).configuration
    assert model.learned.known_noise
    assert force_error(model, lambda x, mu: -mu * x[:, 0] - 0.7 * x[:, 1]) < 0.03


def test_free_field_from_rates() -> None:
    ds = trap_ensemble(Trap(), rates=True)
    model = hoam.fit(
        ds,
        key=jax.random.key(1),
        structure="field",
        potential=SMALL_FIELD,
        replaces=Trap(),
        training=hoam.recipes.velocity_training(800),
        progress=False,
    )
    x = jnp.asarray(hoam.ensemble.samples(ds, 1, 5))
    drift = model.velocity(x, jnp.asarray(ds["time"].values[5], jnp.float32), {"mu": jnp.asarray(2.0)})
    wanted = jnp.stack([x[:, 1], -2 * x[:, 0]], axis=1)
    assert float(jnp.linalg.norm(drift - wanted) / jnp.linalg.norm(wanted)) < 0.05


def test_trajectory_matching_of_foreign_trajectories() -> None:
    """Symmetric increments, of periodic positions as well: a rotation on a torus with a drift per run."""
    rng = np.random.default_rng(0)
    times = np.linspace(0.0, 2.0, 41)
    start = rng.uniform(0, 3.0, (3, 1, 2000))
    speed = np.asarray([1.0, 2.0, 3.0])[:, None, None]
    y = (start + speed * times[None, :, None]) % 3.0
    ds = xr.Dataset(
        {"y": (("run", "time", "sample"), y.astype(np.float32), {"period": 3.0})},
        {"time": times, "mu": ("run", [1.0, 2, 3])},
    )
    model = hoam.fit(
        ds,
        key=jax.random.key(1),
        structure="field",
        potential=SMALL_FIELD,
        loss=hoam.TrajectoryMatching(),
        training=hoam.recipes.velocity_training(300),
        progress=False,
    )
    drift = model.velocity(jnp.linspace(0, 3, 20)[:, None], jnp.asarray(1.0), {"mu": jnp.asarray(2.0)})
    np.testing.assert_allclose(drift, 2.0, rtol=0.02)


def test_trajectory_matching_of_noisy_dynamics_learns_the_current() -> None:
    """dy = -y dt + sqrt(2) dW in equilibrium N(0, 1): the velocity of the probability current is zero, not -y."""
    rng = np.random.default_rng(0)
    times = np.linspace(0.0, 1.0, 21)
    decay = np.exp(-times[1])
    y = [rng.standard_normal(20_000)]
    for _ in times[1:]:
        y.append(decay * y[-1] + (1 - decay**2) ** 0.5 * rng.standard_normal(20_000))
    ds = xr.Dataset({"y": (("run", "time", "sample"), np.stack(y)[None].astype(np.float32))}, {"time": times})
    loss = hoam.TrajectoryMatching(relative=0.0)
    training = hoam.Training(iterations=400, n_samples=256, learning_rate=3e-3)
    model = hoam.fit(
        ds,
        key=jax.random.key(1),
        structure="field",
        potential=SMALL_FIELD,
        loss=loss,
        training=training,
        progress=False,
    )
    drift = model.velocity(jnp.linspace(-1.5, 1.5, 20)[:, None], jnp.asarray(0.5), {})
    assert float(jnp.abs(drift).max()) < 0.35
    assert not model.learned.has_noise


# The loss against a naive formulation.


def phase_space(n_positions: int, periodic: bool) -> Any:
    """Structure and embedding of n positions and as many velocities, and a batch; call with x64 enabled."""
    variables = (
        Variable("q", dims=("axis",), period=3.0 if periodic else None),
        Variable("p", dims=("axis",), velocity_of="q"),
    )
    split = structure_of("kinetic", variables, [n_positions] * 2)
    return with_metric(split, np.linspace(1, 2, 2 * n_positions))


def batch_of(n_dims: int, drift: bool = True) -> Batch:
    keys = jax.random.split(jax.random.key(0), 10)
    points = jax.random.normal(keys[0], (3, 4, n_dims))
    weights = jnp.asarray([0.2, 0.5, 0.3])
    return Batch(
        points=points,
        conditions=jax.random.uniform(keys[1], (3, 2), minval=-1.0),
        weights=weights,
        end_points=jax.random.normal(keys[2], (2, 5, n_dims)),
        end_conditions=jax.random.uniform(keys[3], (2, 2), minval=-1.0),
        end_signs=jnp.asarray([1.0, -1.0]),
        reference=jax.random.normal(keys[4], (2, n_dims)),
        drift=jax.random.normal(keys[5], points.shape) if drift else None,
        neighbours=jax.random.normal(keys[6], (3, 4, 2, n_dims)),
        multiplicity=jax.random.uniform(keys[7], (3, 4), minval=0.5, maxval=1.5),
        end_multiplicity=jax.random.uniform(keys[8], (2, 5), minval=0.5, maxval=1.5),
        shares=jnp.ones(3),
    )


def psi_of(network: Any, embedding: Any, weights: Any) -> Any:
    def psi(z: Any, condition: Any) -> Any:
        phi = network.modulations(weights, condition[None])[0]
        return network.value(weights, embedding.features(z[None]), phi)[0]

    return psi


def naive_action(psi: Any, driven: Any, epsilon: float, b: Batch) -> Any:
    """E psi at both ends, and the integrand sample by sample, with nested derivatives; time rate 2 of condition 0."""
    total = 0.0
    for e in range(2):
        values = jax.vmap(lambda z, e=e: psi(z, b.end_conditions[e]))(b.end_points[e])
        total = total + b.end_signs[e] * jnp.mean(values * b.end_multiplicity[e])
    for t in range(len(b.weights)):

        def integrand(z: Any, drift: Any, c: Any = b.conditions[t]) -> Any:
            gradient = jax.grad(psi)(z, c)
            hessian = jax.hessian(psi)(z, c)
            rate = 2 * jax.grad(psi, argnums=1)(z, c)[0] + drift @ gradient
            lap = jnp.trace(hessian[driven][:, driven])
            return jnp.sum(gradient[driven] ** 2) / 2 + rate + epsilon**2 / 2 * lap

        total = total + b.weights[t] * jnp.mean(b.multiplicity[t] * jax.vmap(integrand)(b.points[t], b.drift[t]))
    return total


POTENTIALS = {
    "force": hoam.VectorField(width=7, depth=3, time_harmonics=2),
    "conservative": hoam.VectorField(width=7, depth=3, time_harmonics=2, conservative=True),
    "colora": hoam.CoLoRA(width=6, depth=3, rank=2, hyper_width=5),
    "film": hoam.FiLM(width=6, depth=3, hyper_width=5),
}


# Nested derivatives take long to compile, and these share the code of the others.
_SLOW = {("film", 1), ("film", 2), ("conservative", 2), ("colora", 1), ("force", 2)}


@pytest.mark.parametrize(
    ("kind", "n_positions", "periodic"),
    [
        pytest.param(kind, n, periodic, marks=pytest.mark.slow if (kind, n) in _SLOW else ())
        for kind in POTENTIALS
        for n, periodic in ((1, True), (2, False))
    ],
)
def test_fast_loss_is_the_naive_one(kind: str, n_positions: int, periodic: bool) -> None:
    with jax.enable_x64(True):
        split = phase_space(n_positions, periodic)
        periods = (3.0 if periodic else None,) * n_positions + (None,) * n_positions
        embedding = Embedding(periods, POTENTIALS[kind].harmonics, split.driven)
        network = bound(POTENTIALS[kind], split, embedding)
        weights = network.init(jax.random.key(1), embedding.n_features, 2)
        weights = jax.tree.map(lambda w: w + 0.1 * jax.random.normal(jax.random.key(2), w.shape), weights)
        b = batch_of(2 * n_positions)
        loss = hoam.ActionMatching(epsilon=0.4 if n_positions == 1 else 0.0)
        fast, _, gradient = jax.jit(lambda w, b: loss_and_gradient(loss, network, embedding, w, b))(weights, b)
        driven = np.asarray(split.driven)
        naive, naive_gradient = jax.jit(
            jax.value_and_grad(lambda w, b: naive_action(psi_of(network, embedding, w), driven, loss.noise, b))
        )(weights, b)
        np.testing.assert_allclose(fast, naive, rtol=1e-10)
        for ours, theirs in zip(jax.tree.leaves(gradient), jax.tree.leaves(naive_gradient), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-11)


def naive_dice(psi: Any, driven: Any, epsilon: float, b: Batch) -> Any:
    """The pair sum of arXiv:2507.05107 as printed, with the trapezoid of the known drift and of the Laplacian."""
    points, tau = b.points, (b.conditions[:, 0] + 1) / 2
    gaps = jnp.diff(tau)

    def mean(j: int, i: int) -> Any:
        """Mean of s_j over the samples at time i."""
        return jnp.mean(jax.vmap(lambda z: psi(z, b.conditions[j]))(points[i]))

    def at(j: int) -> tuple[Any, Any]:
        def terms(z: Any, drift: Any) -> Any:
            gradient = jax.grad(psi)(z, b.conditions[j])
            lap = jnp.trace(jax.hessian(psi)(z, b.conditions[j])[driven][:, driven])
            return jnp.sum(gradient[driven] ** 2), drift @ gradient + epsilon**2 / 2 * lap

        squares, linear = jax.vmap(terms)(points[j], b.drift[j])
        return jnp.mean(squares), jnp.mean(linear)

    total = 0.0
    for j in range(len(tau) - 1):
        (q0, l0), (q1, l1) = at(j), at(j + 1)
        total = total + gaps[j] / 4 * (q0 + q1) + gaps[j] / 2 * (l0 + l1)
        total = total - (mean(j, j + 1) + mean(j + 1, j + 1) - mean(j, j) - mean(j + 1, j)) / 2
    return total


@pytest.mark.parametrize("kind", ["force", pytest.param("colora", marks=pytest.mark.slow)])
def test_dice_is_the_printed_sum_and_does_not_see_a_function_of_time(kind: str) -> None:
    with jax.enable_x64(True):
        split = phase_space(1, False)
        embedding = Embedding((None, None), POTENTIALS[kind].harmonics, split.driven)
        network = bound(POTENTIALS[kind], split, embedding)
        weights = network.init(jax.random.key(1), embedding.n_features, 2)
        weights = jax.tree.map(lambda w: w + 0.1 * jax.random.normal(jax.random.key(2), w.shape), weights)
        b = batch_of(2)
        tau = jnp.asarray([0.0, 0.3, 1.0])
        conditions = b.conditions.at[:, 0].set(2 * tau - 1)
        neighbours = jnp.stack([b.points[jnp.asarray([0, 0, 1])], b.points[jnp.asarray([1, 2, 2])]], axis=2)
        trapezoid = jnp.asarray([0.15, 0.5, 0.35])
        b = dataclasses.replace(
            b, conditions=conditions, neighbours=neighbours, weights=trapezoid, multiplicity=None, end_multiplicity=None
        )
        loss = hoam.DICE(epsilon=0.3)
        fast = jax.jit(lambda w, b: loss_value(loss, network, embedding, w, b))(weights, b)
        psi = psi_of(network, embedding, weights)
        driven = np.asarray(split.driven)
        np.testing.assert_allclose(fast, naive_dice(psi, driven, 0.3, b), rtol=1e-10)
        shifted = naive_dice(lambda z, c: psi(z, c) + jnp.sin(5 * c[0]), driven, 0.3, b)
        np.testing.assert_allclose(shifted, fast, rtol=1e-10)


def test_velocity_loss_is_the_mean_squared_error() -> None:
    with jax.enable_x64(True):
        split = phase_space(2, True)
        embedding = Embedding((3.0, 3.0, None, None), 2, split.driven)
        network = bound(POTENTIALS["force"], split, embedding)
        weights = network.init(jax.random.key(1), embedding.n_features, 2)
        weights = jax.tree.map(lambda w: w + 0.1 * jax.random.normal(jax.random.key(2), w.shape), weights)
        b = batch_of(4)
        b = dataclasses.replace(b, targets=jax.random.normal(jax.random.key(4), (3, 4, 2)), multiplicity=None)
        fast = loss_value(hoam.VelocityMatching(), network, embedding, weights, b)
        psi = psi_of(network, embedding, weights)
        naive = sum(
            b.weights[t]
            * jnp.mean(
                jnp.sum(
                    (jax.vmap(jax.grad(psi), (0, None))(b.points[t], b.conditions[t])[:, 2:] - b.targets[t]) ** 2, 1
                )
            )
            / 2
            for t in range(3)
        )
        np.testing.assert_allclose(fast, naive, rtol=1e-10)


def test_conservative_force_has_no_curl_in_physical_units() -> None:
    with jax.enable_x64(True):
        split = phase_space(2, False)
        embedding = Embedding((None,) * 4, 2, split.driven)
        network = bound(POTENTIALS["conservative"], split, embedding)
        weights = network.init(jax.random.key(1), embedding.n_features, 2)
        weights = jax.tree.map(lambda w: w + 0.3 * jax.random.normal(jax.random.key(2), w.shape), weights)
        scale = np.linspace(1, 2, 4)

        def physical(x: Any) -> Any:
            phi = network.modulations(weights, jnp.asarray([[0.2, 0.1]]))
            z = jnp.concatenate([x / scale[:2], jnp.zeros(2)])[None]
            return network.drift(weights, embedding, z, phi)[0] * scale[2:]

        jacobian = jax.jacobian(physical)(jnp.asarray([0.3, -0.4]))
        np.testing.assert_allclose(jacobian[0, 1], jacobian[1, 0], rtol=1e-10)
        assert abs(float(jacobian[0, 1])) > 1e-3


def test_merging_keeps_density_momentum_and_pressure() -> None:
    rng = np.random.default_rng(0)
    points = np.stack([rng.uniform(0, 3, 5000), rng.standard_normal(5000)], axis=1)
    points[:, 1] += np.sin(2 * points[:, 0])
    split = structure_of("kinetic", (Variable("x", period=3.0), Variable("v", velocity_of="x")), [1, 1])
    cells, shares, variances = merging.merged(points, split, 3.0)
    moments = [np.ones_like(shares), cells[..., 1], cells[..., 1] ** 2 + variances]
    wave, own_wave = np.exp(2j * np.pi * cells[..., 0] / 3), np.exp(2j * np.pi * points[:, 0] / 3)
    for power, moment in enumerate(moments):
        own = points[:, 1] ** power
        np.testing.assert_allclose((shares * moment).mean(axis=1), np.mean(own), rtol=1e-12)
        np.testing.assert_allclose((shares * moment * wave).mean(axis=1), np.mean(own * own_wave), atol=2e-3)
    again = merging.merged(points[rng.permutation(5000)], split, 3.0)
    np.testing.assert_allclose(again[0], cells, atol=1e-9)


@pytest.mark.parametrize("kind", ["force", "conservative"])
def test_loss_of_cells_is_that_of_their_samples(kind: str) -> None:
    """Samples at one position in every cell: then moments are all that the loss sees of them, exactly."""
    with jax.enable_x64(True):
        split = phase_space(1, False)
        embedding = Embedding((None, None), POTENTIALS[kind].harmonics, split.driven)
        network = bound(POTENTIALS[kind], split, embedding)
        weights = network.init(jax.random.key(1), embedding.n_features, 2)
        weights = jax.tree.map(lambda w: w + 0.1 * jax.random.normal(jax.random.key(2), w.shape), weights)
        b = batch_of(2)
        # Three samples at each of the four positions; dx/dt = 1.7 v + 0.3, and a friction of 0.4.
        v = b.points[..., 1:] + jnp.asarray([-0.5, 0.1, 0.4])[None, None, :]
        x = jnp.broadcast_to(b.points[..., :1], v.shape)
        rates = jnp.stack([1.7 * v + 0.3, -0.4 * v], axis=-1)
        samples = dataclasses.replace(
            b,
            points=jnp.stack([x, v], axis=-1).reshape(3, 12, 2),
            drift=rates.reshape(3, 12, 2),
            multiplicity=jnp.repeat(b.multiplicity, 3, axis=1),
            neighbours=None,
        )
        mean = jnp.mean(v, axis=2)
        cells = dataclasses.replace(
            b,
            points=jnp.stack([x[..., 0], mean], axis=-1),
            drift=jnp.stack([1.7 * mean + 0.3, -0.4 * mean], axis=-1),
            flux=jnp.mean(v * rates[..., 0], axis=2),
        )
        loss = hoam.ActionMatching(epsilon=0.0)
        value = jax.jit(lambda w, b: loss_value(loss, network, embedding, w, b))
        np.testing.assert_allclose(value(weights, cells), value(weights, samples), rtol=1e-12)


# Errors, files, rollout.


def test_what_does_not_go_together() -> None:
    gaussian, plasma = toy.moving_gaussian(), toy.small_plasma_ensemble()
    with pytest.raises(ValueError, match="'y' is neither one nor a position"):
        fit_kinetic(gaussian)
    with pytest.raises(ValueError, match="'x' is neither one nor a position"):
        fit_kinetic(plasma.assign(v=plasma["v"].drop_attrs()))
    with pytest.raises(ValueError, match="velocity_of='z'"):
        fit_kinetic(plasma.assign(v=plasma["v"].assign_attrs(velocity_of="z")))
    with pytest.raises(Exception, match="curl"):
        hoam.fit(plasma, key=jax.random.key(0), structure="curl")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="epsilon=0\\.5"):
        fit_kinetic(plasma, loss=hoam.ActionMatching(epsilon=0.5))
    with pytest.raises(ValueError, match="does not follow from marginals"):
        hoam.fit(plasma, key=jax.random.key(0), structure="field", loss=hoam.ActionMatching())
    with pytest.raises(ValueError, match="has no potential"):
        hoam.fit(plasma, key=jax.random.key(0), potential=SMALL_FIELD)
    with pytest.raises(ValueError, match="rates=True"):
        fit_kinetic(plasma, loss=hoam.VelocityMatching())
    with pytest.raises(ValueError, match="equally spaced"):
        fit_kinetic(plasma, loss=hoam.TrajectoryMatching())
    with pytest.raises(ValueError, match="samples='merged'"):
        fit_kinetic(plasma, potential=hoam.CoLoRA(), loss=hoam.ActionMatching(samples="merged"))


def test_gradient_fit_says_what_else_the_ensemble_allows(capsys: pytest.CaptureFixture[str]) -> None:
    ds = trap_ensemble(Trap(), nodes=4, n_samples=64, rates=True)
    options: dict[str, Any] = {
        "key": jax.random.key(0),
        "potential": hoam.CoLoRA(width=4, depth=2),
        "training": hoam.Training(iterations=2, n_samples=8, block=2),
    }
    hoam.fit(ds, **options)
    (line,) = [text for text in capsys.readouterr().err.splitlines() if text.startswith("fit:")]
    assert "kinetic" in line
    assert "rates" in line
    hoam.fit(ds, progress=False, **options)
    assert "fit:" not in capsys.readouterr().err


@pytest.fixture(scope="module")
def trap_surrogate() -> hoam.Surrogate:
    return fit_kinetic(trap_ensemble(Trap(), rates=True), replaces=Trap())


def test_kinetic_file_round_trip(trap_surrogate: hoam.Surrogate, tmp_path: Any) -> None:
    path = trap_surrogate.save(tmp_path / "trap.hoam")
    with pytest.raises(ValueError, match="NoneType lacks it"):
        hoam.load(path)
    back = hoam.load(path, replaces=Trap())
    assert back.learned.structure == trap_surrogate.learned.structure
    x = jax.random.normal(jax.random.key(0), (7, 2))
    arguments = (x, jnp.asarray(0.7), {"mu": jnp.asarray(1.4)})
    np.testing.assert_array_equal(back.velocity(*arguments), trap_surrogate.velocity(*arguments))
    assert back.learned.has_noise == trap_surrogate.learned.has_noise


def test_kinetic_steps_are_second_order_and_reversible(trap_surrogate: hoam.Surrogate) -> None:
    model = with_learned(trap_surrogate, known_noise=False)
    parameters = {"mu": jnp.asarray(2.0)}
    state = Trap().init(jax.random.key(0), 64, parameters)
    times = jnp.asarray([1.6])
    exact = model.solve(state, times, parameters, dt=0.0025)
    errors = [float(jnp.abs(model.solve(state, times, parameters, dt=dt).x - exact.x).max()) for dt in (0.16, 0.08)]
    assert 3 < errors[0] / errors[1] < 5
    there = model.step(state, 0.2, parameters)
    turned = dataclasses.replace(there, v=-there.v)
    # The force depends on time, so the way back is taken under the force of the same times.
    middle = jnp.asarray(0.1)
    back = turned.x + 0.1 * turned.v
    force = model.velocity(jnp.stack([back, turned.v], axis=1), middle, parameters)[:, 1]
    np.testing.assert_allclose(back + 0.1 * (turned.v + 0.2 * force), state.x, atol=1e-5)


def test_table_is_as_good_as_the_network(trap_surrogate: hoam.Surrogate) -> None:
    parameters = {"mu": jnp.asarray(2.0)}
    many = Trap().init(jax.random.key(0), 2048, parameters)
    few = dataclasses.replace(many, x=many.x[:200], v=many.v[:200])
    model = with_learned(trap_surrogate, known_noise=False)
    tabulated, direct = (model.step(state, 0.1, parameters) for state in (many, few))
    np.testing.assert_allclose(tabulated.v[:200], direct.v, atol=2e-5)


def test_gradients_through_a_kinetic_rollout(trap_surrogate: hoam.Surrogate) -> None:
    model = with_learned(trap_surrogate, known_noise=False)
    state = Trap().init(jax.random.key(0), 1024, {})

    def spread(mu: Any) -> Any:
        return jnp.mean(model.solve(state, jnp.asarray([0.5, 1.5]), {"mu": mu}).x[-1] ** 2)

    slope = jax.jit(jax.grad(spread))(jnp.asarray(2.0))
    by_differences = (spread(jnp.asarray(2.02)) - spread(jnp.asarray(1.98))) / 0.04
    np.testing.assert_allclose(slope, by_differences, rtol=0.02)


@pytest.fixture(scope="module")
def plasma_force() -> hoam.Surrogate:
    """A force on periodic positions; 40 iterations, enough for one that is not zero."""
    ds = toy.small_plasma_ensemble()
    training = hoam.Training(iterations=40, n_samples=64, block=10, learning_rate=2e-2, warmup=10)
    return fit_kinetic(ds, loss=hoam.DICE(), training=training)


def test_tables_of_a_whole_solve_are_its_steps(plasma_force: hoam.Surrogate) -> None:
    """`solve` takes all forces from tables made at once; steps of a few samples ask the network itself."""
    parameters = {"mu": jnp.asarray(1.4)}
    state = toy.small_plasma().init(jax.random.key(0), 256, parameters)
    times = jnp.asarray([0.8, 1.6])
    solved = plasma_force.solve(state, times, parameters, dt=0.2)
    few = dataclasses.replace(state, x=state.x[:16], v=state.v[:16])
    moved = few
    for _ in range(8):
        moved = plasma_force.step(moved, 0.2, parameters)
    assert float(jnp.abs(moved.v - few.v).max()) > 1e-3
    np.testing.assert_allclose(solved.v[-1, :16], moved.v, atol=1e-4)
    turned = (solved.x[-1, :16] - moved.x + 25) % 50 - 25
    np.testing.assert_allclose(turned, 0, atol=1e-4)
    assert solved.x.shape == (2, 256)
    assert float(solved.x.min()) >= 0
    assert float(solved.x.max()) < 50

    def spread(mu: Any) -> Any:
        return jnp.mean(plasma_force.solve(state, times, {"mu": mu}, dt=0.2).v[-1] ** 2)

    slope = jax.jit(jax.grad(spread))(jnp.asarray(1.4))
    np.testing.assert_allclose(slope, (spread(jnp.asarray(1.45)) - spread(jnp.asarray(1.35))) / 0.1, rtol=0.05)


def test_tables_outside_the_trained_range_and_in_double_precision(plasma_force: hoam.Surrogate) -> None:
    state = toy.small_plasma().init(jax.random.key(0), 256, {"mu": jnp.asarray(1.4)})
    solve = jax.jit(lambda t, mu: plasma_force.solve(state, t, {"mu": mu}).v)
    outside = solve(jnp.asarray([1.0, 99.0]), jnp.asarray(1.4))
    assert bool(jnp.isfinite(outside[0]).all())
    assert bool(jnp.isnan(outside[1]).all())
    assert bool(jnp.isnan(solve(jnp.asarray([1.0]), jnp.asarray(9.0))).all())
    with jax.enable_x64(True):
        wide = state_type(("x", "v"))(
            time=jnp.asarray(0.0), x=jnp.asarray(state.x, jnp.float64), v=jnp.asarray(state.v, jnp.float64)
        )
        moved = plasma_force.solve(wide, jnp.asarray([1.0]), {"mu": jnp.asarray(1.4)})
        assert moved.x.dtype == jnp.float64
        np.testing.assert_allclose(moved.v[0], outside[0], atol=1e-4)
