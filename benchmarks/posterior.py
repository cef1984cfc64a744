"""Coverage of posteriors sampled through a surrogate: how often an interval holds the truth that it should hold."""

from __future__ import annotations

import argparse
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import report
from examples import posterior

NOMINAL = 0.8
# What is left out of the likelihood.
CASES = {
    "all four parts": lambda setup: setup,
    "without the surrogate's error": lambda setup: setup._replace(error=jnp.zeros_like(setup.error)),
}


def covered(setup: posterior.Setup, truths: np.ndarray, data: list[Any], key: Any, **options: int) -> dict[str, Any]:
    """Whether the central interval of every parameter holds the truth, and what the posteriors are like."""
    sample = posterior.sampler(setup, **options)
    inside, ranks, widths, accepted, divergent = [], [], [], [], 0
    began = time.perf_counter()
    for i, (truth, measured) in enumerate(zip(truths, data, strict=True)):
        found = sample(measured, jax.random.fold_in(key, i))
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
    parser.add_argument("--draws", type=int, default=300)
    parser.add_argument("--warmup", type=int, default=150)
    parser.add_argument("--no-write", action="store_true", help="print only")
    options = parser.parse_args()
    setup_key, truth_key, data_key, sample_key = jax.random.split(jax.random.key(0), 4)
    began = time.perf_counter()
    setup = posterior.prepared(setup_key)
    preparation = time.perf_counter() - began
    truths = np.asarray(
        posterior.LOW + (posterior.HIGH - posterior.LOW) * jax.random.uniform(truth_key, (options.observations, 2))
    )
    data = [posterior.measured(truth, jax.random.fold_in(data_key, i)) for i, truth in enumerate(truths.tolist())]

    rows = []
    for label, change in CASES.items():
        found = covered(change(setup), truths, data, sample_key, n_draws=options.draws, n_warmup=options.warmup)
        rows += [
            [
                label if i == 0 else "",
                name,
                f"{found['coverage'][i]:.0%}",
                f"{found['rank'][i]:.2f}",
                f"{found['width'][i]:.4f}",
                *(
                    [f"{found['accepted']:.2f}", str(found["divergent"]), f"{found['seconds']:.1f} s"]
                    if i == 0
                    else [""] * 3
                ),
            ]
            for i, name in enumerate(posterior.PARAMETERS)
        ]
    header = [
        "likelihood",
        "parameter",
        f"coverage at nominal {NOMINAL:.0%}",
        "mean rank of the truth",
        "width (one standard deviation)",
    ]
    header += ["acceptance", "divergent", "time per posterior"]
    error = float(jnp.sqrt(jnp.mean(jnp.diag(setup.error))))
    # Of a proportion, where all is well.
    scatter = (NOMINAL * (1 - NOMINAL) / options.observations) ** 0.5
    text = (
        f"# Posteriors through a surrogate: coverage\n\n`python -m benchmarks.posterior`: `{posterior.NAME}`, the "
        f"surrogate that comes with the package, `mu` and the mean velocity at the start by NUTS through `solve` "
        f"([the script](../../examples/posterior.py), [what is done](../../docs/howto/posterior.md)).\n"
        f"{options.observations} simulated observations at points of the prior ({posterior.LOW[0]:g} to "
        f"{posterior.HIGH[0]:g} and {posterior.LOW[1]:g} to {posterior.HIGH[1]:g}), each of "
        f"{posterior.N_PARTICLES} particles of the simulator at {len(posterior.TIMES)} times with noise "
        f"{posterior.INSTRUMENT:g} of the means; {posterior.N_SAMPLES} samples of the surrogate, "
        f"{options.warmup} iterations of warm-up and {options.draws} draws.\n\n"
        f"{report.table(header, rows)}\n\n"
        f"From {options.observations} observations a coverage of {NOMINAL:.0%} comes out with a standard deviation "
        f"of {scatter:.0%}; mean ranks are .5 where nothing is biased. The surrogate's means are off by {error:.4f} "
        f"(root mean square over the prior and over what is measured, whose scale is 1; the noise of 20 000 samples "
        f"of both sides is in it). Preparation, which finds that: {preparation:.0f} s.\n\n"
        f"{report.machine(('jax', 'jaxlib', 'blackjax'))}"
    )
    if options.no_write:
        print(text)
    else:
        report.write("posterior", text)


if __name__ == "__main__":
    main()
