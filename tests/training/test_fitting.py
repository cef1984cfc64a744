"""`fit`: what is learned, from what data, and what happens when it cannot go on."""

import dataclasses
import itertools
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy
import xarray as xr

import hoam_plugin as hoam
from hoam_plugin.dynamics.known import Dynamics
from hoam_plugin.dynamics.normalisation import normalisation_of
from hoam_plugin.dynamics.structure import Structure
from hoam_plugin.steppers import SampleLayout
from hoam_plugin.surrogates import provenance_of
from hoam_plugin.training import fitting
from hoam_plugin.training import iterations as training
from hoam_plugin.training import run as training_run
from hoam_plugin.training.drawing import TrainingData, draw_nodes
from hoam_plugin.training.fitting import time_weights
from hoam_plugin.training.guard import RunAwayGuard
from hoam_plugin.training.iterations import Training
from hoam_plugin.training.optimisers import OPTIMISERS
from hoam_plugin.training.windows import TrainingSamples


@pytest.mark.parametrize("epsilon", [pytest.param(0.0, marks=pytest.mark.slow), 0.1])
def test_learns_a_translation_between_the_training_parameters(epsilon: float) -> None:
    speeds = (1.0, 1.5, 2.0, 2.5, 3.0)
    model = hoam.fit(
        toy.moving_gaussian(speeds, n_times=33),
        key=jax.random.key(0),
        potential=hoam.CoLoRA(width=16, depth=3, rank=2, hyper_width=8),
        loss=hoam.ActionMatching(epsilon=epsilon),
        training=Training(iterations=1500, n_samples=32, runs_per_iteration=5, learning_rate=6e-3),
        progress=False,
    )
    y = jnp.linspace(-1.0, 1.0, 5)[:, None]
    for mu in (1.25, 1.75, 2.75):
        velocity = model.velocity(y + mu, 1.0, {"mu": mu})
        # With noise, the drift also holds eps^2/2 grad log rho = -eps^2/2 (y - mu t), small here.
        np.testing.assert_allclose(velocity.mean(), mu, rtol=0.06)
    loss = model.history["loss"].values
    # In normalised units the optimum is -E[u^2]/2 over the runs, u = mu T / scale.
    scale = float(model.learned.normalisation.scale[0])
    optimum = -np.mean((2 * np.asarray(speeds) / scale) ** 2) / 2
    np.testing.assert_allclose(loss[-300:].mean(), optimum, rtol=0.1)


def test_same_key_gives_the_same_surrogate_and_another_key_another() -> None:
    ds = toy.moving_gaussian()
    first, again = toy.gaussian_surrogate(), toy.small_surrogate(ds)
    for a, b in zip(jax.tree.leaves(first.learned.weights), jax.tree.leaves(again.learned.weights), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(first.history["loss"], again.history["loss"])
    assert not np.array_equal(toy.small_surrogate(ds, seed=9).history["loss"], first.history["loss"])


def test_host_threads_change_nothing_but_the_order_of_the_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = toy.plasma_surrogate()
    monkeypatch.setattr(training, "_LEAST_WORK_PER_THREAD", 1)
    monkeypatch.setattr(training, "available_cores", lambda: 2)
    used = []
    original = training._compiled_gradient
    monkeypatch.setattr(training, "_compiled_gradient", lambda *a: used.append(a[2].end_signs.tolist()) or original(*a))
    threaded = toy.small_surrogate(toy.small_plasma_ensemble())
    assert used == [[0.5, -0.5]] * 80
    np.testing.assert_allclose(threaded.history["loss"], plain.history["loss"], rtol=1e-3, atol=1e-5)


def test_threads_divide_what_there_is() -> None:
    data = TrainingData(
        jnp.zeros((1, 6, 1, 64, 1)),
        jnp.zeros((1, 2, 1, 48, 1)),
        jnp.zeros((1, 6, 1)),
        jnp.ones(6) / 6,
        jnp.arange(6),
        jnp.zeros((1, 1)),
    )

    def number(cores: int, **options: Any) -> int:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(training, "available_cores", lambda: cores)
            setup = training.Setup(hoam.CoLoRA(**options), None, hoam.ActionMatching(), Training())
            return training.threads(setup, data)

    assert number(1, width=512) == 1
    assert number(8, width=2) == 1
    assert number(2, width=512) == 2
    assert number(5, width=512) == 3
    assert number(8, width=512) == 6


def test_history_and_description() -> None:
    model = toy.gaussian_surrogate()
    assert dict(model.history.sizes) == {"iteration": 40}
    assert (model.history["seconds"] > 0).all()
    assert (model.history["quadratic"] >= 0).all()
    assert model.ranges == {"mu": (1.0, 3.0)}
    assert model.horizon == (0.0, 2.0)
    assert json.loads(provenance_of(model).configuration)["potential"]["width"] == 8


def test_normalisation_sees_training_runs_only_and_periods() -> None:
    model = toy.plasma_surrogate()
    np.testing.assert_allclose(
        model.learned.normalisation.periods[0] * model.learned.normalisation.scale[0], 50, rtol=1e-6
    )
    x = jnp.asarray([[1.0, 0.5], [51.0, 0.5], [-49.0, 0.5]])
    v = model.velocity(x, 1.0, {"mu": 1.4})
    np.testing.assert_allclose(v[0], v[1], rtol=2e-3, atol=1e-5)
    np.testing.assert_allclose(v[0], v[2], rtol=2e-3, atol=1e-5)


def test_runs_without_parameters_and_one_run() -> None:
    one = toy.moving_gaussian(speeds=(2.0,))
    np.testing.assert_array_equal(normalisation_of(one).parameter_scale, one["mu"].values)
    assert toy.small_surrogate(one.drop_vars("mu")).parameters == ()


def test_random_rules_draw_saved_times_in_proportion_to_their_weights() -> None:
    rule = hoam.quadrature.uniform_random(16)
    model = hoam.fit(
        toy.moving_gaussian(n_times=33),
        key=jax.random.key(0),
        potential=hoam.CoLoRA(width=8, depth=2),
        loss=hoam.ActionMatching(epsilon=0.0, quadrature=rule),
        training=Training(iterations=20, n_samples=32),
        progress=False,
    )
    assert np.isfinite(model.history["loss"]).all()
    loss = hoam.ActionMatching(quadrature=rule)
    weights = jnp.asarray([0.1, 0.6, 0.0, 0.3])
    data = TrainingData(
        jnp.zeros((1, 4, 1, 1, 1)),
        jnp.zeros((1, 2, 1, 1, 1)),
        jnp.zeros((1, 4, 1)),
        weights,
        jnp.asarray([0, 1, 3], jnp.int32),
        jnp.zeros((1, 1)),
    )
    drawn = np.concatenate([draw_nodes(loss, data, k, None)[0] for k in jax.random.split(jax.random.key(0), 200)])
    np.testing.assert_allclose(np.bincount(drawn, minlength=4) / drawn.size, weights, atol=0.03)


def test_a_subset_of_the_nodes_is_unbiased() -> None:
    weights = jnp.asarray([0.0, 0.2, 0.3, 0.1, 0.4])
    data = TrainingData(
        jnp.zeros((1, 5, 1, 1, 1)),
        jnp.zeros((1, 2, 1, 1, 1)),
        jnp.zeros((1, 5, 1)),
        weights,
        jnp.asarray([1, 2, 3, 4], jnp.int32),
        jnp.zeros((1, 1)),
    )
    total = np.zeros(5)
    keys = jax.random.split(jax.random.key(0), 400)
    for key in keys:
        nodes, node_weights = draw_nodes(hoam.ActionMatching(), data, key, 3)
        # One from each third of the list.
        assert (np.diff(nodes) >= 0).all()
        assert nodes[0] <= 2 <= nodes[1] <= 3 <= nodes[2] + 1
        np.add.at(total, np.asarray(nodes), np.asarray(node_weights))
    np.testing.assert_allclose(total / len(keys), weights, atol=0.03)


def test_time_weights() -> None:
    ds = toy.moving_gaussian(n_times=9)
    simpson = hoam.quadrature.simpson(9)
    np.testing.assert_allclose(time_weights(ds, None), simpson.nodes_and_weights()[1])
    np.testing.assert_allclose(time_weights(ds, simpson), simpson.nodes_and_weights()[1])
    uneven = ds.isel(time=[0, 1, 4, 8])
    np.testing.assert_allclose(time_weights(uneven, None), np.asarray([0.0625, 0.25, 0.4375, 0.25]))
    plasma = toy.small_plasma_ensemble(n_samples=64)
    weights = time_weights(plasma, hoam.quadrature.gauss_legendre(8))
    np.testing.assert_allclose(weights, plasma["quadrature_weight"], atol=1e-12)
    np.testing.assert_allclose(time_weights(plasma, None), plasma["quadrature_weight"])
    with pytest.raises(ValueError, match=r"quadrature=gauss_legendre\(8\) does not match the 9 saved times"):
        time_weights(ds, hoam.quadrature.gauss_legendre(8))


def flat_start(ds: xr.Dataset) -> xr.Dataset:
    return ds.assign(y=ds["y"].where(ds["time"] > 0, 0.5))


BAD_INPUT: dict[str, tuple[Any, dict[str, Any], type[Exception], str]] = {
    "structure": (lambda ds: ds, {"structure": "kinetics"}, ValueError, "structure='kinetics'"),
    "one time": (lambda ds: ds.isel(time=[0]), {}, ValueError, "1 saved time"),
    "nan": (lambda ds: ds.assign(y=ds["y"].where(ds["y"] > -3)), {}, ValueError, "variable 'y' holds non-finite"),
    "no run": (lambda ds: ds.isel(run=0), {}, ValueError, "lacks the dim 'run'"),
    "float64": (lambda ds: ds.astype(np.float64), {}, TypeError, "float64.*jax_enable_x64"),
    "no spread": (flat_start, {}, ValueError, "no spread at time 0 in run 0.*epsilon=0"),
    "replaces": (lambda ds: ds, {"replaces": toy.small_plasma()}, ValueError, "replaces=.* lacks \\['y'\\]"),
    "constant": (lambda ds: ds.assign(y=ds["y"] * 0), {}, ValueError, "variable 'y' is constant"),
}


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_is_refused_in_one_sentence(case: str, tmp_path: Path) -> None:
    change, options, error, message = BAD_INPUT[case]
    if case == "structure":
        error = Exception  # the annotation check of the tests may come first
        message = "structure"
    with pytest.raises(error, match=message) as caught:
        hoam.fit(change(toy.moving_gaussian()), key=jax.random.key(0), checkpoint=tmp_path / "m.hoam", **options)
    if case != "structure":
        assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_existing_checkpoint_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "m.hoam"
    path.write_text("precious")
    with pytest.raises(FileExistsError, match=r"m\.hoam"):
        hoam.fit(toy.moving_gaussian(), key=jax.random.key(0), checkpoint=path)
    assert path.read_text() == "precious"


def test_interrupt_keeps_the_model_so_far(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = training.blocks

    def interrupted(*arguments: Any) -> Any:
        for i, record in enumerate(original(*arguments)):
            if i == 2:
                raise KeyboardInterrupt
            yield record

    monkeypatch.setattr(training, "blocks", interrupted)
    path = tmp_path / "m.hoam"
    with pytest.raises(hoam.TrainingInterrupted, match=r"model of iteration 20 was written to .*m\.hoam") as caught:
        toy.small_surrogate(toy.moving_gaussian(), checkpoint=path)
    assert caught.value.path == path
    kept = hoam.load(path)
    assert dict(kept.history.sizes) == {"iteration": 20}
    for a, b in zip(
        jax.tree.leaves(kept.learned.weights), jax.tree.leaves(caught.value.surrogate.learned.weights), strict=True
    ):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("noise", [0.1, 5.0])
def test_guard_leaves_noisy_training_alone(noise: float) -> None:
    """Losses at their optimum -q under noise, up to ten times q: no alarm in 200 blocks."""
    guard, rng = RunAwayGuard(Training(iterations=20_000, warmup=0, block=100)), np.random.default_rng(0)
    for _ in range(200):
        q = 0.5 + 0.05 * rng.standard_normal(100)
        guard.check(-q + noise * rng.standard_normal(100), q)


def test_guard_sees_explosions_of_any_shape() -> None:
    training_, rng = Training(iterations=1000, warmup=2, block=10), np.random.default_rng(0)
    for sign, message in ((-1, "ran away"), (1, "diverged")):
        guard = RunAwayGuard(training_)
        # Exponential growth within a block: its standard error is as large as its mean.
        losses = sign * np.exp(0.5 * np.arange(1000).clip(max=40)) * rng.uniform(1, 2, 1000)
        with pytest.raises(hoam.TrainingDivergedError, match=message):
            any(guard.check(block, 0.1 * np.ones(10)) for block in losses.reshape(100, 10))
    with pytest.raises(hoam.TrainingDivergedError, match=r"diverged: at iteration 10 its quadratic part is 1e\+07"):
        RunAwayGuard(training_).check(-np.ones(10), 1e7 * np.ones(10))


def test_guard_tells_run_away_from_training() -> None:
    guard = RunAwayGuard(Training(iterations=1000, warmup=10))
    q = np.full(100, 0.5)
    for _ in range(3):
        guard.check(-q, q)
    with pytest.raises(hoam.TrainingDivergedError, match=r"ran away.*more quadrature nodes"):
        guard.check(-8 * q, q)
    with pytest.raises(hoam.TrainingDivergedError, match="became nan at iteration 403"):
        guard.check(np.where(np.arange(100) == 3, np.nan, -q), q)


def two_nodes() -> xr.Dataset:
    """Two nodes cannot integrate what a fast network can wiggle; the loss then has no lower bound."""
    dense = toy.moving_gaussian(n_times=1001)
    nodes = np.rint(1000 * hoam.quadrature.gauss_legendre(2).nodes_and_weights()[0]).astype(int)
    ds = dense.isel(time=[0, *nodes, 1000])
    ds["quadrature_weight"] = ("time", [0.0, 0.5, 0.5, 0.0])
    return ds


def fit_two_nodes(learning_rate: float, **options: Any) -> hoam.Surrogate:
    return hoam.fit(
        two_nodes(),
        key=jax.random.key(0),
        potential=hoam.CoLoRA(width=16, depth=3, rank=4, hyper_width=32, hyper_depth=4),
        loss=hoam.ActionMatching(epsilon=0.0),
        training=Training(iterations=1000, n_samples=64, learning_rate=learning_rate, warmup=4, block=10),
        progress=False,
        **options,
    )


@pytest.mark.parametrize(
    ("learning_rate", "message"),
    [(1e-3, "ran away"), pytest.param(5e-2, "(ran away|diverged|became)", marks=pytest.mark.slow)],
)
def test_exploited_quadrature_error_is_caught_and_the_last_good_model_kept(
    learning_rate: float, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "m.hoam"
    with pytest.raises(hoam.TrainingDivergedError, match=f"loss {message}.*was written to .*m") as caught:
        fit_two_nodes(learning_rate, checkpoint=path)
    kept = hoam.load(path)
    assert caught.value.surrogate is not None
    np.testing.assert_array_equal(kept.history["loss"], caught.value.surrogate.history["loss"])
    # The exact value is about -1; what is kept had not yet left the earth.
    assert np.abs(kept.history["loss"][-20:]).max() < 1e3


def test_training_goes_back_with_half_the_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """The guard is made to complain once; the rest must be the same training from there with half the steps."""
    checks, scales = [], []
    original_check, original_blocks = RunAwayGuard.check, training.blocks

    def check(self: RunAwayGuard, loss: np.ndarray, quadratic: np.ndarray) -> None:
        checks.append(len(loss))
        if len(checks) == 3:
            raise hoam.TrainingDivergedError("the loss ran away")
        original_check(self, loss, quadratic)

    def blocks(setup: Any, progress: Any, *rest: Any) -> Any:
        scales.append((int(progress.iteration), float(progress.step_scale)))
        return original_blocks(setup, progress, *rest)

    monkeypatch.setattr(RunAwayGuard, "check", check)
    monkeypatch.setattr(training, "blocks", blocks)
    monkeypatch.setattr(training_run, "_REWOUND_BLOCKS", 1)
    monkeypatch.setattr(training_run, "_REWOUND_ITERATIONS", 10)
    model = toy.small_surrogate(toy.moving_gaussian())
    assert scales == [(0, 1.0), (10, 0.5)]
    assert model.history.attrs["learning_rate_halvings"] == 1
    assert dict(model.history.sizes) == {"iteration": 40}
    plain = toy.gaussian_surrogate().history["loss"]
    np.testing.assert_array_equal(model.history["loss"][:10], plain[:10])
    assert not np.array_equal(model.history["loss"][11:], plain[11:])


def test_one_compilation_for_all_blocks() -> None:
    before = training._block._cache_size()
    options = Training(iterations=25, n_samples=16, block=10)
    ds, potential = toy.moving_gaussian(), hoam.CoLoRA(width=3, depth=2, hyper_depth=2)
    model = hoam.fit(ds, key=jax.random.key(0), potential=potential, training=options, progress=False)
    assert dict(model.history.sizes) == {"iteration": 25}
    assert training._block._cache_size() == before + 1


def windows_seen(samples: TrainingSamples, iterations: range) -> list[Any]:
    """The sorted first coordinates of all samples held for every run, at each of the iterations."""
    seen = []
    for iteration in iterations:
        points = np.asarray(samples.at(iteration).points)
        seen.append(np.sort(points[:, 0].reshape(points.shape[0], -1), axis=1))
    return seen


def test_a_large_ensemble_is_seen_through_moving_windows() -> None:
    ds = toy.moving_gaussian(speeds=(1.0, 2.0), n_samples=1024)
    # Two runs in windows of a quarter: as much again is being read, raw and prepared.
    options = Training(iterations=80, block=10, n_samples=64, n_end_samples=64, sample_memory=ds["y"].nbytes // 2)

    layout = SampleLayout(hoam.ensemble.variables(ds), ((),))
    dynamics = Dynamics(normalisation_of(ds), None, Structure("gradient", (0,)), layout)

    def samples(**changes: Any) -> TrainingSamples:
        return TrainingSamples(
            ds,
            dynamics,
            time_weights(ds, None),
            hoam.ActionMatching(),
            dataclasses.replace(options, **changes),
            jax.random.key(0),
        )

    moving = samples()
    seen = windows_seen(moving, range(0, 80, 10))
    whole = windows_seen(samples(sample_memory=1 << 30), range(1))[0]
    assert seen[0].shape == (2, 256)
    for run in range(2):
        # Every window once, in turn; together they are the ensemble.
        windows = {float(s[run, 0]): s[run] for s in seen}
        assert len(windows) == 4
        np.testing.assert_array_equal(np.sort(np.concatenate(list(windows.values()))), whole[run])
    # No two runs move at once, and where they are depends on the iteration alone.
    assert all((a == b).all(axis=1).any() for a, b in itertools.pairwise(seen))
    np.testing.assert_array_equal(windows_seen(samples(), range(50, 51))[0], seen[5])
    np.testing.assert_array_equal(windows_seen(moving, range(20, 21))[0], seen[2])


def test_training_from_disk_is_training_from_memory(tmp_path: Path) -> None:
    ds = toy.moving_gaussian(n_samples=1024)
    hoam.ensemble.save(ds, tmp_path / "ds.zarr")
    lazy = hoam.ensemble.load(tmp_path / "ds.zarr", lazy=True)

    def fit(ds: xr.Dataset, **options: Any) -> hoam.Surrogate:
        memory = ds["y"].nbytes // 4
        training_ = Training(iterations=60, block=10, n_samples=64, sample_memory=memory, checkpoint_seconds=0.0)
        potential = hoam.CoLoRA(width=3, depth=2, hyper_depth=2)
        return hoam.fit(ds, key=jax.random.key(0), potential=potential, training=training_, progress=False, **options)

    whole = fit(ds)
    np.testing.assert_array_equal(fit(lazy).history["loss"], whole.history["loss"])
    # Interrupted where windows have moved, and resumed.
    original = training.blocks

    def interrupted(*arguments: Any) -> Any:
        yield from itertools.islice(original(*arguments), 4)
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "blocks", interrupted)
        with pytest.raises(hoam.TrainingInterrupted, match="iteration 40"):
            fit(lazy, checkpoint=tmp_path / "m.hoam")
    np.testing.assert_array_equal(fit(lazy, resume=tmp_path / "m.hoam").history["loss"], whole.history["loss"])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("iterations", 0),
        ("n_samples", -1),
        ("learning_rate", 0.0),
        ("average", 1.0),
        ("warmup", -1),
        ("n_times", 0),
        ("matmul_precision", "half"),
    ],
)
def test_bad_training_options(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{field}={value!r}"):
        Training(**{field: value})


def test_unknown_optimiser_is_refused() -> None:
    with pytest.raises(Exception, match="optimiser"):
        Training(optimiser="sgd")  # type: ignore[arg-type]


COMPILED_OFTEN = [
    pytest.param({"optimiser": name}, marks=() if name in ("adam", "muon") else pytest.mark.slow) for name in OPTIMISERS
]


@pytest.mark.parametrize("options", [*COMPILED_OFTEN, {"matmul_precision": "bfloat16"}])
def test_every_optimiser_and_precision_lowers_the_loss(options: Any) -> None:
    training_ = Training(iterations=60, n_samples=32, learning_rate=3e-3, **options)
    model = hoam.fit(
        toy.moving_gaussian(),
        key=jax.random.key(0),
        potential=hoam.CoLoRA(width=4, depth=2, rank=1, hyper_width=4, hyper_depth=2),
        loss=hoam.ActionMatching(epsilon=0.0),
        training=training_,
        progress=False,
    )
    assert float(model.history["loss"][-10:].mean()) < -0.005


def test_the_recipe_of_the_paper_is_accepted_by_fit() -> None:
    recipe = hoam.recipes.paper(iterations=1)
    assert recipe["potential"].depth == 7
    # Fewer layers compile faster.
    recipe["potential"] = dataclasses.replace(recipe["potential"], depth=2, width=8)
    recipe["training"] = dataclasses.replace(recipe["training"], n_samples=8)
    model = hoam.fit(toy.moving_gaussian(n_samples=64), key=jax.random.key(0), progress=False, **recipe)
    assert fitting.json.loads(provenance_of(model).configuration)["loss"]["epsilon"] == 0.2
