"""Compiled iterations: threads, optimisers and their settings."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy

import hoam_plugin as hoam
from hoam_plugin.training import iterations
from hoam_plugin.training.data import TrainingData
from hoam_plugin.training.settings import OPTIMISERS, Training


@pytest.mark.long
def test_host_threads_change_nothing_but_the_order_of_the_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = toy.plasma_surrogate()
    monkeypatch.setattr(iterations, "_LEAST_WORK_PER_THREAD", 1)
    monkeypatch.setattr(iterations, "available_cores", lambda: 2)
    used = []
    original = iterations._compiled_gradient
    monkeypatch.setattr(
        iterations, "_compiled_gradient", lambda *a: used.append(a[2].end_signs.tolist()) or original(*a)
    )
    threaded = toy.small_surrogate(toy.small_plasma_ensemble())
    # Two shares of each of 40 iterations, equal but for the samples.
    assert used == [used[0]] * 80
    np.testing.assert_allclose(sum(used[0]), 0, atol=1e-6)
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
            patch.setattr(iterations, "available_cores", lambda: cores)
            setup = iterations.Setup(hoam.CoLoRA(**options), None, hoam.ActionMatching(), Training())
            return iterations.threads(setup, data)

    assert number(1, width=512) == 1
    assert number(8, width=2) == 1
    assert number(2, width=512) == 2
    assert number(5, width=512) == 3
    assert number(8, width=512) == 6


@pytest.mark.long
def test_one_compilation_for_all_blocks() -> None:
    before = iterations._block._cache_size()
    options = Training(iterations=25, n_samples=16, block=10)
    ds, potential = toy.moving_gaussian(), hoam.CoLoRA(width=3, depth=2, hyper_depth=2)
    model = hoam.fit(ds, key=jax.random.key(0), potential=potential, training=options, progress=False)
    assert dict(model.history.sizes) == {"iteration": 25}
    assert iterations._block._cache_size() == before + 1


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


@pytest.mark.long
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
