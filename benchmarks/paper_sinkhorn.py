"""The paper's Sinkhorn divergence on `lorenz9`. Run by `python -m benchmarks.paper_sinkhorn MODEL...`."""

from __future__ import annotations

import time
from pathlib import Path

import jax

import hoam_plugin as hoam
from benchmarks import learning, report
from hoam_plugin.scores import PaperSinkhorn

PROBLEM, SCORE = "lorenz9", "paper_sinkhorn_divergence"
MOVED = 3000


def main(words: list[str] | None = None) -> None:
    """Write `paper_sinkhorn.md`."""
    parser = learning.arguments(__doc__)
    parser.add_argument("models", type=Path, nargs="+", help="files of `benchmarks.samples_alone --models`, by seed")
    parser.add_argument("--samples", type=int, default=400)
    parser.add_argument("--times", type=int, default=8)
    options = parser.parse_args(words)
    data = learning.Data(options.cache)
    held, floor = (data.held_out(PROBLEM, seed) for seed in (learning.HELD_OUT_SEED, learning.FLOOR_SEED))
    settings = PaperSinkhorn(n_samples=options.samples, n_times=options.times)
    rows = []
    for i, path in enumerate(options.models, 1):
        began = time.perf_counter()
        moved = hoam.simulate(
            hoam.load(path),
            {"r": held["r"].values},
            held["time"].values,
            key=jax.random.key(100 + i),
            initial=held.isel(sample=slice(MOVED)),
            n_samples=MOVED,
            progress=False,
        )
        scores = hoam.compare(held, moved, floor=None if rows else floor, sinkhorn=settings)
        references = (
            [("surrogate", path.stem)]
            if rows
            else [
                ("noise_floor", "two runs of the truth"),
                ("frozen", "not moved"),
                ("surrogate", path.stem),
            ]
        )
        for reference, name in references:
            found = scores[SCORE].sel(reference=reference).values
            rows.append([name, " / ".join(f"{value:.3g}" for value in found), f"{time.perf_counter() - began:.0f}"])
            print(rows[-1], flush=True)
    report.write(
        "paper_sinkhorn",
        "# The paper's Sinkhorn divergence on lorenz9\n\n"
        "`python -m benchmarks.paper_sinkhorn MODEL...`: surrogates from samples alone, of `benchmarks.samples_alone` "
        "(`fit`, one per seed), at r = 13.65 / 14.05, in the settings of the paper's Table 1 (.217 there, of all "
        f"samples) but for {options.samples} samples at {options.times} times; see docs/scores.md for what fewer "
        f"samples do. Seconds are those of rollout and score.\n\n{report.machine(['hoam-plugin', 'jax', 'ott-jax'])}"
        f"\n\n{report.table(['of', SCORE.replace('_', ' '), 's'], rows)}",
    )


if __name__ == "__main__":
    main()
