# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Your simulation's output
#
# A code that knows nothing of JAX has written samples for a few values of a parameter. Here it is ten lines of NumPy:
# particles in a double well that is tilted by $\theta$, in a bath. They start between the wells and choose.
#
# $$ dx = (x - x^3 + \theta)\,dt + 0.5\,dW $$

# %%
import os

import jax
import numpy as np
import xarray as xr

import hoam_plugin as hoam
from hoam_plugin import plots
from hoam_plugin.scores import verdict_table

small = os.environ.get("HOAM_NOTEBOOK_SIZE") == "small"
n_samples, n_saved = (256, 9) if small else (10_000, 61)
times = np.linspace(0.0, 6.0, n_saved)


def my_code(theta, seed):
    """Positions (run, time, sample), by Euler's method with steps of 0.01."""
    rng = np.random.default_rng(seed)
    x = rng.normal(0.0, 0.2, (len(theta), n_samples))
    saved = [x]
    for gap in np.diff(times):
        steps = round(gap / 0.01)
        for _ in range(steps):
            kick = 0.5 * np.sqrt(gap / steps) * rng.standard_normal(x.shape)
            x = x + (x - x**3 + np.asarray(theta)[:, None]) * gap / steps + kick
        saved.append(x)
    return np.stack(saved, axis=1).astype(np.float32)


theta = [-0.4, -0.2, 0.0, 0.2, 0.4]
positions = my_code(theta, seed=0)
positions.shape

# %% [markdown]
# ## An ensemble
#
# An array per variable with the axes run, time and sample, the saved times, and the parameter of every run. `validate`
# says in one sentence what is wrong, if anything is.


# %%
def ensemble(positions, theta):
    """Arrays with names."""
    ds = xr.Dataset(
        {"x": (("run", "time", "sample"), positions, {"long_name": "position"})},
        {"time": times, "theta": ("run", theta)},
    )
    return hoam.ensemble.validate(ds)


truth = ensemble(positions, theta)
print(dict(truth.sizes))

# %% [markdown]
# ## Learn it
#
# Saved times are as they are, so `fit` takes the rule that suits them. Samples at different times need not belong
# together: what is learned is how the population moves.

# %%
key = jax.random.key(0)
model = hoam.fit(truth, key=key, progress=False)
print(model.history.attrs["verdict"])

# %% [markdown]
# ## Ask for a parameter in between
#
# Two runs of the code at $\theta = 0.1$, which `fit` has not seen: one to start from and to compare with, another one
# for the noise floor. Nothing here could draw the start of a foreign simulation, so rollouts begin with its samples.

# %%
held, floor = (ensemble(my_code([0.1], seed), [0.1]) for seed in (1, 2))
learned = hoam.simulate(model, {"theta": [0.1]}, times, key=key, n_samples=n_samples, initial=held, progress=False)
print(verdict_table(hoam.compare(held, learned, floor=floor)))

# %%
plots.phase_space(held, learned, times=[0, 1, 2, 6])

# %% [markdown]
# ## What a surrogate is for
#
# The share of particles in the right well at the end, over $\theta$: 41 runs that the code would have to do one by one.

# %%
start = learned.isel(time=[0])
sweep = np.linspace(-0.4, 0.4, 5 if small else 41)
runs = hoam.simulate(
    model,
    {"theta": sweep},
    times[[0, -1]],
    key=key,
    n_samples=n_samples,
    initial=start.isel(run=np.zeros(len(sweep), int)).assign_coords(theta=("run", sweep)),
    progress=False,
)
share = (runs["x"].isel(time=-1) > 0).mean("sample")
of_code = [(row > 0).mean() for row in my_code(theta, seed=3)[:, -1]]

figure = plots.new_figure(6, 3.4)
panel = figure.subplots()
panel.plot(sweep, share, color="#D55E00", label="learned")
panel.plot(theta, of_code, "o", color="black", label="the code, another seed")
panel.set(xlabel=r"$\theta$", ylabel="share in the right well, t = 6")
panel.grid(alpha=0.25)
panel.legend()
figure

# %%
error = np.abs(np.interp(theta, sweep, share) - of_code).max()
print(f"largest difference of the shares: {error:.4f}; sampling error of one: {0.5 / n_samples**0.5:.4f}")

# %% [markdown]
# The model is one file, `model.save("model.hoam")`, and `hoam.load("model.hoam")` reads it anywhere. What else can be
# said of a variable, and what to do where runs have other times or numbers of samples:
# [My code's output](../howto/my_codes_output.md).
