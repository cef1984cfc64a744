"""The particle-in-cell solver as a stepper, and how its particles start."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from hoam_plugin.registry import rebuild_from_attribute
from hoam_plugin.simulators import Beam, VlasovPoissonPIC, bump_on_tail, two_stream

KEY = jax.random.key(0)


@functools.partial(jax.jit, static_argnums=1)
def begin(stepper, n_samples, mu):
    return stepper.init(KEY, n_samples, {"mu": mu})


# The contract


@pytest.mark.long
def test_refresh_changes_nothing_when_repeated_or_after_a_step():
    stepper, mu = two_stream(n_cells=64), {"mu": 1.3}
    state = jax.jit(stepper.step)(begin(stepper, 500, 1.3), 0.1, mu)
    once = stepper.refresh(state, mu)
    for a, b in ((state, once), (once, stepper.refresh(once, mu))):
        jax.tree.map(lambda p, q: np.testing.assert_allclose(p, q, atol=1e-5), a, b)
    jax.tree.map(np.testing.assert_array_equal, once, stepper.refresh(once, mu))


def test_vmap_over_mu_equals_a_loop(x64):
    stepper, mus = two_stream(n_cells=64), jnp.asarray([1.2, 1.5, 1.9])

    @jax.jit
    def final(mu):
        state = stepper.init(KEY, 400, {"mu": mu})
        return jax.lax.fori_loop(0, 30, lambda i, s: stepper.step(s, 0.1, {"mu": mu}), state)

    together = jax.jit(jax.vmap(final))(mus)
    for i, mu in enumerate(mus):
        alone = final(mu)
        np.testing.assert_allclose(together.x[i], alone.x, atol=1e-10)
        np.testing.assert_allclose(together.v[i], alone.v, atol=1e-10)


def test_precision_follows_the_configuration(x64):
    for flag, dtype in ((False, np.float32), (True, np.float64)):
        jax.config.update("jax_enable_x64", flag)
        stepper = two_stream(n_cells=64)
        state = jax.jit(stepper.step)(begin(stepper, 100, 1.3), 0.1, {"mu": 1.3})
        assert {leaf.dtype for leaf in jax.tree.leaves(state)} == {np.dtype(dtype)}


def test_the_stepper_is_rebuilt_from_its_description():
    stepper = bump_on_tail(amplitude=0.1, n_cells=100, mode=2)
    name, arguments = stepper.describe()
    again = rebuild_from_attribute(json.dumps({"name": name, "arguments": arguments}))
    assert again == stepper
    assert jax.tree.structure(again) == jax.tree.structure(stepper)
    assert hash(jax.tree.structure(again)) == hash(jax.tree.structure(stepper))


# The start


def test_the_quiet_start_is_far_closer_to_f0_than_a_random_one():
    n, amplitude, length = 25_000, 0.05, 50.0
    k = 2 * np.pi / length

    def cdf_x(x):
        return x / length + amplitude / (2 * np.pi) * np.sin(k * x)

    def cdf_v(v):
        return (stats.norm.cdf(v + 3) + stats.norm.cdf(v - 3)) / 2

    distance = {}
    for start in ("quiet", "random"):
        state = begin(two_stream(start=start), n, 1.3)
        x, v = np.asarray(state.x, np.float64), np.asarray(state.v, np.float64)
        distance[start] = np.array(
            [
                stats.kstest(x, cdf_x).statistic,
                stats.kstest(v, cdf_v).statistic,
                abs(2 * np.cos(k * x).mean() - amplitude),
                abs(np.cos(2 * k * x).mean()),
                abs(v.mean()),
                abs((v**2).mean() - 10),
            ]
        )
    assert (distance["random"] < [0.015, 0.015, 0.05, 0.05, 0.1, 0.3]).all()
    assert (distance["quiet"] < [5e-4, 5e-4, 1e-4, 1e-4, 1e-2, 1e-2]).all()


def test_the_quiet_start_holds_no_noise_in_the_field():
    amplitudes = {}
    for start in ("quiet", "random"):
        state = begin(two_stream(start=start, n_cells=512), 100_000, 1.3)
        amplitudes[start] = np.abs(np.fft.rfft(np.asarray(state.aux.electric_field)))[:6] * 2 / 512
    expected = 0.05 / (2 * np.pi / 50) / 1.3**2
    assert amplitudes["quiet"][1] == pytest.approx(expected, rel=1e-3)
    assert amplitudes["quiet"][2:].max() < 1e-3 * expected
    assert amplitudes["quiet"][2:].max() < amplitudes["random"][2:].max() / 20


def test_a_stronger_or_shorter_wave_starts_as_told():
    stepper = two_stream(amplitude=-0.4, mode=3, n_cells=512)
    field = np.asarray(begin(stepper, 100_000, 1.0).aux.electric_field)
    spectrum = np.abs(np.fft.rfft(field)) * 2 / 512
    assert spectrum[3] == pytest.approx(0.4 / (6 * np.pi / 50), rel=1e-3)
    assert np.delete(spectrum[:20], 3).max() < 0.01 * spectrum[3]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"beams": ()}, r"beams=\(\) must be one or more Maxwellians"),
        ({"beams": (Beam(0.0, 1.0, 1.0),)}, "positive weight and width"),
        ({"amplitude": 1.0}, r"amplitude=1.0 makes the density negative; it must lie in \(-1, 1\)"),
        ({"mode": 1.5}, "mode=1.5 must be a positive whole number"),
        ({"mode": 0}, "mode=0"),
        ({"start": "silent"}, "start='silent' must be 'quiet' or 'random'"),
        ({"length": -1.0}, "length=-1.0 must be a positive number"),
        ({"dt": 0.0}, "dt=0.0 must be a positive number"),
        ({"n_cells": 2}, "n_cells=2 must be a whole number of at least 4"),
        ({"n_cells": 64.5}, "n_cells=64.5 must be a whole number"),
        ({"horizon": (1.0, 0.0)}, r"horizon=\(1.0, 0.0\) must be increasing"),
    ],
)
def test_wrong_arguments_are_named(as_installed, wrong, says):
    with pytest.raises(ValueError, match=says):
        VlasovPoissonPIC(**wrong)


def test_only_available_solvers_are_accepted(as_installed):
    with pytest.raises(ValueError, match="solver='spectral' is not available"):
        two_stream(solver="spectral")
