import dataclasses
import functools
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy
import xarray as xr

import hoam_plugin as hoam
from hoam_plugin import simulators
from hoam_plugin.adapters import adept, vlasov
from hoam_plugin.steppers import state_type
from hoam_plugin.surrogates import with_learned

MU = {"mu": 1.4}
KEY = jax.random.key(0)


def grid_solver(**options: Any) -> simulators.VlasovPoissonGrid:
    return simulators.two_stream(
        solver="grid", n_x=32, n_v=64, dt=0.1, horizon=(0.0, 4.0), record_distribution=True, **options
    )


@functools.cache
def grid_runs() -> xr.Dataset:
    return hoam.simulate(
        grid_solver(), {"mu": [1.3, 1.6]}, np.asarray([0.0, 2.0]), key=KEY, n_samples=4096, progress=False
    )


def model_on_grid() -> hoam.Surrogate:
    return vlasov.in_place_of(toy.plasma_surrogate(), grid_solver())


def particle_field() -> adept.Advance:
    return adept.vector_field(
        model_on_grid(),
        0.125,
        names={"x": "x_electron", "v": "v_electron"},
        recorded={"e": "electric_field", "electron": "distribution"},
    )


def test_a_surrogate_of_particles_takes_the_place_of_a_grid_run():
    truth = grid_runs()
    run = hoam.simulate(
        model_on_grid(), {"mu": [1.3, 1.6]}, np.asarray([0.0, 2.0]), key=KEY, n_samples=4096, progress=False
    )
    assert dict(run.sizes) == dict(truth.sizes)
    assert set(run.data_vars) == set(truth.data_vars)
    # At the start both hold the same population: on the grid, but for the noise of a deposit of 4096 samples.
    f, exact = (ds["distribution"].isel(run=0, time=0).values for ds in (run, truth))
    assert np.abs(f - exact).sum() < 0.08 * exact.sum()
    np.testing.assert_allclose(f.sum(), exact.sum(), rtol=1e-5)


@pytest.mark.long
def test_another_box_is_refused():
    with pytest.raises(ValueError, match="periods"):
        vlasov.in_place_of(toy.plasma_surrogate(), simulators.landau_damping(solver="grid"))
    with pytest.raises(ValueError, match="lacks"):
        vlasov.in_place_of(toy.gaussian_surrogate(), grid_solver())


@pytest.mark.long
def test_grid_states_and_particles_turn_into_each_other():
    solver = grid_solver()
    state = solver.init(KEY, 16, MU)
    samples = vlasov.particles(solver, state, jax.random.key(1), 16384)
    assert float(samples["x"].min()) >= 0
    assert float(samples["x"].max()) < solver.length
    back = vlasov.grid_state(solver, dataclasses.replace(state, **samples), MU)
    f, exact = back.aux.distributions[0], state.aux.distributions[0]
    assert float(jnp.sum(jnp.abs(f - exact))) < 0.06 * float(jnp.sum(exact))
    field, wave = back.aux.electric_field, state.aux.electric_field
    assert float(jnp.max(jnp.abs(field - wave))) < 0.05 * float(jnp.max(jnp.abs(wave)))
    on = solver.step(back, 0.1, MU)
    assert jax.tree.structure(on) == jax.tree.structure(solver.step(state, 0.1, MU))
    with pytest.raises(ValueError, match="lacks the variables"):
        vlasov.grid_state(solver, state_type(("y",))(time=state.time, y=state.aux.electric_field), MU)


def test_what_a_grid_code_saved_becomes_an_ensemble_and_back():
    truth = grid_runs()
    saved = vlasov.to_adept(truth)
    assert saved["f"].dims == ("run", "t", "x", "v")
    assert saved["e"].dims == ("run", "t", "x")
    np.testing.assert_array_equal(saved["f"], truth["distribution"])
    ensemble = vlasov.from_adept(saved, key=jax.random.key(1), n_samples=4096)
    hoam.ensemble.validate(ensemble)
    assert hoam.ensemble.parameters(ensemble)["mu"].tolist() == [1.3, 1.6]
    np.testing.assert_allclose(ensemble["electric_energy"], truth["electric_energy"], rtol=1e-4)
    for name in ("x", "v"):
        one, other = (np.sort(ds[name].values, axis=-1) for ds in (ensemble, truth))
        assert np.abs(one - other).mean() < 0.02 * np.ptp(other)
    again = vlasov.to_adept(ensemble[["x", "v"]], grid_solver())
    assert float(np.abs(again["f"] - saved["f"]).sum()) < 0.1 * float(saved["f"].sum())
    assert float(np.abs(again["e"] - saved["e"]).max()) < 0.1 * float(np.abs(saved["e"]).max())


def test_a_single_run_with_adept_names_and_cell_centres_is_read():
    saved = vlasov.to_adept(grid_runs().isel(run=[0]))
    assert saved["f"].dims == ("t", "x", "v")
    dx = float(saved["x"][1])
    foreign = saved.rename({"f": "electron", "v": "v_electron"}).assign_coords(x=saved["x"] + dx / 2).drop_vars("mu")
    ensemble = vlasov.from_adept(foreign, f="electron", parameters={"mu": 1.3}, key=KEY, n_samples=2048)
    plain = vlasov.from_adept(saved, key=KEY, n_samples=2048)
    period = ensemble["x"].attrs["period"]
    shift = (ensemble["x"].values - plain["x"].values - dx / 2 + period / 2) % period - period / 2
    np.testing.assert_allclose(shift, 0, atol=1e-3)
    assert (ensemble["x"].values < period).all()
    for bad, match in (
        (saved.drop_vars("f"), "lacks 'f'"),
        (saved.rename(v="w"), "dims"),
        (saved.assign_coords(x=saved["x"] ** 2), "evenly spaced"),
    ):
        with pytest.raises(ValueError, match=match):
            vlasov.from_adept(bad, key=KEY, n_samples=8)
    with pytest.raises(ValueError, match="solver=None"):
        vlasov.to_adept(plain[["x", "v"]])


@pytest.mark.parametrize("unit", [1e-45, 1.0, 1e45])
def test_densities_of_any_unit_byte_order_and_origin_are_read_alike(unit):
    saved = vlasov.to_adept(grid_runs().isel(run=[0]))
    plain = vlasov.from_adept(saved, key=KEY, n_samples=512)
    length = plain["x"].attrs["period"]
    # A box that begins a whole number of lengths off.
    other = saved.assign(f=(saved["f"].astype(np.float64) * unit).astype(">f8"), e=saved["e"].astype(">f4"))
    other = other.assign_coords(x=saved["x"].astype(np.float64) + 1e6 * length, seed=3, t=saved["t"].astype(">f8"))
    moved = vlasov.from_adept(other, key=KEY, n_samples=512)
    assert hoam.ensemble.parameter_names(moved) == ["mu"]
    for name in ("x", "v", "electric_energy"):
        np.testing.assert_allclose(moved[name], plain[name], rtol=1e-4, atol=1e-4)
    assert moved["distribution"].dtype == np.float64


def test_an_integer_is_no_key_and_a_hole_no_density(as_installed):
    saved = vlasov.to_adept(grid_runs().isel(run=[0]))
    with pytest.raises(TypeError, match=r"key=0 must be a JAX random key"):
        vlasov.from_adept(saved, key=0, n_samples=8)
    with pytest.raises(ValueError, match="'f' holds non-finite values"):
        vlasov.from_adept(saved.assign(f=saved["f"].where(saved["f"] < 0.1)), key=KEY, n_samples=8)
    with pytest.raises(TypeError, match="solver=two_stream is a function"):
        vlasov.in_place_of(toy.plasma_surrogate(), simulators.two_stream)


@pytest.mark.long
def test_a_surrogate_steps_in_the_place_of_an_adept_code():
    field, model = particle_field(), model_on_grid()
    # So many so close to the boundary that some cross it in every step.
    near = jnp.linspace(-0.5, 0.5, 1024) % model.variables[0].period
    y0 = {**field.initial(KEY, 1024, MU), "x_electron": near, "de": jnp.ones(3)}
    args = {"parameters": MU, "drivers": {}}
    times = jnp.asarray([1.0, 2.0625, 4.0])
    saveat = diffrax.SaveAt(
        subs={
            "particles": diffrax.SubSaveAt(ts=times),
            "e": diffrax.SubSaveAt(ts=times, fn=lambda t, y, args: y["e"]),
        }
    )
    sol = diffrax.diffeqsolve(diffrax.ODETerm(field), adept.Stepper(), 0.0, 4.0, 0.125, y0, args=args, saveat=saveat).ys
    state = dataclasses.replace(model.init(KEY, 1024, MU), x=near)
    solved = model.solve(state, jnp.asarray([1.0, 2.0, 2.125, 4.0]), MU, dt=0.125)
    saved, period = sol["particles"], model.variables[0].period

    def gap(one: Any, other: Any) -> float:
        return float(jnp.max(jnp.abs((one - other + period / 2) % period - period / 2)))

    for i, j in ((0, 0), (2, 3)):
        assert gap(saved["x_electron"][i], solved.x[j]) < 1e-3
        np.testing.assert_allclose(saved["v_electron"][i], solved.v[j], atol=1e-3)
    # Between two steps a particle that crosses the boundary is at the boundary, not in the middle of the box.
    step = (solved.x[2] - solved.x[1] + period / 2) % period - period / 2
    assert bool((solved.x[1] + step >= period).any() | (solved.x[1] + step < 0).any())
    assert gap(saved["x_electron"][1], solved.x[1] + step / 2) < 1e-3
    assert float(saved["x_electron"].min()) >= 0
    assert float(saved["x_electron"].max()) <= period
    recorded = model.diagnostics(dataclasses.replace(solved, x=solved.x[3], v=solved.v[3]), MU)
    np.testing.assert_allclose(sol["e"][2], recorded["electric_field"], atol=2e-3)
    np.testing.assert_allclose(saved["electron"][2].sum(), recorded["distribution"].sum(), rtol=1e-5)
    np.testing.assert_array_equal(saved["de"], 1)


def test_any_callable_of_the_next_value_runs_and_gradients_flow():
    halve = diffrax.ODETerm(lambda t, y, args: {"f": args * y["f"]})

    def end(factor: Any) -> Any:
        sol = diffrax.diffeqsolve(
            halve,
            adept.Stepper(),
            0.0,
            1.0,
            0.25,
            {"f": jnp.ones((2, 3))},
            args=factor,
            saveat=diffrax.SaveAt(t1=True),
        )
        return jnp.sum(sol.ys["f"])

    assert float(end(jnp.asarray(0.5))) == pytest.approx(6 * 0.5**4)
    assert float(jax.grad(end)(jnp.asarray(0.5))) == pytest.approx(6 * 4 * 0.5**3)


def test_the_noise_of_a_step_depends_on_its_time_and_the_key():
    model = with_learned(toy.gaussian_surrogate(), epsilon=0.3)
    field = adept.vector_field(model, 0.25, key=KEY)
    y = {"y": jnp.zeros(8)}
    first, again, later = (field(t, y, {"mu": 1.5})["y"] for t in (0.0, 0.0, 0.25))
    np.testing.assert_array_equal(first, again)
    assert float(jnp.max(jnp.abs(first - later))) > 0.01
    shorter = field.advanced(0.0, y, {"mu": 1.5}, 0.0)["y"]
    np.testing.assert_array_equal(shorter, 0)


def test_late_times_step_as_early_ones_where_t_resolves_them(x64):
    model = with_learned(toy.gaussian_surrogate(), epsilon=0.3)
    norm = model.learned.normalisation
    first, last = norm.horizon
    y = {"y": jnp.linspace(-1, 1, 8, dtype=jnp.float32)}
    moved = []
    for offset in (0.0, 1e6):
        shifted = dataclasses.replace(norm, horizon=(first + offset, last + offset))
        field = adept.vector_field(with_learned(model, normalisation=shifted), 0.01, key=KEY)
        steps = [field(jnp.asarray(first + offset + 0.01 * i), y, {"mu": 1.5})["y"] for i in (0, 1)]
        assert float(jnp.max(jnp.abs(steps[0] - steps[1]))) > 0.01
        moved.append(steps)
    np.testing.assert_allclose(moved[1], moved[0], rtol=1e-5, atol=1e-5)


def test_a_clock_that_cannot_resolve_the_step_is_named():
    model = toy.gaussian_surrogate()
    norm = model.learned.normalisation
    late = dataclasses.replace(norm, horizon=(1e6, 1e6 + 2))
    with pytest.warns(UserWarning, match=r"time 1e\+06 is float32 and resolves .*, too little for dt=0\.01"):
        adept.vector_field(with_learned(model, normalisation=late), 0.01)


def test_what_does_not_fit_an_adept_step_is_refused():
    model = model_on_grid()
    for options, match in (
        ({"names": {"z": "x"}}, "unknown variable 'z'"),
        ({"recorded": {"e": "field"}}, "unknown diagnostic 'field'"),
    ):
        with pytest.raises(ValueError, match=match):
            adept.vector_field(model, 0.1, **options)
    with pytest.raises(ValueError, match="dt=0"):
        adept.vector_field(model, 0.0)
    with pytest.raises(ValueError, match="needs a key"):
        adept.vector_field(with_learned(model, epsilon=0.1), 0.1)
    field = adept.vector_field(model, 0.1, recorded={"e": "electric_field"})
    y = {"x": jnp.zeros(4), "v": jnp.zeros(4), "e": jnp.zeros(7)}
    with pytest.raises(ValueError, match=r"lacks the entries \['e'\]"):
        field(0.0, {name: y[name] for name in ("x", "v")}, MU)
    with pytest.raises(ValueError, match="lacks the parameters"):
        field(0.0, y, {"parameters": {}})
    with pytest.raises(ValueError, match="use its grid"):
        field(0.0, y, MU)
