"""What surrogates in the place of jax-md's ensembles refuse: times, boxes, parameters, slips."""

import sys
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax_md_surrogates import GRID, KEY, MAKE, SHIFT, L, N, as_users_do, begin, simulate, space, surrogate, system

from hoam_plugin.adapters import jax_md as md
from hoam_plugin.surrogates import with_learned

# jax-md sums in double precision where it can.
pytestmark = pytest.mark.filterwarnings("ignore:Explicitly requested dtype")


# Time.


@pytest.mark.long
def test_time_adds_up_to_the_end_of_the_horizon_and_then_is_refused():
    model = surrogate()
    init, apply = md.nve(model, SHIFT, 4.0 / 5000)
    state = begin("nve", init)
    clock = jax.jit(lambda s: jax.lax.fori_loop(0, 5000, lambda i, s: apply(s, t=i), s))
    end = md.check(clock(state))
    assert float(end.time) == pytest.approx(4.0, abs=1e-6)
    with pytest.raises(ValueError, match=r"outside the trained horizon \[0, 4\] \(with beyond='hold' the dynamics"):
        apply(end)
    beyond = jax.jit(apply)(end)
    assert np.isnan(beyond.position).all()
    with pytest.raises(FloatingPointError, match="NaN from the surrogate"):
        md.check(beyond)


@pytest.mark.long
@pytest.mark.parametrize("dt", [0.05, 0.5])
def test_held_dynamics_go_on_as_at_the_end_of_the_horizon(dt):
    model = surrogate()
    init, apply = md.nve(model, SHIFT, dt, beyond="hold")
    within, _ = MAKE["nve"](model, dt=dt)
    state = begin("nve", init)
    run = jax.jit(lambda s: jax.lax.fori_loop(0, round(6 / dt), lambda i, s: apply(s), s))
    late = md.check(run(state))
    # Time goes on; the dynamics are those of the last step.
    assert float(late.time) == pytest.approx(6.0, rel=1e-6)
    at_the_end = late.set(time=jnp.asarray(4.0 - dt, late.time.dtype))
    _, as_trained = MAKE["nve"](model, dt=dt)
    np.testing.assert_allclose(apply(late).momentum, as_trained(at_the_end).momentum, atol=1e-5)
    later = late.set(time=jnp.asarray(700.0, late.time.dtype))
    np.testing.assert_allclose(apply(later).momentum, apply(late).momentum, atol=1e-5)
    # Before that it is the same as without.
    np.testing.assert_array_equal(apply(state).momentum, as_trained(begin("nve", within)).momentum)


def test_what_comes_beyond_the_horizon_is_one_of_two(as_installed):
    with pytest.raises(ValueError, match="beyond='stop' must be 'raise' or 'hold'"):
        md.nve(surrogate(), SHIFT, 0.05, beyond="stop")
    with md.replacing("nve", surrogate(), beyond="hold"):
        init, apply = simulate.nve(lambda R: R, SHIFT, 0.05)
    late = begin("nve", init).set(time=jnp.asarray(9.0))
    assert np.isfinite(apply(late).position).all()


# Refusals.


def test_nan_is_an_error_outside_of_compiled_code():
    init, apply = MAKE["nve"](surrogate())
    state = begin("nve", init)
    with pytest.raises(FloatingPointError, match="NaN from the surrogate"):
        apply(state.set(momentum=state.momentum.at[0, 0].set(jnp.nan)))


@pytest.mark.long
@pytest.mark.parametrize(
    ("names", "name", "match"),
    [
        (("position",), "nve", r"nve moves positions and momenta, .*\['position'\] lack a momentum"),
        (("position",), "nvt_langevin", "lack a momentum"),
        (("position", "momentum"), "brownian", "moves positions alone, .*have 'momentum' as well"),
    ],
)
def test_variables_that_are_not_those_of_the_ensemble_are_named(names, name, match):
    with pytest.raises(ValueError, match=match):
        MAKE[name](surrogate(names))


def test_an_energy_is_no_surrogate(as_installed):
    with pytest.raises(TypeError, match="must be a surrogate"):
        md.nve(lambda R: R.sum(), SHIFT, 0.1)


@pytest.mark.parametrize("box", [5.0, 3.0, 12.0, None])
def test_another_box_is_refused(box):
    with as_users_do():
        _, shift = space.free() if box is None else space.periodic(box)
    init, _ = MAKE["nve"](surrogate(), shift)
    with pytest.raises(ValueError, match="periodic box of 6"):
        begin("nve", init)


@pytest.mark.long
def test_a_box_is_refused_in_free_space_and_a_changed_box_while_running():
    init, _ = MAKE["nve"](surrogate(period=None))
    with pytest.raises(ValueError, match="in free space"):
        begin("nve", init)
    with as_users_do():
        _, shift = space.periodic_general(L, fractional_coordinates=False)
        _, free_shift = space.free()
    begin("nve", MAKE["nve"](surrogate(period=None), free_shift)[0])
    init, apply = MAKE["nve"](surrogate(), shift)
    state = begin("nve", init)
    apply(state, box=jnp.asarray(L))
    with pytest.raises(ValueError, match="periodic box of 6"):
        apply(state, box=jnp.asarray(9.0))
    assert np.isnan(jax.jit(lambda s, b: apply(s, box=b))(state, jnp.asarray(9.0)).position).all()


@pytest.mark.parametrize("dt", [0.0, -0.1, float("nan"), 4.5])
def test_a_time_step_that_makes_no_sense_is_refused(dt):
    with pytest.raises(ValueError, match=r"dt=.* must be above 0 and at most 4"):
        MAKE["nve"](surrogate(), dt=dt)


def test_a_temperature_out_of_range_is_refused():
    init, apply = MAKE["nvt_langevin"](surrogate(bath=True))
    state = begin("nvt_langevin", init)
    with pytest.raises(ValueError, match=r"kT=0.9 is outside the trained range"):
        apply(state, kT=0.9)
    with pytest.raises(ValueError, match=r"kT=0.9 is outside the trained range"):
        jax.eval_shape(lambda s: apply(s, kT=0.9), state)
    with pytest.raises(ValueError, match="kT=2 is outside"):
        begin("nve", MAKE["nve"](surrogate())[0], kT=2.0)


def test_a_changed_temperature_that_was_not_trained_is_refused():
    init, apply = MAKE["nvt_langevin"](surrogate(parameters=()))
    state = begin("nvt_langevin", init)
    apply(state, kT=0.2)
    with pytest.raises(ValueError, match=r"kT=0.3 is not the 0.2 of nvt_langevin, .* not trained over kT"):
        apply(state, kT=0.3)
    with pytest.raises(ValueError, match="kT is being traced"):
        jax.lax.fori_loop(0, 2, lambda i, s: apply(s, kT=0.1 * i.astype(jnp.float32)), state)


def test_keywords_of_the_energy_are_ignored_with_a_warning():
    init, apply = MAKE["nve"](surrogate())
    state = begin("nve", init)
    with pytest.warns(UserWarning, match=r"'sigma' is ignored: the surrogate was trained over \['kT'\]"):
        apply(state, sigma=1.2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        apply(state, t=jnp.asarray(0.5), neighbor=None, species=jnp.zeros(N, jnp.int32))


@pytest.mark.long
def test_other_parameters_are_bound_or_given_as_keywords():
    model = surrogate(parameters=("sigma",))
    init, apply = MAKE["nve"](model)
    with pytest.raises(ValueError, match=r"parameters \['sigma'\] are not known"):
        apply(begin("nve", init))
    at_init = apply(begin("nve", init, sigma=0.2))
    bound_init, bound_apply = MAKE["nve"](model, parameters={"sigma": 0.2})
    np.testing.assert_array_equal(at_init.momentum, bound_apply(begin("nve", bound_init)).momentum)
    np.testing.assert_array_equal(at_init.momentum, apply(begin("nve", init), sigma=0.2).momentum)
    with pytest.raises(ValueError, match="sigma=3 is outside"):
        apply(begin("nve", init), sigma=3.0)
    with pytest.raises(ValueError, match=r"parameters=.* has \['tau'\]"):
        MAKE["nve"](model, parameters={"tau": 1.0})


def test_slips_are_named(as_installed):
    model, R = surrogate(), jnp.asarray(GRID)
    init, _ = MAKE["nve"](model)
    for match, options in (
        (r"mass is of the shape \(5,\) .* one for each of the 36 particles", {"mass": jnp.ones(5)}),
        ("mass is 'a' and must be a number", {"mass": "a"}),
        (r"momenta is of the shape \(3, 2\) and must be numbers of the shape \(36, 2\)", {"momenta": jnp.ones((3, 2))}),
        ("kT is 'a' and must be a number", {"kT": "a"}),
    ):
        with pytest.raises(ValueError, match=match):
            init(KEY, R, **{"kT": 0.2, **options})
    with pytest.raises(TypeError, match=r"key=0 must be a JAX random key, such as jax\.random\.key\(0\)"):
        init(0, R, kT=0.2)
    with pytest.raises(TypeError, match=r"shift_fn is a tuple and must be a function; space\.periodic returns"):
        md.nve(model, system(), 0.05)
    with pytest.raises(ValueError, match="shift_fn does not move"):
        begin("nve", md.nve(model, system()[0], 0.05)[0])
    with pytest.raises(ValueError, match="dt='x' must be above 0"):
        md.nve(model, SHIFT, "x")
    with pytest.raises(ValueError, match="'byond' is no keyword; did you mean 'beyond'"):
        md.nve(model, SHIFT, 0.05, byond="hold")
    with pytest.raises(TypeError, match="parameters='kT' must be a dict"):
        md.nve(model, SHIFT, 0.05, parameters="kT")
    with pytest.raises(TypeError, match="name is a Surrogate and must be the name of an ensemble"):
        md.replacing(model, "nve").__enter__()


def test_a_constant_in_joules_is_told_from_another():
    kT = 4e-21
    init, apply = md.nvt_langevin(surrogate(parameters=()), SHIFT, 0.05, kT)
    state = begin("nvt_langevin", init, mass=1e-26)
    # float32 has no number for kT m, but for the momenta.
    assert np.std(state.momentum) == pytest.approx(np.sqrt(kT * 1e-26), rel=0.3)
    apply(state, kT=np.float32(kT))
    for other in (3 * kT, 1.001 * kT):
        with pytest.raises(ValueError, match=r"not trained over kT"):
            apply(state, kT=other)


def test_masses_of_any_shape_are_those_of_the_training():
    stepper = md.from_simulation(
        simulate.nve, lambda R, **_: 0.0 * R.sum(), SHIFT, dt=0.05, position=GRID, box=L, mass=np.full((N, 1), 2e-26)
    )
    model = with_learned(surrogate(), replaces=stepper)
    init, _ = MAKE["nve"](model)
    for mass in (2e-26, jnp.full(N, 2e-26), jnp.full((N, 1), 2e-26)):
        begin("nve", init, mass=mass)
    for mass in (2.001e-26, 4e-26, np.where(np.arange(N) == 3, 3e-26, 2e-26)):
        with pytest.raises(ValueError, match="that the surrogate was trained with"):
            begin("nve", init, mass=mass)


def test_states_of_jax_md_itself_are_refused():
    _, apply = MAKE["nve"](surrogate())
    with pytest.raises(TypeError, match="carries no time of a surrogate"):
        apply(simulate.NVEState(jnp.asarray(GRID), jnp.zeros((N, 2)), jnp.zeros((N, 2)), jnp.asarray(1.0)))


def test_a_missing_jax_md_is_named(monkeypatch):
    model = surrogate()
    for name in [n for n in sys.modules if n == "jax_md" or n.startswith("jax_md.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "jax_md", None)
    with pytest.raises(ImportError, match="needs the extra 'jax-md'"):
        md.nve(model, SHIFT, 0.1)
    with pytest.raises(ImportError, match="needs the extra 'jax-md'"), md.replacing("nve", model):
        pass
