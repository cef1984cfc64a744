"""`replacing` puts a surrogate in the place of a function of jax-md, for programs that cannot be edited."""

import threading

import pytest
from jax_md_surrogates import L, as_users_do, begin, energy, for_ensemble, simulate, space, surrogate

from hoam_plugin.adapters import jax_md as md

# jax-md sums in double precision where it can.
pytestmark = pytest.mark.filterwarnings("ignore:Explicitly requested dtype")


# `replacing`.


def third_party(name="nvt_langevin"):
    """Somebody's code, which cannot be edited."""
    with as_users_do():
        displacement, shift = space.periodic(L)
        energy_fn = energy.soft_sphere_pair(displacement)
        arguments = {"nve": {"dt": 0.05}}.get(name, {"dt": 0.05, "kT": 0.2})
        init_fn, apply_fn = getattr(simulate, name)(energy_fn, shift, **arguments)
        return apply_fn(begin(name, init_fn))


@pytest.mark.parametrize("name", ["nvt_langevin", pytest.param("brownian", marks=pytest.mark.slow)])
def test_within_the_block_third_party_code_gets_the_surrogate(name):
    original = getattr(simulate, name)
    with md.replacing(name, for_ensemble(name)):
        state = third_party(name)
    assert hasattr(state, "time")
    assert getattr(simulate, name) is original
    assert not hasattr(third_party(name), "time")


def test_what_was_there_is_put_back_in_order_also_after_an_exception():
    original = simulate.nve

    def nested():
        with md.replacing("nve", surrogate()):
            outer = simulate.nve
            with md.replacing("nve", surrogate(("x", "v"))):
                assert simulate.nve is not outer
            assert simulate.nve is outer
            raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"):
        nested()
    assert simulate.nve is original


def test_blocks_of_several_threads_may_overlap():
    original = simulate.nve
    entered, leave = threading.Event(), threading.Event()

    def other():
        with md.replacing("nve", surrogate(("x", "v"))):
            entered.set()
            leave.wait(30)

    thread = threading.Thread(target=other)
    with md.replacing("nve", surrogate()):
        first = simulate.nve
        thread.start()
        assert entered.wait(30)
    # The first is gone, that of the thread still holds.
    assert simulate.nve is not first
    assert simulate.nve is not original
    leave.set()
    thread.join()
    assert simulate.nve is original


def test_only_what_can_be_replaced_is_replaced():
    with pytest.raises(ValueError, match="name='nvt_langevine' cannot be replaced; did you mean 'nvt_langevin'"):
        md.replacing("nvt_langevine", surrogate()).__enter__()
    with pytest.raises(ValueError, match="brownian moves positions alone"):
        md.replacing("brownian", surrogate()).__enter__()
    assert not hasattr(simulate.brownian, "__wrapped__")
