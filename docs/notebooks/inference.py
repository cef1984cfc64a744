# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Infer a parameter through a surrogate
#
# How strong is the Debye screening of a plasma whose field energy was measured? A surrogate is differentiable in its
# parameters through all of its samples, so that gradient descent finds the $\mu$ whose curve is the measured one. The
# surrogate here comes with the package; nothing has to be trained.

# %%
import os
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax

import hoam_plugin as hoam
from hoam_plugin import plots, simulators
from hoam_plugin.observables import diagnostic_over_time

small = os.environ.get("HOAM_NOTEBOOK_SIZE") == "small"
n_samples, iterations, end = (500, 3, 2.0) if small else (10_000, 80, 20.0)
times = np.linspace(0.0, end, 5 if small else 41)
sim = simulators.two_stream()
model = hoam.pretrained("two_stream")
print(model.ranges, model.horizon)

# %% [markdown]
# ## The measurement
#
# A run of the simulator at a value that is not told, with noise of 5 %.

# %%
true_mu, noise = 1.37, 0.05
run = hoam.simulate(sim, {"mu": [true_mu]}, times, key=jax.random.key(1), n_samples=n_samples, dt=0.1, progress=False)
clean = jnp.log(jnp.asarray(run["electric_energy"].values[0]))
data = clean + noise * jax.random.normal(jax.random.key(2), clean.shape)


# %% [markdown]
# ## The misfit, and its slope
#
# The same samples start every rollout, so that the misfit is a smooth function of $\mu$.

# %%
start = sim.init(jax.random.key(3), n_samples, {"mu": jnp.asarray(1.5)})


@jax.jit
def curve(mu):
    """Logarithm of the energy of the field at all times, through the surrogate."""
    return jnp.log(diagnostic_over_time(model, start, times, {"mu": mu}, dt=0.25))


misfit = jax.jit(jax.value_and_grad(lambda mu: jnp.mean((curve(mu) - data) ** 2)))

# %%
mu = jnp.asarray(1.8)
optimiser = optax.adam(optax.cosine_decay_schedule(0.05, iterations))
state, path = optimiser.init(mu), [float(mu)]
begin = time.perf_counter()
for _ in range(iterations):
    value, slope = misfit(mu)
    update, state = optimiser.update(slope, state)
    mu = jnp.clip(mu + update, *model.ranges["mu"])  # not beyond the trained range: there, compiled code gives NaN
    path.append(float(mu))
seconds = time.perf_counter() - begin
print(f"mu = {path[-1]:.4f}, true {true_mu}, after {iterations} iterations and {seconds:.0f} s, compilation included")

# %%
figure = plots.new_figure(10, 3.4)
curves, descent = figure.subplots(1, 2)
curves.plot(times, np.exp(data), ".", color="black", label="measured")
for value, colour, line, label in ((path[0], "0.5", ":", "start"), (path[-1], "#D55E00", "-", "found")):
    curves.plot(
        times, np.exp(curve(jnp.asarray(value))), color=colour, linestyle=line, label=f"{label}, mu = {value:.3f}"
    )
curves.set(xlabel=r"time t [$1/\omega_p$ at $\mu$ = 1]", ylabel="electric energy per particle", yscale="log")
descent.axhline(true_mu, color="black", linewidth=0.8, label="true")
descent.plot(path, color="#D55E00", marker=".", label="descent")
descent.set(xlabel="iteration", ylabel=r"$\mu$")
for panel in (curves, descent):
    panel.grid(alpha=0.25)
    panel.legend()
figure

# %% [markdown]
# ## How sure
#
# One parameter needs no sampler: the likelihood on a grid of $\mu$ is the posterior for a flat prior. What the curve of
# a surrogate is off by counts as well. Here it is taken from the difference between the surrogate's curve and the
# simulator's at a few values of $\mu$, with two starts: both the surrogate's error and the noise of the samples are in.

# %%
probes = np.linspace(*model.ranges["mu"], 3 if small else 7)
with_simulator = hoam.simulate(
    sim, {"mu": probes}, times, key=jax.random.key(4), n_samples=n_samples, dt=0.1, progress=False
)
residuals = np.stack([
    np.log(with_simulator["electric_energy"].values[i]) - np.asarray(curve(jnp.asarray(mu)))
    for i, mu in enumerate(probes.tolist())
])  # fmt: skip
of_model = np.sqrt((residuals**2).mean(axis=0))
print(f"noise of the measurement {noise}, error of the curve by the surrogate {of_model.mean():.3f} on average")

# %%
grid = np.linspace(1.355, 1.385, 7 if small else 121)
on_grid = np.stack([np.asarray(curve(jnp.asarray(mu))) for mu in grid.tolist()])


def interval(spread):
    """Posterior on the grid, and its central 90 %, for a spread of the data at each time."""
    log_density = -0.5 * (((on_grid - np.asarray(data)) / spread) ** 2).sum(axis=1)
    density = np.exp(log_density - log_density.max())
    density /= density.sum()
    low, high = np.interp([0.05, 0.95], np.cumsum(density), grid)
    return density, (low, high)


spreads = {"noise alone": noise, "noise and surrogate": np.sqrt(noise**2 + of_model**2)}
posteriors = {name: interval(spread) for name, spread in spreads.items()}
for name, (_, (low, high)) in posteriors.items():
    print(f"{name}: mu in [{low:.4f}, {high:.4f}] with 90 %")

# %%
figure = plots.new_figure(6, 3.2)
panel = figure.subplots()
for (name, (density, _)), line in zip(posteriors.items(), ("--", "-"), strict=True):
    panel.plot(grid, density / (grid[1] - grid[0]), linestyle=line, color="#0072B2", label=name)
panel.axvline(true_mu, color="black", linewidth=0.8, label="true")
panel.set(xlabel=r"$\mu$", ylabel="posterior density")
panel.grid(alpha=0.25)
panel.legend()
figure

# %% [markdown]
# More of this: [Infer a parameter](../howto/infer_a_parameter.md), [differentiable use](../differentiable.md), and
# [what it costs by surrogate and by simulator](../../benchmarks/results/inference.md).
