"""Choose which runs to make: start from three, let a committee propose the next one, simulate it, and go on.

`python examples/choose_runs.py` does so for the two-stream problem over a range with a quiet and a violent end (some
minutes), and says after every run how far the worst of five held-out parameters is missed.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
import xarray as xr

import hoam_plugin as hoam

# From hardly any growth to strong growth.
RANGE = (0.8, 1.9)
END = 25.0


class Choice(NamedTuple):
    """What was chosen, and how good the surrogate was before.

    Attributes:
        runs: all runs in the end.
        why: what was said of each run that was added.
    """

    runs: xr.Dataset
    why: list[str]


def simulated(values: Sequence[dict[str, float]], seed: int, n_samples: int, n_nodes: int) -> xr.Dataset:
    """Runs of the true simulator, with rates."""
    columns = {name: [row[name] for row in values] for name in values[0]}
    rule = hoam.quadrature.gauss_legendre(n_nodes)
    sim = hoam.simulators.two_stream(horizon=(0.0, END))
    return hoam.simulate(
        sim, columns, rule, key=jax.random.key(seed), n_samples=n_samples, dt=0.1, rates=True, progress=False
    )


def choose(
    first: xr.Dataset,
    candidates: dict[str, np.ndarray],
    n_runs: int,
    simulate: Callable[[Sequence[dict[str, float]]], xr.Dataset],
    *,
    key: jax.Array,
    **options: Any,
) -> Choice:
    """Add runs one by one, each where it is proposed, until there are `n_runs`; `options` are those of `fit`."""
    runs, why = first, list[str]()
    while runs.sizes["run"] < n_runs:
        key, own = jax.random.split(key)
        best = hoam.propose(runs, candidates, key=own, progress=False, **options).isel(candidate=0)
        why.append(str(best["why"].item()))
        new = simulate([{name: float(best[name]) for name in candidates}])
        runs = xr.concat(
            [runs, new], dim="run", data_vars="minimal", coords="minimal", compat="override", join="override"
        )
    return Choice(runs, why)


def main() -> None:
    """Print what is chosen, and the worst error before and after."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=4000)
    parser.add_argument("--nodes", type=int, default=128)
    parser.add_argument("--iterations", type=int, default=2000)
    parser.add_argument("--runs", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    training = hoam.recipes.velocity_training(arguments.iterations)

    def truth(values: Sequence[dict[str, float]]) -> xr.Dataset:
        return simulated(values, arguments.seed, arguments.samples, arguments.nodes)

    first = truth([{"mu": float(mu)} for mu in np.linspace(*RANGE, 3)])
    held = truth([{"mu": float(mu)} for mu in np.linspace(*RANGE, 11)[1::2]])
    candidates = {"mu": np.linspace(*RANGE, 45)}
    key = jax.random.key(arguments.seed)
    chosen = choose(first, candidates, arguments.runs, truth, key=key, structure="kinetic", training=training)
    print("\n".join(chosen.why))
    for runs in (first, chosen.runs):
        model = hoam.fit(runs, key=key, structure="kinetic", training=training, progress=False)
        predicted = hoam.simulate(
            model,
            {"mu": held["mu"].values},
            held["time"].values,
            key=key,
            n_samples=arguments.samples,
            initial=held,
            progress=False,
        )
        worst = float(hoam.compare(held, predicted)["electric_energy_error"].sel(reference="surrogate").max())
        print(f"{runs.sizes['run']} runs: worst electric energy error {worst:.3f}")


if __name__ == "__main__":
    main()
