"""Substeps that land on every saved time."""

from typing import Any

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hoam_plugin.surrogates import schedule


@pytest.mark.long
@hypothesis.given(
    gaps=st.sampled_from([1, 6]).flatmap(lambda n: st.lists(st.floats(0.01, 3.0), min_size=n, max_size=n)),
    wait=st.sampled_from([0.0, 0.7]),
    dt=st.floats(0.05, 1.0),
)
@hypothesis.settings(max_examples=12)
def test_schedule_lands_on_every_saved_time(gaps: list[float], wait: float, dt: float) -> None:
    times = (2.0 + wait + np.concatenate([[0.0], np.cumsum(gaps)])).astype(np.float32)
    n_steps = schedule.most_steps(float(times[-1]) - 2.0, len(times), dt)
    # One length for all examples, so that they share compiled code.
    traced = schedule.schedule(jnp.float32(2.0), jnp.asarray(times), dt, 512)
    assert bool((traced.sizes <= dt * (1 + 1e-4)).all())
    np.testing.assert_allclose(traced.starts[0], 2.0)
    np.testing.assert_allclose(_reached(2.0, traced, n_steps), times, atol=2e-5)
    known = schedule.known_schedule(2.0, times.astype(np.float64), dt)
    assert known.sizes.max() <= dt * (1 + 1e-3)
    np.testing.assert_allclose(_reached(2.0, known, n_steps), times, rtol=1e-12)


def _reached(start: float, laid_out: schedule.Schedule, n_steps: int) -> np.ndarray:
    """The times at the ends of blocks that are saved; every step is taken once, in order, and no other."""
    steps, counts, done = (np.asarray(part) for part in laid_out.blocks)
    taken = [row[:count] for row, count in zip(steps, counts, strict=True)]
    total = sum(counts)
    np.testing.assert_array_equal(np.concatenate(taken), np.arange(total))
    assert total <= n_steps
    assert np.all(np.asarray(laid_out.sizes)[total:] == 0)
    sizes = np.asarray(laid_out.sizes, np.float64)
    ends = start + np.concatenate([[0.0], np.cumsum([sizes[own].sum() for own in taken])])
    return ends[done]


def test_traced_times_get_an_upper_bound_of_steps() -> None:
    horizon, dt = (0.0, 10.0), 0.3
    bounds = []

    @jax.jit
    def lay_out(times: Any) -> Any:
        bounds.append(schedule.most_steps(horizon[1] - horizon[0], len(times), dt))
        return schedule.schedule(jnp.float32(0), times, dt, bounds[-1]).blocks.counts

    for times in ([0.0, 1.0, 10.0], [9.8, 9.9, 10.0], [0.1, 0.2, 0.3]):
        assert int(lay_out(jnp.asarray(times)).sum()) <= bounds[0]
    assert len(bounds) == 1
