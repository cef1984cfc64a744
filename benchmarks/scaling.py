"""Time per training iteration over coordinates, width, nodes and samples. Run by `python -m benchmarks.scaling`."""

from __future__ import annotations

from typing import Any

import jax
import matplotlib.pyplot as plt

from benchmarks import report
from benchmarks.training_step import Case, setup_of, synthetic_data
from hoam_plugin.training import iterations

_BASE = Case("CoLoRA", 32, 5, 64, 32, 2)
_AXES: dict[str, tuple[str, tuple[int, ...]]] = {
    "n_dims": ("coordinates D", (1, 2, 4, 8, 16, 32, 64)),
    "width": ("width", (8, 16, 32, 64, 128)),
    "n_nodes": ("nodes", (8, 16, 32, 64, 128, 256)),
    "n_samples": ("samples per node", (8, 16, 32, 64, 128, 256)),
}
_ITERATIONS = 20


def milliseconds(case: Case) -> float:
    """Per iteration of the loop that `fit` runs: the fastest of four blocks after a warm-up."""
    setup, data = setup_of(case, _ITERATIONS), synthetic_data(case.n_nodes, case.n_samples, case.n_dims)
    key = jax.random.key(0)

    def block() -> float:
        record = next(iterations.blocks(setup, iterations.start(setup, key, 2), lambda iteration: data, key))
        return 1e3 * record.seconds / _ITERATIONS

    block()
    return min(block() for _ in range(4))


def main() -> None:
    """Write `results/scaling.md` and `results/scaling.png`."""
    rows, curves = [], {}
    for field, (_, values) in _AXES.items():
        cases = [_BASE._replace(**{field: value}) for value in values]
        curves[field] = [milliseconds(case) for case in cases]
        rows.append([field, *(f"{v}: {ms:.1f}" for v, ms in zip(values, curves[field], strict=True))])
        rows[-1] += [""] * (8 - len(rows[-1]))
    draw(curves)
    report.write(
        "scaling",
        f"# Scaling of the training iteration\n\n`python -m benchmarks.scaling`: milliseconds per iteration around "
        f"{_BASE.depth} x {_BASE.width}, {_BASE.n_nodes} nodes x {_BASE.n_samples} samples, D = {_BASE.n_dims}; above "
        "16 coordinates the Laplacian is estimated. Fastest of four blocks.\n\n"
        f"{report.machine(['hoam-plugin', 'jax'])}\n\n![scaling](scaling.png)\n\n"
        f"{report.table(['varied', *[''] * 7], rows)}",
    )


def draw(curves: dict[str, list[float]]) -> None:
    """One panel per axis, with a line of slope 1 through its last point."""
    figure, axes = plt.subplots(1, 4, figsize=(12, 3), sharey=True, layout="constrained")
    for axis, (field, (label, values)) in zip(axes, _AXES.items(), strict=True):
        panel: Any = axis
        panel.loglog(values, curves[field], "o-", color="#20639b")
        last = curves[field][-1]
        panel.loglog(values, [last * v / values[-1] for v in values], ":", color="0.6", label="proportional")
        panel.set_xlabel(label)
        panel.set_xticks(values, [str(v) for v in values])
        panel.minorticks_off()
    axes[0].set_ylabel("ms per iteration")
    axes[0].set_ylim(bottom=0.5)
    axes[0].legend(frameon=False)
    figure.savefig(report.RESULTS / "scaling.png", dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    main()
