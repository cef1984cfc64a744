"""Where the runs of `simulate` start: ensembles and states to go on from, and those that do not fit."""

import dataclasses

import jax
import numpy as np
import pytest
from small_steppers import KEY, Decay, OrnsteinUhlenbeck, Point, run

from hoam_plugin import quadrature
from hoam_plugin.simulators import two_stream
from hoam_plugin.steppers import state_type


def test_a_run_goes_on_from_an_ensemble_run_by_run():
    whole = run(Decay(), {}, [1.0, 2.0, 3.0])
    rest = run(Decay(), {}, [2.0, 3.0], initial=whole.isel(time=[1]))
    np.testing.assert_allclose(rest["q"], whole["q"][:, 1:], rtol=1e-5)
    first = run()
    ds = run(initial=first, times=[0.0, 0.5], n_samples=20)
    np.testing.assert_array_equal(ds["q"][:, 0], first["q"][:, 0, :20])
    shared = run(initial=first.isel(run=[1], time=[2]), times=[1.0, 1.5])
    for i in range(2):
        np.testing.assert_array_equal(shared["q"][i, 0], first["q"][1, 2])


def test_a_selection_of_a_rules_times_is_a_start():
    truth = run(times=quadrature.gauss_legendre(3))
    ds = run(times=[1.5, 2.0], initial=truth.isel(time=slice(2, None)).assign_coords(time=truth["time"].values[2:]))
    np.testing.assert_allclose(ds["time"], [1.5, 2.0])


def test_a_run_goes_on_from_a_state():
    stepper = two_stream(n_cells=32)
    state = jax.jit(stepper.init, static_argnums=1)(KEY, 30, {"mu": 1.3})
    ds = run(stepper, {"mu": [1.3, 1.5]}, [0.0, 0.1], n_samples=30, initial=state)
    for i in range(2):
        np.testing.assert_array_equal(ds["x"][i, 0], state.x)
    # The field is rebuilt for each run's own mu.
    np.testing.assert_allclose(ds["electric_field"][0, 0] * 1.3**2, ds["electric_field"][1, 0] * 1.5**2, atol=1e-5)


def test_a_simulation_split_in_two_is_the_whole_one(x64):
    stepper = two_stream(n_cells=32)
    whole = run(stepper, {"mu": [1.2, 1.9]}, [0.0, 1.0, 2.0])
    rest = run(stepper, {"mu": [1.2, 1.9]}, [1.0, 2.0], initial=whole.isel(time=slice(1, 2)))
    for name in ("x", "v", "electric_energy"):
        np.testing.assert_allclose(rest[name], whole[name][:, 1:], atol=1e-10)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_precision_of_the_start_is_kept(x64, dtype):
    stepper = two_stream(n_cells=32)
    start = run(stepper, {"mu": [1.3]}, [0.0])
    start = start.assign(x=start["x"].astype(dtype), v=start["v"].astype(dtype))
    assert run(stepper, {"mu": [1.3]}, [0.0, 0.1], initial=start)["v"].dtype == dtype


def test_initial_populations_that_do_not_fit_are_explained():
    first = run()
    with pytest.raises(ValueError, match="n_samples=51 exceeds the 50 samples of the initial ensemble"):
        run(initial=first, n_samples=51)
    with pytest.raises(ValueError, match=r"initial has the variables \['p'\] but the stepper has \['q'\]"):
        run(initial=first.rename(q="p"))
    with pytest.raises(ValueError, match="initial has 2 runs but parameters has 3"):
        run(initial=first, parameters={"theta": [1.0, 2.0, 3.0], "sigma": 0.5})
    with pytest.raises(ValueError, match=r"initial has theta=\[1.0, 2.0\] but parameters has \[1.0, 2.5\]"):
        run(initial=first, parameters={"theta": [1.0, 2.5], "sigma": 0.5})
    with pytest.raises(ValueError, match="the ensemble lacks the dim 'time'"):
        run(initial=first.isel(time=0))
    state = OrnsteinUhlenbeck().init(KEY, 50, {})
    with pytest.raises(ValueError, match="n_samples=10 but the initial state holds 50 samples"):
        run(initial=state, n_samples=10)
    with pytest.raises(ValueError, match=r"initial State_q lacks the variable 'x'; the stepper has \['x', 'v'\]"):
        run(two_stream(), {"mu": 1.3}, initial=state)


def test_double_precision_samples_are_never_rounded_silently():
    first = run()
    with pytest.raises(
        TypeError, match=r"initial variable 'q' is float64 .* jax.config.update\('jax_enable_x64', True\)"
    ):
        run(initial=first.assign(q=first["q"].astype(np.float64)))
    state = dataclasses.replace(OrnsteinUhlenbeck().init(KEY, 50, {}), q=np.ones(50))
    with pytest.raises(TypeError, match="initial variable 'q' is float64"):
        run(initial=state)
    # Times and parameters are only numbers: double precision is welcome there.
    run(times=np.array([0.0, 1.0]), parameters={"theta": np.array([1.0]), "sigma": np.float64(0.5)})


def test_state_types_are_one_per_set_of_names_and_reserve_two():
    assert state_type(("q",)) is Point
    with pytest.raises(ValueError, match=r"the variable name 'aux' cannot be a field of a State"):
        state_type(("q", "aux"))
