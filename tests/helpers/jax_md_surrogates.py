"""Surrogates with random weights in the place of jax-md's ensembles, shared by their tests."""

import contextlib
import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from made_once import made_once

import hoam_plugin as hoam
from hoam_plugin.adapters import jax_md as md
from hoam_plugin.dynamics.normalisation import normalisation_of
from hoam_plugin.dynamics.structure import structure_of, with_metric
from hoam_plugin.potentials.forms import bound, embedding_of
from hoam_plugin.steppers import SampleLayout, Variable
from hoam_plugin.surrogates import LearnedDynamics, Options, TrainedRange, with_learned

L, N = 6.0, 36
KEY = jax.random.key(0)
GRID = (np.stack(np.meshgrid(np.arange(6), np.arange(6)), -1).reshape(-1, 2) + 0.5).astype(np.float32)


@contextlib.contextmanager
def as_users_do():
    """The settings that jax-md programs are written for."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


# The tests take these from here, where jax-md is imported under the settings that it needs.
with as_users_do():
    from jax_md import dataclasses as md_dataclasses  # noqa: F401
    from jax_md import energy, quantity, simulate, space  # noqa: F401


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Bath:
    """What a Langevin thermostat is known to do; stands for the simulator that a surrogate replaces."""

    variables: tuple = dataclasses.field(metadata={"static": True})
    parameters: tuple = dataclasses.field(default=("kT",), metadata={"static": True})
    dt: float = dataclasses.field(default=0.1, metadata={"static": True})
    horizon: tuple = dataclasses.field(default=(0.0, 4.0), metadata={"static": True})

    def init(self, key, n_samples, parameters):
        raise NotImplementedError

    def step(self, state, dt, parameters, key=None):
        """A step that is easily told from a learned one."""
        name = self.variables[0].name
        return dataclasses.replace(state, time=state.time + dt, **{name: getattr(state, name) + 1.0})

    def refresh(self, state, parameters):
        return state

    def known_drift(self, state, parameters):
        return {self.variables[1].name: -getattr(state, self.variables[1].name)}

    def noise(self, state, parameters):
        kT = jnp.asarray(parameters["kT"], state.time.dtype)
        return {self.variables[1].name: jnp.sqrt(2 * kT)}


def variables(names=("position", "momentum"), dims=("axis",), period=L):
    position = Variable(names[0], dims=dims, period=period)
    return (position, *(Variable(n, dims=dims, velocity_of=names[0]) for n in names[1:]))


@made_once
def surrogate(
    names=("position", "momentum"), shape=(2,), dims=("axis",), *, parameters=("kT",), bath=False, period=L
) -> hoam.Surrogate:
    """A surrogate with random weights of small forces, as `fit` makes it from data on [0, 4] and kT in [0.1, 0.3]."""
    rng = np.random.default_rng(0)
    described = variables(names, dims, period)
    fields = {}
    for v in described:
        values = rng.uniform(0, L, (3, 9, 64, *shape)) if v.period else rng.standard_normal((3, 9, 64, *shape))
        fields[v.name] = (("run", "time", "sample", *v.dims), values.astype(np.float32), v.attributes())
    coords = {name: ("run", [0.1, 0.2, 0.3]) for name in parameters}
    norm = normalisation_of(xr.Dataset(fields, {"time": np.linspace(0, 4, 9), "run": [0, 1, 2]} | coords))
    kinetic = len(names) > 1
    split = structure_of("kinetic" if kinetic else "gradient", described, [math.prod(shape)] * len(names))
    split = with_metric(split, np.asarray(norm.scale))
    potential = hoam.VectorField(width=4, depth=2, time_harmonics=1) if kinetic else hoam.CoLoRA(width=4, depth=2)
    embedding = embedding_of(potential, norm, split)
    weights = bound(potential, split, embedding).init(KEY, embedding.n_features, 1 + len(parameters))
    leaves, tree = jax.tree.flatten(weights)
    keys = jax.random.split(KEY, len(leaves))
    leaves = [w + 0.3 * jax.random.normal(k, w.shape, w.dtype) for k, w in zip(keys, leaves, strict=True)]
    return hoam.Surrogate(
        LearnedDynamics(
            weights=jax.tree.unflatten(tree, leaves),
            normalisation=norm,
            replaces=Bath(described) if bath else None,
            potential=potential,
            layout=SampleLayout(described, (tuple(shape),) * len(names)),
            structure=split,
            epsilon=0.0,
            known_noise=bath,
            known_drift=bath,
        ),
        TrainedRange(tuple((name, 0.1, 0.3) for name in parameters), norm.horizon),
        Options(0.05),
    )


def free(model):
    """The surrogate without any learned force."""
    return with_learned(model, weights=jax.tree.map(jnp.zeros_like, model.learned.weights))


def system(period=L):
    with as_users_do():
        return space.periodic(period)


SHIFT = system()[1]
# Beside kT.
FURTHER = {"temp_rescale": (0.05, 0.5), "temp_berendsen": (0.5,), "temp_csvr": (0.5,)}
MAKE = {
    "nve": lambda m, shift=SHIFT, dt=0.05, **k: md.nve(m, shift, dt, **k),
    "nvt_langevin": lambda m, shift=SHIFT, dt=0.05, **k: md.nvt_langevin(m, shift, dt, 0.2, **k),
    "nvt_nose_hoover": lambda m, shift=SHIFT, dt=0.05, **k: md.nvt_nose_hoover(m, shift, dt, 0.2, **k),
    "brownian": lambda m, shift=SHIFT, dt=0.05, **k: md.brownian(m, shift, dt, 0.2, **k),
    "nvk": lambda m, shift=SHIFT, dt=0.05, **k: md.nvk(m, shift, dt, 0.2, **k),
    "temp_rescale": lambda m, shift=SHIFT, dt=0.05, **k: md.temp_rescale(m, shift, dt, 0.2, 0.05, 0.5, **k),
    "temp_berendsen": lambda m, shift=SHIFT, dt=0.05, **k: md.temp_berendsen(m, shift, dt, 0.2, 0.5, **k),
    "temp_csvr": lambda m, shift=SHIFT, dt=0.05, **k: md.temp_csvr(m, shift, dt, 0.2, 0.5, **k),
}


def for_ensemble(name, **options):
    return surrogate(("position",), **options) if name == "brownian" else surrogate(**options)


def begin(name, init, R=GRID, **keywords):
    keywords = {"kT": 0.2, **keywords} if name == "nve" else keywords
    return init(jax.random.PRNGKey(0), jnp.asarray(R), **keywords)


def same_avals(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for one, other in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert (one.shape, one.dtype, one.weak_type) == (other.shape, other.dtype, other.weak_type)


def many(apply, state, n):
    return jax.jit(lambda s: jax.lax.fori_loop(0, n, lambda i, s: apply(s), s))(state)
