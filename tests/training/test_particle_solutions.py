"""Coefficients over time and runs: what is solved for is found again, and no more is chosen than there is."""

import numpy as np
import pytest

from hoam_plugin.training.particle_solutions import Basis, Group, Problem, solved
from hoam_plugin.training.particle_ways import Part, chosen

N_RUNS, N_TIMES, K = 4, 24, 5
PLACES = np.linspace(-1.0, 1.0, N_RUNS)[:, None]
TAUS = np.linspace(0.0, 1.0, N_TIMES)
WEIGHTS = np.full(N_TIMES, 1 / N_TIMES)


def problem(c: np.ndarray, scatter: float = 0.0, seed: int = 0) -> Problem:
    """Quadratic forms whose minimiser is c (run, time, k), up to scatter of b."""
    rng = np.random.default_rng(seed)
    half = rng.standard_normal((N_RUNS, N_TIMES, K, 2 * K))
    gram = np.einsum("rtkm,rtlm->rtkl", half, half) / (2 * K)
    linear = np.einsum("rtkl,rtl->rtk", gram, c) + scatter * rng.standard_normal((N_RUNS, N_TIMES, K))
    return Problem(gram, linear, WEIGHTS, TAUS, PLACES)


def curves(of_time: np.ndarray, of_run: np.ndarray) -> np.ndarray:
    return of_run[:, None, None] * of_time[None, :, None] * np.arange(1.0, K + 1)[None, None, :]


CONSTANT = curves(np.ones(N_TIMES), np.ones(N_RUNS))
WAVE = curves(1 + np.sin(2 * np.pi * TAUS), np.ones(N_RUNS))
SLOPED = curves(np.ones(N_TIMES), 1 + PLACES[:, 0])


@pytest.mark.parametrize(
    ("c", "basis", "error"),
    [
        pytest.param(CONSTANT, Basis(1, 0), 1e-5, id="constant"),
        pytest.param(SLOPED, Basis(1, 1), 1e-5, id="linear"),
        pytest.param(curves(np.ones(N_TIMES), np.exp(PLACES[:, 0])), Basis(1, None), 1e-5, id="own"),
        pytest.param(WAVE, Basis(12, 0), 0.02, id="splines"),
    ],
)
def test_what_is_in_the_space_is_found(c: np.ndarray, basis: Basis, error: float) -> None:
    found = solved(problem(c), [Group(0, K, basis, 0, unrest=1e-6)]).at(TAUS, PLACES)
    np.testing.assert_allclose(found, c, atol=error * np.abs(c).max())


def test_groups_may_differ() -> None:
    c = np.concatenate([WAVE[..., :2], SLOPED[..., 2:]], axis=-1)
    groups = [Group(0, 2, Basis(12, 0), 0, unrest=1e-6), Group(2, K, Basis(1, 1), 0)]
    np.testing.assert_allclose(solved(problem(c), groups).at(TAUS, PLACES), c, atol=0.02 * np.abs(c).max())


def test_round_off_that_makes_a_matrix_indefinite_does_no_harm() -> None:
    own = problem(CONSTANT)
    spoilt = own._replace(gram=own.gram * 0 + np.diag([1.0, 1.0, 1.0, 1.0, -1e-9])[None, None])
    found = solved(spoilt._replace(linear=np.ones_like(own.linear)), [Group(0, K - 1, Basis(1, 0), 0)])
    np.testing.assert_allclose(found.at(TAUS, PLACES), np.ones((N_RUNS, N_TIMES, K - 1)), rtol=1e-4)


def test_a_function_that_hardly_ever_counts_has_no_coefficient_beyond_all_others() -> None:
    """What the few samples say of which it is a function, here a thousand, others would not say."""
    gram, linear = np.diag([1.0, 1.0, 1.0, 1.0, 1e-6]), np.asarray([1.0, 1.0, 1.0, 1.0, 1e-3])
    own = problem(CONSTANT)
    rare = own._replace(gram=own.gram * 0 + gram, linear=own.linear * 0 + linear)
    found = solved(rare, [Group(0, K, Basis(1, 0), 0, tether=1e-3)]).at(TAUS, PLACES)[0, 0]
    np.testing.assert_allclose(found[:-1], 1, rtol=2e-3)
    assert 0 < found[-1] < 2


def test_what_nothing_speaks_of_is_zero() -> None:
    own = problem(CONSTANT)
    silent = own._replace(gram=own.gram * np.diag([1.0, 1.0, 1.0, 1.0, 0.0])[None, None], linear=own.linear * 1.0)
    silent.linear[..., -1] = 0
    silent.gram[..., -1, :] = silent.gram[..., :, -1] = 0
    found = solved(silent, [Group(0, K, Basis(1, 0), 0)]).at(TAUS, PLACES)
    np.testing.assert_array_equal(found[..., -1], 0)


@pytest.mark.parametrize(
    ("c", "time", "degree"),
    [
        pytest.param(CONSTANT, False, 0, id="constant"),
        pytest.param(SLOPED, False, 1, id="linear"),
        pytest.param(WAVE, True, 0, id="wave"),
    ],
)
def test_no_more_is_chosen_than_there_is(c: np.ndarray, time: bool, degree: int) -> None:
    halves = problem(c, 0.3, seed=1), problem(c, 0.3, seed=2)
    tried = chosen(halves, [Part(slice(0, K), 0, 64)])
    basis = tried[-1].groups[0].basis
    assert (basis.n_times > 1) == time
    assert basis.degree == degree
    assert tried[-1].held_out <= min(one.held_out for one in tried) + 0.1


def test_a_function_of_the_distance_is_as_smooth_as_held_out_configurations_want() -> None:
    def best(of_k: np.ndarray, scatter: float) -> float:
        c = np.broadcast_to(of_k, (N_RUNS, N_TIMES, K))
        halves = problem(c, scatter, seed=1), problem(c, scatter, seed=2)
        return chosen(halves, [Part(slice(0, K), K, 64)])[-1].groups[0].roughness

    assert best(np.sin(np.linspace(0, 3, K)), 3.0) > best(np.asarray([1.0, -1.0, 1.0, -1.0, 1.0]), 0.0)


def test_bases_are_told_in_words() -> None:
    assert str(Basis(1, 0)) == "constant in time, the same for all runs"
    assert str(Basis(8, 2)) == "8 splines in time, of degree 2 in the parameters"
    assert str(Basis(8, None)) == "8 splines in time, its own for every run"
