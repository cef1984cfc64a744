"""Ways to make one drift of several members: `python -m benchmarks.trust_committees --problems ... --seeds ...`.

Each is set against the members at new parameters. `python -m benchmarks.trust table` writes what came of them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

import hoam_plugin as hoam
from benchmarks.trust_parts import RANGE, SCORES, keep, measure_all, options, own_scores, predicted_of, runs_of
from hoam_plugin import trust
from hoam_plugin.potentials import committee

# From the values of all members, along the leading axis, and the energy errors of each at the runs, to one value.
Rule = Callable[[jax.Array, np.ndarray], jax.Array]


def _of_best(n: int) -> Rule:
    def rule(values: jax.Array, errors: np.ndarray) -> jax.Array:
        return jnp.mean(values[np.argsort(errors)[:n]], axis=0)

    return rule


def _by_squares(values: jax.Array, errors: np.ndarray) -> jax.Array:
    weights = errors**-2.0 / np.sum(errors**-2.0)
    return jnp.tensordot(jnp.asarray(weights, values.dtype), values, 1)


RULES: dict[str, Rule] = {
    "the mean drift": lambda values, errors: jnp.mean(values, axis=0),
    "inverse squares of energy errors at the runs as weights": _by_squares,
    "the mean of the better two at the runs": _of_best(2),
    "the best one at the runs": _of_best(1),
    "the median of every component": lambda values, errors: jnp.median(values, axis=0),
}


@contextlib.contextmanager
def made_one_by(rule: Rule, errors: np.ndarray):
    """Within the block committees that are read from disk do so in this way."""

    def one(of_member, *of_all):
        values = jax.lax.map(lambda own: of_member(*own), of_all)
        return jax.tree.map(lambda of_members: rule(of_members, errors), values)

    jax.clear_caches()
    with mock.patch.object(committee, "_mean", one):
        yield
    jax.clear_caches()


def scores_of(model: hoam.Surrogate, truth: xr.Dataset) -> dict[str, list[float]]:
    """Scores of all runs."""
    scores = own_scores(truth, predicted_of(model, truth))
    return {name: scores[name].values.tolist() for name in SCORES}


def measure(problem: str, seed: int) -> None:
    """Scores of members and of what is made of them."""
    runs = runs_of(problem, np.linspace(*RANGE, 8), seed)
    new = runs_of(problem, np.random.default_rng(seed).uniform(*RANGE, 20), seed + 100, rates=False)
    model = hoam.fit(runs, key=jax.random.key(seed), members=4, **options())
    members = trust.members_of(model)
    errors = np.asarray([np.mean(scores_of(member, runs)["electric_energy_error"]) for member in members])
    ways = {}
    for text, rule in RULES.items():
        with made_one_by(rule, errors):
            ways[text] = scores_of(model, new)
    each = [scores_of(member, new) for member in members]
    keep({"part": "committee_ways", "problem": problem, "seed": seed, "members": each, "ways": ways})


if __name__ == "__main__":
    measure_all(measure, __doc__)
