"""Quadrature rules: polynomial exactness to round-off, convergence order, and the statistics of the random ones."""

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoam_plugin import quadrature

RANDOM = (quadrature.uniform_random, quadrature.low_discrepancy)


def integrate(rule, f, key=None):
    nodes, weights = rule.nodes_and_weights(key)
    return float(weights @ f(nodes))


@pytest.mark.parametrize("n", [1, 2, 3, 7, 16, 64])
def test_gauss_legendre_integrates_polynomials_up_to_degree_2n_minus_1(n):
    for degree in range(2 * n):
        assert integrate(quadrature.gauss_legendre(n), lambda t: t**degree) == pytest.approx(  # noqa: B023
            1 / (degree + 1), rel=1e-13
        )


def test_gauss_legendre_is_not_exact_beyond_its_degree():
    assert abs(integrate(quadrature.gauss_legendre(2), lambda t: t**4) - 1 / 5) > 1e-3


@pytest.mark.parametrize(("rule", "degree"), [(quadrature.simpson, 3), (quadrature.trapezoid, 1)])
@pytest.mark.parametrize("n", [3, 5, 65, 1001])
def test_newton_cotes_rules_are_exact_up_to_their_degree_and_no_further(rule, degree, n):
    for power in range(degree + 1):
        assert integrate(rule(n), lambda t: t**power) == pytest.approx(1 / (power + 1), rel=1e-13)  # noqa: B023
    if n <= 65:
        assert abs(integrate(rule(n), lambda t: t ** (degree + 1)) - 1 / (degree + 2)) > 1e-9


@pytest.mark.parametrize(("rule", "order"), [(quadrature.simpson, 4), (quadrature.trapezoid, 2)])
def test_composite_rules_converge_with_their_order(rule, order):
    errors = [abs(integrate(rule(n), np.exp) - (np.e - 1)) for n in (17, 33)]
    assert np.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.05)


@given(
    kind=st.sampled_from(["gauss_legendre", "simpson", "trapezoid", *(r.__name__ for r in RANDOM)]),
    n=st.integers(2, 200),
)
def test_nodes_increase_within_the_unit_interval_and_weights_sum_to_one(kind, n):
    rule = getattr(quadrature, kind)(2 * n + 1 if kind == "simpson" else n)
    nodes, weights = rule.nodes_and_weights(jax.random.key(n))
    assert nodes.shape == weights.shape == (rule.n,)
    assert nodes.dtype == weights.dtype == np.float64
    assert weights.sum() == pytest.approx(1, abs=1e-14)
    assert (weights > 0).all()
    assert (np.diff(nodes) > 0).all()
    assert nodes[0] >= 0
    assert nodes[-1] <= 1


@pytest.mark.parametrize("make", RANDOM)
def test_random_rules_are_unbiased(make):
    rule = make(16)
    drawn = jax.vmap(rule.draw)(jax.random.split(jax.random.key(0), 2000))
    estimates = np.mean(np.asarray(drawn, np.float64) ** 2, axis=1)
    assert estimates.mean() == pytest.approx(1 / 3, abs=4 * estimates.std() / np.sqrt(2000))
    on_host = [integrate(rule, lambda t: t**2, jax.random.key(seed)) for seed in range(500)]
    assert np.mean(on_host) == pytest.approx(1 / 3, abs=4 * np.std(on_host) / np.sqrt(500))


def test_low_discrepancy_times_have_less_variance_than_independent_ones():
    spread = {
        make.__name__: np.std([integrate(make(64), lambda t: t**2, jax.random.key(seed)) for seed in range(100)])
        for make in RANDOM
    }
    assert spread["low_discrepancy"] < spread["uniform_random"] / 4


@pytest.mark.parametrize("make", RANDOM)
def test_random_rules_depend_on_the_key_alone(make):
    rule = make(8)
    first, again, other = (rule.nodes_and_weights(jax.random.key(seed))[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    np.testing.assert_array_equal(rule.draw(jax.random.key(1)), jax.jit(rule.draw)(jax.random.key(1)))


def test_many_random_nodes_never_coincide():
    # Single precision has 2^23 different values in [0, 1): 20 000 of them hold about 24 equal pairs.
    nodes, _ = quadrature.uniform_random(20_000).nodes_and_weights(jax.random.key(0))
    assert (np.diff(nodes) > 0).all()


@pytest.mark.parametrize("make", RANDOM)
def test_draws_have_the_default_precision(make, x64):
    assert make(4).draw(jax.random.key(0)).dtype == np.float64


def test_trapezoid_weights_on_irregular_times_integrate_lines():
    times = np.array([0.0, 0.1, 0.5, 0.7, 2.0])
    weights = quadrature.trapezoid_weights(times)
    assert weights.sum() == pytest.approx(1, abs=1e-15)
    assert weights @ times == pytest.approx(1.0, rel=1e-14)


def test_rules_print_as_they_are_written():
    assert str(quadrature.gauss_legendre(64)) == "gauss_legendre(64)"


@pytest.mark.parametrize(
    ("make", "n", "says"),
    [
        (quadrature.simpson, 8, "n=8: the composite Simpson rule needs an odd number of nodes; try 7 or 9"),
        (quadrature.simpson, 1, "n=1: quadrature.simpson needs a whole number of nodes, at least 3"),
        (quadrature.gauss_legendre, 0, "n=0: quadrature.gauss_legendre needs a whole number of nodes, at least 1"),
        (quadrature.trapezoid, 1, "n=1: quadrature.trapezoid needs a whole number of nodes, at least 2"),
        (quadrature.uniform_random, 0, "at least 1"),
        (quadrature.low_discrepancy, -3, "n=-3"),
    ],
)
def test_wrong_node_counts_are_named(make, n, says):
    with pytest.raises(ValueError, match=says):
        make(n)


def test_random_rules_ask_for_a_key_and_deterministic_ones_refuse_to_draw():
    with pytest.raises(ValueError, match=r"key=None: the random rule uniform_random\(4\) needs a key"):
        quadrature.uniform_random(4).nodes_and_weights()
    with pytest.raises(ValueError, match=r"rule simpson\(5\) is deterministic"):
        quadrature.simpson(5).draw(jax.random.key(0))
