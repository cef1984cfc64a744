"""Sensitivity of the energy curve: its derivative with respect to mu at every saved time.

The Jacobian through the surrogate, in forward and in reverse mode, beside finite differences of the simulator and its
own derivative.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from infer_mu import END, NAME, log_energy, population, trained_surrogate

import hoam_plugin as hoam


def jacobian(stepper: Any, mu: float, start: Any, times: Any, *, mode: str = "forward", dt: float | None = None) -> Any:
    """Derivative of the log energy with respect to mu at `times`, in "forward" or "reverse" mode."""
    transform = {"forward": jax.jacfwd, "reverse": jax.jacrev}[mode]
    return jax.jit(transform(lambda mu: log_energy(stepper, mu, start, times, dt=dt)))(mu)


def finite_differences(
    stepper: Any, mu: float, start: Any, times: Any, *, step: float = 0.005, dt: float | None = None
) -> Any:
    """The same by central differences; both runs start from the same samples."""
    curve = jax.jit(lambda mu: log_energy(stepper, mu, start, times, dt=dt))
    return (curve(mu + step) - curve(mu - step)) / (2 * step)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the derivatives side by side."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a saved surrogate; without one, it is trained")
    parser.add_argument("--mu", type=float, default=1.55)
    parser.add_argument("--samples", type=int, default=25_000, help="samples per run")
    parser.add_argument("--figure", help="a picture of the derivatives")
    options = parser.parse_args(arguments)

    times = np.linspace(0.0, END, 41)
    keys = jax.random.split(jax.random.key(0), 3)
    trained = {"key": keys[0], "n_samples": options.samples}
    model = trained_surrogate(**trained) if options.model is None else hoam.load(options.model)
    simulator = hoam.stepper(NAME, surrogate=False)

    columns, start = {}, population(keys[2], options.samples)
    for label, derivative, stepper, settings in (
        ("surrogate", jacobian, model, {"dt": 0.25}),
        ("surrogate, reverse", jacobian, model, {"dt": 0.25, "mode": "reverse"}),
        ("simulator", jacobian, simulator, {"dt": 0.05}),
        ("simulator, differences", finite_differences, simulator, {"dt": 0.05}),
    ):
        began = time.perf_counter()
        columns[label] = np.asarray(derivative(stepper, options.mu, start, times, **settings))
        print(f"{label}: {time.perf_counter() - began:.1f} s with compilation")
    truth = columns["simulator, differences"]
    print(f"{'time':>6} " + " ".join(f"{label:>22}" for label in columns))
    for i in range(0, len(times), 4):
        print(f"{times[i]:6.1f} " + " ".join(f"{column[i]:22.3f}" for column in columns.values()))
    for label, column in columns.items():
        print(f"{label}: {error(column, truth):.2g} from the simulator's differences (relative, root mean square)")
    if options.figure:
        draw(options.figure, times, columns)


def error(column: Any, truth: Any) -> float:
    """Root-mean-square difference relative to the root mean square of the truth."""
    return float(np.sqrt(np.mean((np.asarray(column) - truth) ** 2) / np.mean(np.asarray(truth) ** 2)))


def draw(path: str, times: Any, columns: dict[str, Any]) -> None:
    """All derivatives over time."""
    from hoam_plugin.plots import new_figure, save_figure

    figure = new_figure(6.4, 3.4)
    panel = figure.subplots()
    styles = {
        "surrogate": {"color": "#D55E00", "linestyle": "-"},
        "simulator": {"color": "black", "linestyle": "-", "linewidth": 1.0},
        "simulator, differences": {"color": "#0072B2", "linestyle": "", "marker": "."},
    }
    for label, style in styles.items():
        panel.plot(times, columns[label], label=label, **style)
    panel.set_xlabel("time")
    panel.set_ylabel("d log energy / d mu")
    panel.grid(alpha=0.25)
    panel.legend()
    save_figure(figure, path, overwrite=True, dots_per_inch=110)


if __name__ == "__main__":
    main()
