"""Coverage of posteriors sampled through a surrogate: how often an interval holds the truth that it should hold."""

from __future__ import annotations

import argparse
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import report
from examples import infer_parameters as example

NOMINAL = 0.8
# What is left out of the likelihood.
CASES = {
    "all four parts": lambda setup: setup,
    "without the surrogate's error": lambda setup: setup._replace(error=jnp.zeros_like(setup.error)),
}


def covered(setup: example.Setup, truths: np.ndarray, data: Any, key: Any, **options: int) -> dict[str, Any]:
    """Whether the central interval of every parameter holds the truth, and what the posteriors are like."""
    sample = example.sampler(**options)
    inside, ranks, widths, accepted, divergent = [], [], [], [], 0
    began = time.perf_counter()
    for i, (truth, measured) in enumerate(zip(truths, data, strict=True)):
        found = sample(setup, measured, jax.random.fold_in(key, i))
        draws = np.asarray(found.theta)
        low, high = np.quantile(draws, [(1 - NOMINAL) / 2, (1 + NOMINAL) / 2], axis=0)
        inside.append((low <= truth) & (truth <= high))
        ranks.append((draws < truth).mean(axis=0))
        widths.append(draws.std(axis=0))
        accepted.append(float(found.accepted))
        divergent += int(found.divergent)
        print(i, truth, low, high, inside[-1], f"{time.perf_counter() - began:.0f} s", flush=True)
    return {
        "coverage": np.mean(inside, axis=0),
        "rank": np.mean(ranks, axis=0),
        "width": np.mean(widths, axis=0),
        "accepted": float(np.mean(accepted)),
        "divergent": divergent,
        "seconds": (time.perf_counter() - began) / len(truths),
    }


def main() -> None:
    """Write `results/posterior.md`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--observations", type=int, default=50)
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--warmup", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-write", action="store_true", help="print only")
    options = parser.parse_args()
    fit_key, probe_key, truth_key, data_key, sample_key = jax.random.split(jax.random.key(options.seed), 5)
    began = time.perf_counter()
    setup = example.prepared(example.learned(fit_key), probe_key)
    preparation = time.perf_counter() - began
    truths = example.drawn(truth_key, options.observations)
    data = example.measured(truths, data_key)
    rows = []
    for label, change in CASES.items():
        found = covered(change(setup), truths, data, sample_key, n_draws=options.draws, n_warmup=options.warmup)
        shared = [f"{found['accepted']:.2f}", str(found["divergent"]), f"{found['seconds']:.1f} s"]
        for i, name in enumerate(example.PARAMETERS):
            own = [f"{found['coverage'][i]:.0%}", f"{found['rank'][i]:.2f}", f"{found['width'][i]:.4f}"]
            rows.append([label if i == 0 else "", name, *own, *(shared if i == 0 else [""] * 3)])
    header = [
        "likelihood",
        "parameter",
        f"coverage at nominal {NOMINAL:.0%}",
        "mean rank of the truth",
        "width (one standard deviation)",
        "acceptance",
        "divergent",
        "time per posterior",
    ]
    error = float(jnp.sqrt(jnp.mean(jnp.diag(setup.error))))
    # Of a proportion, where all is well.
    scatter = (NOMINAL * (1 - NOMINAL) / options.observations) ** 0.5
    text = (
        f"# Posteriors through a surrogate: coverage\n\n`python -m benchmarks.posterior`: `{example.NAME}`, `mu` and "
        f"the mean velocity at the start by NUTS through `solve` ([the script](../../examples/infer_parameters.py), "
        f"[what is done](../../docs/howto/infer_parameters.md)). {options.observations} observations by the true "
        f"simulator at points of the prior ({example.LOW[0]:g} to {example.HIGH[0]:g}, {example.LOW[1]:g} to "
        f"{example.HIGH[1]:g}), each of {example.N_PARTICLES} particles at {len(example.TIMES)} times with noise "
        f"{example.INSTRUMENT:g} of the means; {example.N_SAMPLES} samples of the surrogate, {options.warmup} "
        f"iterations of warm-up and {options.draws} draws.\n\n{report.table(header, rows)}\n\n"
        f"From {options.observations} observations a coverage of {NOMINAL:.0%} comes out with a standard deviation "
        f"of {scatter:.0%}; mean ranks are .5 where nothing is biased. The bands tell of errors of {error:.4f} of the "
        f"surrogate's means (root mean square over what is measured, whose scale is 1). Training and bands: "
        f"{preparation:.0f} s.\n\n{report.machine(('jax', 'jaxlib', 'blackjax'))} One core, with other jobs beside it."
    )
    if options.no_write:
        print(text)
    else:
        report.write("posterior", text)


if __name__ == "__main__":
    main()
