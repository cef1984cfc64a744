"""Neighbour lists: a user's own jax-md program and the adapter work side by side, in either order, in one process."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hoam_plugin.adapters.jax_md import from_simulation
from hoam_plugin.adapters.jax_md.neighbors import CellSize, allocated

# jax-md sums in double precision where it can.
pytestmark = pytest.mark.filterwarnings("ignore:Explicitly requested dtype")

N, DT = 36, 0.01


@contextlib.contextmanager
def as_users_do():
    """The settings that jax-md programs are written for."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


with as_users_do():
    from jax_md import energy, partition, simulate, space

FORMATS = {form.name: form for form in partition.NeighborListFormat}


def system(form, kind, cutoff=1.0):
    """Space, lists, energy and first positions; cells of the size of the cutoff need three of them along an axis."""
    length = {"small": 2.0 * cutoff}.get(kind, 6.0 * cutoff)
    fractional = kind in ("fractional", "tilted")
    if kind == "tilted":
        displacement, shift = space.periodic_general(jnp.asarray([[length, 0.5], [0.0, length]]))
    elif fractional:
        displacement, shift = space.periodic_general(jnp.asarray(length))
    else:
        displacement, shift = space.periodic(length)
    box = jnp.asarray([[length, 0.5], [0.0, length]]) if kind == "tilted" else jnp.asarray(length)
    # An array, as jax-md's own energies make of every cutoff.
    neighbor_fn = partition.neighbor_list(
        displacement,
        box if fractional else length,
        jnp.asarray(cutoff),
        dr_threshold=0.2,
        capacity_multiplier=2.0,
        fractional_coordinates=fractional,
        format=form,
    )
    metric = space.canonicalize_displacement_or_metric(displacement)

    def energy_fn(R, neighbor, **kwargs):
        if partition.is_sparse(neighbor.format):
            r = space.map_bond(metric)(R[neighbor.idx[0]], R[neighbor.idx[1]])
            pairs = jnp.where(partition.neighbor_list_mask(neighbor), energy.soft_sphere(r, sigma=cutoff), 0)
            return pairs.sum() / (1 if neighbor.format is partition.OrderedSparse else 2)
        r = space.map_neighbor(metric)(R, R[neighbor.idx])
        return jnp.where(neighbor.idx < len(R), energy.soft_sphere(r, sigma=cutoff), 0).sum() / 2

    points = np.stack(np.meshgrid(np.arange(6), np.arange(6)), -1).reshape(-1, 2) + 0.5
    start = (points / 6 * (1.0 if fractional else length)).astype(np.float32)
    return shift, neighbor_fn, energy_fn, start, 1.0 if fractional else length


@pytest.fixture(autouse=True)
def fresh_process():
    """Programs of jax-md alone, of other cutoffs in arrays, are in each other's way: as if each test had a process."""
    jax.clear_caches()


class Program:
    """What a user runs, and the adapter on the same functions."""

    def __init__(self, form, kind, cutoff=1.0):
        with as_users_do():
            self.shift, self.neighbor_fn, self.energy_fn, self.start, self.box = system(form, kind, cutoff)
            self.neighbors = self.neighbor_fn.allocate(jnp.asarray(self.start))

    def own(self):
        """After jax-md's examples: a list is an argument of compiled functions, also in a loop."""
        with as_users_do():
            neighbors = self.neighbors
            init, apply = simulate.nve(self.energy_fn, self.shift, DT)
            state = init(jax.random.key(1), jnp.asarray(self.start), 0.1, neighbor=neighbors)

            def step(i, both):
                state, neighbors = both
                neighbors = neighbors.update(state.position)
                return apply(state, neighbor=neighbors), neighbors

            state, neighbors = jax.jit(lambda both: jax.lax.fori_loop(0, 5, step, both))((state, neighbors))
        assert not neighbors.did_buffer_overflow
        return np.asarray(state.position)

    def adapter(self):
        stepper = from_simulation(
            simulate.nve,
            self.energy_fn,
            self.shift,
            dt=DT,
            position=self.start,
            box=self.box,
            neighbor_fn=self.neighbor_fn,
        )
        state = stepper.init(jax.random.key(0), N, {"kT": 0.1})
        with as_users_do():
            # The same momenta as in the program.
            init, _ = simulate.nve(lambda R, **_: jnp.zeros_like(R), self.shift, DT)
            momentum = init(jax.random.key(1), jnp.asarray(self.start), 0.1).momentum
        state = stepper.refresh(type(state)(**{**vars(state), "momentum": momentum}), {"kT": 0.1})
        return np.asarray(
            jax.jit(lambda s: jax.lax.fori_loop(0, 5, lambda i, s: stepper.step(s, DT, {"kT": 0.1}), s))(state).position
        )


ORDERS = [("own", "adapter", "own"), ("adapter", "own", "adapter")]
QUICK = [("Dense", "periodic", ORDERS[0]), ("OrderedSparse", "fractional", ORDERS[1])]
KINDS = ("periodic", "small", "fractional", "tilted")
CASES = [(f, k, o) for f in FORMATS for k in KINDS for o in ORDERS]


@pytest.mark.long
@pytest.mark.parametrize(
    ("form", "kind", "order"),
    [*QUICK, *(pytest.param(*case, marks=pytest.mark.slow) for case in CASES if case not in QUICK)],
)
def test_a_program_and_the_adapter_run_in_either_order(form, kind, order):
    program = Program(FORMATS[form], kind)
    positions = [getattr(program, name)() for name in order]
    for other in positions[1:]:
        np.testing.assert_allclose(other, positions[0], atol=1e-5)
    # Another list of the same structure, made by other functions.
    np.testing.assert_allclose(Program(FORMATS[form], kind).adapter(), positions[0], atol=1e-5)


QUICK_PAIRS = [("Dense", "periodic"), ("OrderedSparse", "fractional"), ("Sparse", "tilted"), ("Dense", "small")]
PAIRS = [(f, k) for f in FORMATS for k in KINDS]


@pytest.mark.parametrize(
    ("form", "kind"),
    [*QUICK_PAIRS, *(pytest.param(*pair, marks=pytest.mark.slow) for pair in PAIRS if pair not in QUICK_PAIRS)],
)
def test_lists_are_compared_with_those_of_a_program_while_tracing(form, kind):
    """What JAX does with the lists of all functions in the process, without compiling anything."""
    own, other = Program(FORMATS[form], kind), Program(FORMATS[form], kind)
    with as_users_do():
        lists = [own.neighbors, other.neighbors]
        ours = [allocated(p.neighbor_fn, jnp.asarray(p.start), {}) for p in (own, other)]

    @jax.jit
    def traced(x):
        trees = [jax.tree.structure(one) for one in (*ours, *lists)]
        for i, tree in enumerate(trees):
            assert tree == jax.tree.structure((*ours, *lists)[i])
            # Of arrays, JAX cannot say whether they are equal; jax-md's two lists are in each other's way.
            assert all(tree != other for j, other in enumerate(trees) if j != i and min(i, j) < 2)
        return x

    traced(0.0)


def test_the_size_of_cells_is_a_number_to_jax_md_and_nothing_equal_to_an_array():
    size = CellSize(jnp.asarray(0.25))
    assert 1.0 / size == 4.0
    assert size == CellSize(np.float32(0.25))
    assert len({size, CellSize(0.25), CellSize(np.float32(0.25))}) <= 2
    for other in (jnp.asarray(0.25), np.float32(0.25), np.asarray(0.25), 0.25):
        assert (size == other) is False
        assert (other == size) is False
