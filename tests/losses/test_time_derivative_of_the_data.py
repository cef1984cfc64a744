"""Action matching whose time derivative acts on the data: against a naive formulation, its floor, and its minimiser."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy
import xarray as xr

import hoam_plugin as hoam
from hoam_plugin.dynamics import Dynamics, normalisation_of, structure_of
from hoam_plugin.ensembles import variables
from hoam_plugin.losses import Batch, loss_and_gradient, loss_value
from hoam_plugin.numerics.summation_by_parts import derivatives_by_parts
from hoam_plugin.potentials import Embedding, bound, embedding_of
from hoam_plugin.potentials.interface import ScalarPotential
from hoam_plugin.steppers import SampleLayout
from hoam_plugin.training.data import Runs, TrainingData
from hoam_plugin.training.drawing import draw_batch
from hoam_plugin.training.settings import Training
from hoam_plugin.training.time_weights import weights_of_loss
from hoam_plugin.training.windows import TrainingSamples


def prepared(ds: xr.Dataset, loss: Any, kind: Any = "gradient", **options: Any) -> tuple[Dynamics, TrainingData]:
    """What training draws from."""
    split = structure_of(kind, variables(ds), [int(np.prod(ds[v.name].shape[3:])) for v in variables(ds)])
    layout = SampleLayout(variables(ds), tuple(ds[v.name].shape[3:] for v in variables(ds)))
    dynamics = Dynamics(normalisation_of(ds), None, split, layout)
    runs = Runs(ds, dynamics, loss, weights_of_loss(loss, ds, loss.quadrature), None)
    return dynamics, TrainingSamples(runs, Training(**options), jax.random.key(0)).at(0)


def drawn(loss: Any, data: TrainingData, seed: int = 0, **options: Any) -> Batch:
    """A batch, as training draws it."""
    return jax.jit(lambda data, key: draw_batch(loss, data, key, **options))(data, jax.random.key(seed))


def dense(ds: xr.Dataset, loss: Any) -> tuple[Any, Any]:
    """Weights of the saved times, and D as a full matrix."""
    tau = (ds["time"].values - ds["time"].values[0]) / float(ds["time"].values[-1] - ds["time"].values[0])
    weights = weights_of_loss(loss, ds, loss.quadrature)
    indices, coefficients = derivatives_by_parts(tau, weights)
    matrix = np.zeros((len(tau), len(tau)))
    np.put_along_axis(matrix, indices, coefficients, axis=1)
    return weights, matrix


def box(n_times: int = 7, rule: Any = None) -> xr.Dataset:
    """Two runs of a periodic position and a velocity that turn, in double precision."""
    rng = np.random.default_rng(0)
    if rule is None:
        times, weights = np.sort(rng.uniform(0, 3, n_times)), None
        times[[0, -1]] = 0, 3
    else:
        nodes, weights = rule.nodes_and_weights()
        times, weights = np.r_[0, 3 * nodes, 3], np.r_[0, weights, 0]
    x0, v0, mu = rng.uniform(0, 2, (2, 1, 12)), rng.standard_normal((2, 1, 12)), np.asarray([[[0.5]], [[1.5]]])
    t = times[None, :, None]
    data = {
        "x": (("run", "time", "sample"), (x0 + v0 * t) % 2, {"period": 2.0}),
        "v": (("run", "time", "sample"), v0 * np.cos(mu * t), {"velocity_of": "x"}),
    }
    ds = xr.Dataset(data, {"time": times, "mu": ("run", mu.ravel())})
    return ds if weights is None else ds.assign(quadrature_weight=("time", weights))


def naive(psi: Any, data: TrainingData, matrix: Any, loss: Any, weights: Any) -> Any:
    """The formula as it is written, over all samples: weights of every run and saved time, D as a full matrix."""
    dynamics, driven = data.dynamics, np.asarray(data.dynamics.structure.driven)
    points = data.points.reshape(*data.points.shape[:2], -1, data.points.shape[-1])

    def of_node(points: Any, own: Any, row: Any, c: Any) -> Any:
        """Samples of all saved times, of its own one, the row of D, time and parameters."""

        def terms(z: Any, b: Any) -> Any:
            gradient = jax.grad(psi)(z, c)
            lap = jnp.trace(jax.hessian(psi)(z, c)[driven][:, driven]) if loss.noise else 0.0
            return jnp.sum(gradient[driven] ** 2) / 2 + loss.noise**2 / 2 * lap + b @ gradient

        known = dynamics.normalised(own, c)[0]
        drift = known if dynamics.structure.knows_dynamics else jnp.zeros_like(known)
        means = jax.vmap(jax.vmap(lambda z: psi(z, c)))(points).mean(axis=1)
        return jax.vmap(terms)(own, drift).mean() - row @ means

    of_run = jax.vmap(of_node, (None, 0, 0, 0))
    return jnp.sum(weights * jax.vmap(of_run, (0, 0, None, 0))(points, points, matrix, data.conditions))


SMALL = hoam.CoLoRA(width=6, depth=2, rank=2, hyper_width=5, hyper_depth=2)
GAUSS = hoam.quadrature.gauss_legendre(5)
CASES: dict[str, tuple[Any, Any, Any, dict[str, Any]]] = {
    "gradient": (SMALL, "gradient", GAUSS, {"epsilon": 0.4}),
    "gradient, coupled, no noise": (SMALL, "gradient", None, {"epsilon": 0.0, "samples": "coupled"}),
    "force": (hoam.VectorField(width=6, depth=2, time_harmonics=2), "kinetic", GAUSS, {"epsilon": 0.0}),
    "at rest zero": (hoam.MLP(width=6, depth=2), "kinetic", None, {"epsilon": 0.3}),
}


@pytest.mark.long
@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("case", CASES)
def test_fast_loss_is_the_naive_one(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With all samples in one subset, for all nodes and for a part of them; threads and chunks only divide the sum."""
    network, kind, rule, options = CASES[case]
    loss = hoam.ActionMatching(time_derivative="data", **{"samples": "independent", **options})
    ds = box(rule=rule)
    dynamics, data = prepared(ds, loss, kind, n_samples=12, n_end_samples=12)
    embedding = embedding_of(network, dynamics.normalisation, dynamics.structure)
    potential = bound(network, dynamics.structure, embedding)

    @jax.jit
    def some_weights(key: Any) -> Any:
        weights = potential.init(key, embedding.n_features, 2)
        return jax.tree.map(lambda w: w + 0.3 * jax.random.normal(jax.random.key(2), w.shape), weights)

    weights = some_weights(jax.random.key(1))

    def psi(w: Any) -> Any:
        def of(z: Any, c: Any) -> Any:
            return potential.value(w, embedding.features(z[None]), potential.modulations(w, c[None])[0])[0]

        return of

    def compiled(of: Any) -> Any:
        return jax.jit(lambda w, b: of(loss, potential, embedding, w, b))

    fast, matrix = compiled(loss_value), jnp.asarray(dense(ds, loss)[1])
    expected = jax.jit(jax.value_and_grad(lambda w, node_weights: naive(psi(w), data, matrix, loss, node_weights)))
    everything = drawn(loss, data, 3, runs_per_iteration=2)
    value, _, gradient = compiled(loss_and_gradient)(weights, everything)
    wanted, wanted_gradient = expected(weights, jnp.stack([data.weights] * 2) / 2)
    np.testing.assert_allclose(value, wanted, rtol=1e-9)
    for ours, theirs in zip(jax.tree.leaves(gradient), jax.tree.leaves(wanted_gradient), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-8, atol=1e-9 * float(jnp.abs(theirs).max()) + 1e-12)

    # A part of the nodes of one run: which ones, the batch says by its conditions.
    some = drawn(loss, data, 4, runs_per_iteration=1, n_times=3)
    weighed = np.zeros(data.conditions.shape[:2])
    for c, w in zip(np.asarray(some.conditions), np.asarray(some.weights), strict=True):
        apart = np.abs(np.asarray(data.conditions) - c).sum(axis=2)
        weighed[np.unravel_index(apart.argmin(), apart.shape)] += w
    assert 1 <= np.count_nonzero(weighed) <= 3
    np.testing.assert_allclose(fast(weights, some), expected(weights, jnp.asarray(weighed))[0], rtol=1e-9)
    if case != "gradient":
        return

    n_parts = 2
    parts = [fast(weights, everything.part(i, n_parts)) for i in range(n_parts)]
    np.testing.assert_allclose(sum(parts), value, rtol=1e-10)
    monkeypatch.setattr("hoam_plugin.losses.accumulation._CHUNK_BYTES", {"cpu": 1})
    monkeypatch.setattr("hoam_plugin.losses.accumulation._LEAST_ROWS", 6)
    np.testing.assert_allclose(compiled(loss_and_gradient)(weights, everything)[0], value, rtol=1e-10)


def test_all_nodes_see_the_same_samples_of_a_saved_time() -> None:
    ds = toy.moving_gaussian(n_samples=64, n_times=9)
    for samples in ("independent", "coupled"):
        loss = hoam.ActionMatching(epsilon=0.0, samples=samples, time_derivative="data")
        _, data = prepared(ds, loss, n_samples=8, n_end_samples=16)
        batch = drawn(loss, data, runs_per_iteration=2)
        own = np.asarray(batch.points).reshape(2, 9, 8)
        theirs = np.asarray(batch.neighbours).reshape(2, 9, 8, 4)
        others = np.asarray(data.bands.others)
        for j in range(9):
            for k in range(4):
                np.testing.assert_array_equal(theirs[:, j, :, k], own[:, others[j, k]])
        # The ends come with their larger subsets, but not along trajectories.
        looks = [bool(np.asarray(batch.coefficients)[j, 1:][others[j] == 0].any()) for j in (1, 2)]
        assert looks == [samples == "coupled"] * 2
        assert batch.end_points.shape[1] == (8 if samples == "coupled" else 16)


@dataclasses.dataclass(frozen=True)
class Table(ScalarPotential):
    """s = b(t) . x + x . S(t) x / 2 in any number of coordinates, with free values at `n_times` saved times.

    The weights hold the times, so that those of equally many share what is compiled. Between them, it swings through
    sin(2 pi k tau) b.
    """

    n_times: int
    swings: int = 0
    width: int = 1
    depth: int = 1
    harmonics: int = 1

    def init(self, key: Any, n_features: int, n_conditions: int) -> Any:
        size = n_features + n_features * (n_features + 1) // 2
        table = jnp.zeros((self.n_times, size))
        return {"at": jnp.linspace(0, 1, self.n_times), "table": table, "swing": jnp.zeros(size)}

    def modulations(self, weights: Any, conditions: Any) -> Any:
        tau = (conditions[:, :1] + 1) / 2
        share = jax.nn.relu(1 - jnp.abs(tau - weights["at"][None]) * 1e4)
        swing = jnp.sin(2 * np.pi * self.swings * tau) * weights["swing"][None]
        return share @ weights["table"] + swing

    def value(self, weights: Any, features: Any, modulation: Any) -> Any:
        n = features.shape[1]
        rows, columns = np.triu_indices(n)
        s = jnp.zeros((n, n), features.dtype).at[rows, columns].set(modulation[n:])
        return features @ modulation[:n] + jnp.sum((features @ (s + s.T) / 2) * features, axis=1) / 2

    def propagate(self, weights: Any, streams: Any, modulations: Any, rates: Any) -> Any:
        per_time = len(streams.value) // len(modulations)
        phi, moving = (jnp.repeat(m, per_time, axis=0) for m in (modulations, rates))

        def s(x: Any, phi: Any) -> Any:
            return self.value(None, x[None], phi)[0]

        value = jax.vmap(s)(streams.value, phi)
        slope = jax.vmap(jax.grad(s))(streams.value, phi)
        gradient = jnp.einsum("nf,dnf->dn", slope, streams.gradient)
        hessian = jax.vmap(jax.hessian(s))(streams.value, phi)
        lap = streams.laplacian
        if lap is not None:
            lap = jnp.einsum("dnf,nfg,dng->n", streams.gradient, hessian, streams.gradient)
        rate = jnp.einsum("nf,nf->n", slope, streams.rate)
        return streams._replace(
            value=value, gradient=gradient, laplacian=lap, rate=rate + jax.vmap(s)(streams.value, moving)
        )


GRIDS: dict[str, Any] = {
    "40 equal": np.linspace(0, 1, 40),
    "random": np.r_[0, np.sort(np.random.default_rng(1).uniform(size=38)), 1],
    "clustered": np.r_[np.linspace(0, 0.2, 21)[:-1], np.linspace(0.2, 1, 20)],
    "Gauss": hoam.quadrature.gauss_legendre(16),
}


def spreading_gaussian(grid: Any) -> tuple[xr.Dataset, Any, Any, Any, Any]:
    """Samples with the exact mean m and covariance C of a Gaussian that moves, turns and spreads; dm/dt and dC/dt."""
    nodes = grid if isinstance(grid, np.ndarray) else np.r_[0, grid.nodes_and_weights()[0], 1]

    def moments(t: float) -> tuple[Any, Any]:
        angle = 0.7 * t
        turn = np.asarray([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        return np.asarray([np.sin(t), t**2]), turn @ np.diag([1 + t, 0.5 + 0.2 * t**2]) @ turn.T

    unit = np.asarray([[1, 0], [-1, 0], [0, 1], [0, -1]]) * 2**0.5
    rows = [m + unit @ np.linalg.cholesky(c).T for m, c in map(moments, nodes)]
    ds = xr.Dataset({"x": (("run", "time", "sample", "d"), np.stack(rows)[None])}, {"time": nodes})
    if not isinstance(grid, np.ndarray):
        ds = ds.assign(quadrature_weight=("time", np.r_[0, grid.nodes_and_weights()[1], 0]))
    h = 1e-4
    rates = [[(a - b) / (2 * h) for a, b in zip(moments(t + h), moments(t - h), strict=True)] for t in nodes]
    m, c = zip(*map(moments, nodes), strict=True)
    dm, dc = zip(*rates, strict=True)
    return ds, *(np.stack(v) for v in (m, c, dm, dc))


@functools.cache
def compiled_table(loss: Any, n_times: int) -> tuple[Any, Any, Any]:
    """The loss of a table's rows at the nodes of positive weight, its gradient and its curvature."""
    potential, embedding = Table(n_times), Embedding((None, None))
    weights = potential.init(jax.random.key(0), 2, 1)

    def value(rows: Any, nodes: Any, tau: Any, batch: Any) -> Any:
        filled = {**weights, "at": tau, "table": weights["table"].at[nodes].set(rows)}
        return loss_value(loss, potential, embedding, filled, batch)

    return jax.jit(value), jax.jit(jax.grad(value)), jax.jit(jax.hessian(value))


@pytest.mark.long
@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("grid", GRIDS)
def test_the_minimiser_moves_a_gaussian_as_it_moves(grid: str) -> None:
    """S C + C S = dC/dt and b = dm/dt - S m (Lyapunov), where the loss is -1/2 int E |grad s|^2."""
    ds, mean, covariance, mean_rate, covariance_rate = spreading_gaussian(GRIDS[grid])
    loss = hoam.ActionMatching(epsilon=0.0, samples="independent", time_derivative="data")
    dynamics, data = prepared(ds, loss, n_samples=4, n_end_samples=4)
    norm = dynamics.normalisation
    tau = (data.conditions[0, :, 0] + 1) / 2
    value, slope, curvature_of = compiled_table(loss, len(tau))
    nodes, batch = np.asarray(data.nodes), drawn(loss, data)

    start = jnp.zeros((len(nodes), 5))
    curvature = curvature_of(start, nodes, tau, batch).reshape(start.size, start.size)
    assert np.linalg.eigvalsh(np.asarray(curvature)).min() > 0
    best = -jnp.linalg.solve(curvature, slope(start, nodes, tau, batch).ravel())
    s = np.asarray(best).reshape(len(nodes), 5)
    # In normalised units x = shift + scale z the metric is that of z.
    scale, shift = np.asarray(norm.scale), np.asarray(norm.shift)
    lowest = 0.0
    for row, j in zip(s, nodes, strict=True):
        c, dc = (values[j] / np.outer(scale, scale) for values in (covariance, covariance_rate))
        m, dm = (mean[j] - shift) / scale, mean_rate[j] / scale
        size = np.eye(2)
        lyapunov = np.linalg.solve(np.kron(c, size) + np.kron(size, c), dc.ravel()).reshape(2, 2)
        found = np.asarray([[row[2], row[3] / 2], [row[3] / 2, row[4]]])
        np.testing.assert_allclose(found, lyapunov, atol=0.05 * np.abs(lyapunov).max())
        np.testing.assert_allclose(row[:2] + found @ m, dm, atol=0.05 * np.abs(dm).max())
        lowest -= float(data.weights[j]) / 2 * (dm @ dm + np.trace(lyapunov @ c @ lyapunov))
    np.testing.assert_allclose(value(jnp.asarray(s), nodes, tau, batch), lowest, rtol=3e-3)


@pytest.mark.long
@pytest.mark.usefixtures("x64")
def test_a_wiggle_between_the_nodes_gains_nothing() -> None:
    """Of any size, it vanishes at the nodes: the published loss falls without bound, the one on the data stays."""
    ds = spreading_gaussian(np.linspace(0, 1, 11))[0]
    values = {}
    for form in ("network", "data"):
        loss = hoam.ActionMatching(epsilon=0.0, samples="independent", time_derivative=form)
        dynamics, data = prepared(ds, loss, n_samples=4, n_end_samples=4)
        potential = Table(11, swings=10)
        embedding = embedding_of(potential, dynamics.normalisation, dynamics.structure)
        weights = potential.init(jax.random.key(0), 2, 1)
        batch = drawn(loss, data)
        size = jnp.asarray([1.0, 1.0, 1.0, 0.5, 1.0])
        value = jax.jit(
            lambda a, b, loss=loss, potential=potential, embedding=embedding, weights=weights, size=size: loss_value(
                loss, potential, embedding, {**weights, "swing": a * size}, b
            )
        )
        values[form] = np.asarray([[value(sign * a, batch) for a in (1.0, 10.0, 100.0)] for sign in (1, -1)])
    assert values["network"].min() < -1000
    np.testing.assert_allclose(values["data"], 0, atol=1e-6)


def settled(loss: Any, kind: Any = "gradient", network: Any = SMALL) -> Any:
    ds = box()
    split, layout = structure_of(kind, variables(ds), [1, 1]), SampleLayout(variables(ds), ((), ()))
    return loss.settled(Dynamics(normalisation_of(ds), None, split, layout), network)


def test_which_samples_an_iteration_sees() -> None:
    field, random = hoam.VectorField(time_harmonics=1), hoam.quadrature.uniform_random(8)
    assert settled(hoam.ActionMatching()).samples == "independent"
    assert settled(hoam.ActionMatching(), "kinetic", field).samples == "merged"
    # A force on one velocity that depends on it, as one on several, cannot be merged.
    assert settled(hoam.ActionMatching(), "kinetic").samples == "coupled"
    assert settled(hoam.ActionMatching(quadrature=random), "kinetic").samples == "independent"
    assert settled(hoam.ActionMatching(samples="independent"), "kinetic").samples == "independent"


def test_which_form_is_taken_and_which_one_judges() -> None:
    field = hoam.VectorField(time_harmonics=1)
    random = hoam.quadrature.uniform_random(8)
    forms = {
        "data": settled(hoam.ActionMatching()),
        "network": settled(hoam.ActionMatching(quadrature=random)),
        "named": settled(hoam.ActionMatching(time_derivative="network")),
        "kinetic": settled(hoam.ActionMatching(), "kinetic", field),
        "paper": hoam.recipes.paper()["loss"],
    }
    assert [loss.time_derivative for loss in forms.values()] == ["data", *["network"] * 4]
    judges = [loss.judged_by() for loss in (*forms.values(), settled(hoam.DICE(epsilon=0.1)))]
    assert {judge.time_derivative for judge in judges} == {"data"}
    assert judges[1].quadrature is None
    assert judges[-1].noise == 0.1
    assert hoam.VelocityMatching().judged_by() == hoam.VelocityMatching()
    with pytest.raises(Exception, match="time_derivative"):
        hoam.ActionMatching(time_derivative="samples")  # type: ignore[arg-type]
