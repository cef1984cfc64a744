"""Draw the pictures of the problems' pages and of the gallery: `python docs/problems/pictures.py [name ...]`."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import jax
import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from PIL import Image, ImageSequence

import hoam_plugin as hoam
from hoam_plugin import simulators
from hoam_plugin.plots import animation, new_figure
from hoam_plugin.plots.parts import axis_label
from hoam_plugin.steppers import Stepper

FOLDER = Path(__file__).parent


def run(stepper: Stepper, parameters: Mapping[str, Sequence[float]], times: np.ndarray, n_samples: int) -> xr.Dataset:
    """What a page's three lines do."""
    key = jax.random.key(0)
    return hoam.simulate(stepper, parameters, times, key=key, n_samples=n_samples, progress=False)


def phase_space(ds: xr.Dataset, at: list[float], bounds: list[tuple[float, float]], bins: int = 128) -> Figure:
    """Densities of x and v at some times."""
    figure = new_figure(2.6 * len(at), 2.5)
    panels = figure.subplots(1, len(at), sharey=True)
    for panel, t in zip(panels, at, strict=True):
        snapshot = ds.isel(run=0).sel(time=t, method="nearest")
        panel.hist2d(snapshot["x"].values, snapshot["v"].values, bins=bins, range=bounds, cmap="magma", rasterized=True)
        panel.set_title(f"t = {t:g}")
        panel.set_xlabel(axis_label(ds, "x"))
    panels[0].set_ylabel(axis_label(ds, "v"))
    return figure


def two_stream() -> Figure:
    """Vortices."""
    ds = run(simulators.two_stream(), {"mu": [1.25]}, np.linspace(0, 40, 9), 100_000)
    return phase_space(ds, [0, 15, 20, 40], [(0, 50), (-8, 8)])


def bump_on_tail() -> Figure:
    """The tail flattens."""
    ds = run(simulators.bump_on_tail(), {"mu": [1.35]}, np.linspace(0, 40, 9), 100_000)
    return phase_space(ds, [0, 15, 25, 40], [(0, 50), (-4, 7)])


def landau_damping() -> Figure:
    """Energy of the field, linear and strong."""
    times = np.linspace(0, 40, 401)
    figure = new_figure(8, 3)
    for panel, amplitude, title in zip(figure.subplots(1, 2), (1e-3, 0.5), ("weak", "strong"), strict=True):
        wave = simulators.landau_damping(k=0.5, amplitude=amplitude, solver="grid")
        ds = run(wave, {"mu": [1.0]}, times, 10)
        energy = ds["field_energy"].values[0]
        panel.semilogy(times, energy, "k", linewidth=1)
        if amplitude < 0.1:
            panel.semilogy(
                times, energy[0] * np.exp(-2 * 0.153359 * times), "--", color="#D55E00", label="exp(2 gamma t)"
            )
            panel.legend(frameon=False)
        panel.set_title(f"amplitude {amplitude:g} ({title})")
        panel.set_xlabel(axis_label(ds, "time"))
    figure.axes[0].set_ylabel("field energy per electron")
    return figure


def strong_landau() -> Figure:
    """Energy of the field for several masses."""
    times = np.linspace(0, 8.75, 71)
    ds = run(simulators.strong_landau(), {"mu": [0.5, 1.0, 1.5]}, times, 25_000)
    figure = new_figure(6, 3)
    panel = figure.subplots()
    for mu, curve in zip(ds["mu"].values, ds["electric_energy"].values, strict=True):
        panel.semilogy(times, curve, label=f"mu = {mu:g}")
    panel.set(xlabel=axis_label(ds, "time"), ylabel="electric energy per particle")
    panel.legend(frameon=False)
    return figure


def oscillator() -> Figure:
    """Mean and spread beside the exact ones."""
    stepper = simulators.oscillator()
    times = np.linspace(0, 1, 101)
    x = run(stepper, {}, times, 10_000)["x"].isel(run=0).values
    mean, deviation = stepper.exact_mean(times)["x"][:, 0], np.sqrt(stepper.exact_variance(times)["x"])
    figure = new_figure(8, 3)
    left, right = figure.subplots(1, 2)
    left.plot(times, x[..., 0].mean(axis=1), label="samples")
    left.plot(times, mean, "k--", label="exact")
    right.plot(times, x[..., 0].std(axis=1))
    right.plot(times, deviation, "k--")
    for panel, label in ((left, "mean of x"), (right, "standard deviation of x")):
        panel.set(xlabel="t", ylabel=label)
    left.legend(frameon=False)
    return figure


def duffing() -> Figure:
    """From far outside into both wells."""
    ds = run(simulators.duffing(), {"mu": [0.2]}, np.linspace(0, 12, 25), 100_000)
    return phase_space(ds, [1, 3, 6, 12], [(-10, 10), (-10, 10)])


def lorenz9() -> Figure:
    """Marginals of all modes over time: median, and where half and nine tenths of the samples are."""
    ds = run(simulators.lorenz9(), {"r": [13.65]}, np.linspace(0, 20, 101), 10_000)
    figure = new_figure(9, 5)
    quantiles = np.quantile(ds["x"].isel(run=0).values, [0.05, 0.25, 0.5, 0.75, 0.95], axis=1)
    for mode, panel in enumerate(figure.subplots(3, 3, sharex=True).flat):
        low, lower, middle, upper, high = quantiles[..., mode]
        panel.fill_between(ds["time"], low, high, color="#0072B2", alpha=0.2)
        panel.fill_between(ds["time"], lower, upper, color="#0072B2", alpha=0.4)
        panel.plot(ds["time"], middle, color="#0072B2")
        panel.set_title(f"mode {mode + 1}", fontsize=9)
    for panel in figure.axes[-3:]:
        panel.set_xlabel("t")
    return figure


def trap() -> Figure:
    """Means of all particles."""
    ds = run(simulators.trap(), {"mu": [0.6]}, np.linspace(0, 2, 81), 2000)
    figure = new_figure(6, 3)
    panel = figure.subplots()
    panel.plot(ds["time"], ds["x"].isel(run=0)[..., 0].mean("sample"), color="0.3", linewidth=0.7)
    panel.set(xlabel="t", ylabel="mean position, first axis")
    return figure


def yukawa_quench() -> Figure:
    """Particles of one replica, the density along x, and the pair distribution."""
    stepper = simulators.yukawa_quench()
    ds = run(stepper, {"kT": [0.1], "screening_length": [1.0]}, np.linspace(0, 20, 21), 16 * 512)
    figure = new_figure(11, 2.9)
    panels = figure.subplots(1, 4)
    x = ds["x"].isel(run=0)
    for panel, t in zip(panels[:2], (0, 20), strict=True):
        replica = x.sel(time=t, method="nearest").values[:512]
        panel.plot(*replica.T, ".", color="#0072B2", markersize=2)
        panel.set(title=f"one replica, t = {t}", aspect="equal", xlabel="x")
    for t in (0, 5, 20):
        values = x.sel(time=t, method="nearest").values[:, 0]
        density, edges = np.histogram(values, 40, (0, stepper.length))
        panels[2].plot((edges[1:] + edges[:-1]) / 2, density / density.mean(), label=f"t = {t}")
        panels[3].plot(ds["r"], ds["pair_distribution"].isel(run=0).sel(time=t, method="nearest"), label=f"t = {t}")
    panels[2].set(xlabel="x", title="density")
    panels[3].set(xlabel="r", title="pair distribution", xlim=(0, 10), ylim=(0, 3))
    panels[3].legend(frameon=False)
    return figure


def lennard_jones_quench() -> Figure:
    """Particles of one replica, and how the lattice leaves the pair distribution, in a cold and a hot bath."""
    stepper = simulators.lennard_jones_quench()
    baths = [0.5, 1.6]
    ds = run(stepper, {"kT": baths}, np.linspace(0, 2, 21), 400)
    figure = new_figure(11, 2.9)
    panels = figure.subplots(1, 4, width_ratios=(1, 1, 1.3, 1.3))
    for panel, t in zip(panels[:2], (0, 2), strict=True):
        replica = ds["x"].isel(run=0, sample=0).sel(time=t, method="nearest").values
        # Circles of the diameter sigma, in units of the axes, and their images across the edges.
        images = [replica + stepper.length * np.asarray([i, j]) for i in (-1, 0, 1) for j in (-1, 0, 1)]
        for x, y in np.concatenate(images):
            panel.add_patch(Circle((x, y), 0.5, facecolor="#0072B2", alpha=0.7, edgecolor="white", linewidth=0.5))
        bounds = (0, stepper.length)
        panel.set(title=f"kT = {baths[0]:g}, t = {t}", aspect="equal", xlabel="x", xlim=bounds, ylim=bounds)
    for panel, row, kT in zip(panels[2:], range(len(baths)), baths, strict=True):
        for t, colour in ((0, "0.7"), (0.2, "#56B4E9"), (0.5, "#0072B2"), (2, "#D55E00")):
            g = ds["pair_distribution"].isel(run=row).sel(time=t, method="nearest")
            panel.plot(ds["r"], g, color=colour, label=f"t = {t:g}")
        panel.set(xlabel="r", title=f"pair distribution, kT = {kT:g}", xlim=(0.7, 4.7), ylim=(0, 5))
    panels[3].legend(frameon=False, ncols=2, loc="upper right")
    return figure


def moving(ds: xr.Dataset, name: str) -> None:
    """The density of x and v as an animation, in few colours and frames: pages have to stay light."""
    path = animation(ds, None, FOLDER / f"{name}.gif", bins=64, n_frames=24, frames_per_second=8, overwrite=True)
    with Image.open(path) as whole:
        frames = [frame.convert("RGB").resize((380, 274)).quantize(40) for frame in ImageSequence.Iterator(whole)]
        duration = whole.info["duration"]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=duration, loop=0, optimize=True)
    print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")


def moving_two_stream() -> None:
    """Vortices form and turn."""
    moving(run(simulators.two_stream(), {"mu": [1.25]}, np.linspace(0, 40, 24), 200_000), "two_stream")


def moving_duffing() -> None:
    """The cloud falls in and is folded."""
    moving(run(simulators.duffing(), {"mu": [0.2]}, np.linspace(0, 12, 24), 200_000), "duffing")


PICTURES = (
    two_stream,
    bump_on_tail,
    landau_damping,
    strong_landau,
    oscillator,
    duffing,
    lorenz9,
    trap,
    yukawa_quench,
    lennard_jones_quench,
)
ANIMATIONS = (moving_two_stream, moving_duffing)


if __name__ == "__main__":
    for draw in PICTURES:
        if not sys.argv[1:] or draw.__name__ in sys.argv[1:]:
            draw().savefig(FOLDER / f"{draw.__name__}.png", dpi=90)
            print(f"{draw.__name__}.png")
    for write in ANIMATIONS:
        if not sys.argv[1:] or write.__name__ in sys.argv[1:]:
            write()
