# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Swap in jax-md
#
# A program calls `jax_md.simulate.nvt_langevin` with an energy. We learn the forces between its particles from what it
# does, and put them in the energy's place: not a line of the program changes. Needs the extra `jax-md`.

# %%
import os
import warnings

import jax
import jax.numpy as jnp
from jax_md import energy, simulate, space

import hoam_plugin as hoam
from hoam_plugin import plots
from hoam_plugin.adapters import jax_md as md
from hoam_plugin.scores import pair_distribution

warnings.filterwarnings("ignore", "Explicitly requested dtype")  # jax-md asks for sums in double precision
small = os.environ.get("HOAM_NOTEBOOK_SIZE") == "small"
side, n_replicas, n_nodes, n_steps = (4, 4, 8, 20) if small else (8, 64, 32, 2000)
box, dt, temperature = 0.9 * side, 0.01, 0.15
displacement, shift = space.periodic(box)
energy_fn = energy.soft_sphere_pair(displacement)
grid = jnp.arange(float(side))
places = jnp.stack(jnp.meshgrid(grid, grid), -1).reshape(-1, 2) * (box / side) + 0.5


def program(key):
    """Soft spheres in a bath, from a lattice to the end."""
    init_fn, apply_fn = simulate.nvt_langevin(energy_fn, shift, dt, temperature, gamma=1.0)
    state = init_fn(key, places, mass=1.0)
    return jax.lax.fori_loop(0, n_steps, lambda i, state: apply_fn(state), state)


before = program(jax.random.key(1))
before.position.shape

# %% [markdown]
# ## The same simulation as a stepper, and what it does
#
# A sample is a replica of all particles (`view="configuration"`), so that forces between particles can be learned.
# Trained on three temperatures, of which the program's is none. `rates=True` records the forces, which jax-md has
# anyway.

# %%
stepper = md.from_simulation(
    simulate.nvt_langevin,
    energy_fn,
    shift,
    dt=dt,
    gamma=1.0,
    position=places,
    box=box,
    view="configuration",
    horizon=(0.0, 2.0),
)
rule = hoam.quadrature.gauss_legendre(n_nodes)
temperatures = [0.1, 0.2, 0.3]
key = jax.random.key(0)
truth = hoam.simulate(stepper, {"kT": temperatures}, rule, key=key, n_samples=n_replicas, rates=True, progress=False)
print(dict(truth.sizes))

# %% [markdown]
# ## Learn
#
# `ParticlePotential` learns functions of the distances of pairs; noise and friction are the bath's and known. Without
# recorded forces the same call learns from samples alone, less exactly.

# %%
pairs = hoam.ParticlePotential(cutoff=1.2)
model = hoam.fit(truth, key=key, structure="kinetic", replaces=stepper, potential=pairs, progress=False)
print(model.history.attrs["verdict"])

# %% [markdown]
# How well: the learned force on every particle, beside jax-md's, in configurations of a run of another seed.


# %%
force_fn = md.learned_force(model, displacement, parameters={"kT": temperature})
found, true = force_fn(before.position), -jax.grad(energy_fn)(before.position)
error = jnp.sqrt(jnp.mean((found - true) ** 2) / jnp.mean(true**2))
print(f"relative error of the force at kT = {temperature}: {float(error):.1%}")

# %%
figure = plots.new_figure(4, 3.6)
panel = figure.subplots()
panel.plot(true.ravel(), found.ravel(), ".", color="#0072B2", markersize=4)
panel.axline((0, 0), slope=1, color="black", linewidth=0.8)
panel.set(xlabel="force of jax-md", ylabel="learned force", title="All particles of one configuration")
panel.grid(alpha=0.25)
figure

# %% [markdown]
# ## Swap
#
# The program runs as before. Where it may be edited, `md.nvt_langevin` with `model` stands where
# `simulate.nvt_langevin` with `energy_fn` stood.

# %%
with md.replacing("nvt_langevin", model):
    after = program(jax.random.key(1))
print(type(before).__name__, type(after).__name__, bool(jnp.isfinite(after.position).all()))

# %% [markdown]
# Trajectories of a liquid part soon whatever the error; what has to agree is how the particles lie. The pair
# distribution over time at the program's temperature, of the simulation, the learned forces and, for the noise floor,
# a second run:

# %%
keys = jax.random.split(jax.random.key(2), 2)
times = [0.0, 0.5, 1.0, 2.0]
held, second = (
    hoam.simulate(stepper, {"kT": [temperature]}, times, key=key, n_samples=n_replicas, progress=False) for key in keys
)
learned = hoam.simulate(
    model, {"kT": [temperature]}, times, key=keys[1], n_samples=n_replicas, initial=held, progress=False
)
plots.pair_distribution(held, {"learned forces": learned, "second run": second}, times=times)

# %%
distances = {
    name: abs(pair_distribution(ds)["pair_distribution"] - pair_distribution(held)["pair_distribution"]).mean()
    for name, ds in {"learned forces": learned, "second run": second}.items()
}
for name, distance in distances.items():
    print(f"mean difference of g(r) from the simulation's: {float(distance):.4f} ({name})")

# %% [markdown]
# Number of particles, box and density may differ from those of the training; and which view is the right one for a
# problem, what each keyword does, and what it costs: [jax-md, both ways](../jax_md.md).
