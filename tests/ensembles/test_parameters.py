"""What runs differ by: numbers along `run` are parameters, bookkeeping is not, and nothing is overlooked silently."""

import warnings

import jax
import numpy as np
import pytest
import toy
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

import hoam_plugin as hoam
from hoam_plugin.ensembles import parameter_names, parameters, require_parameters_declared, sel_run

MU = ("run", [1.3, 1.5, 1.8])


@pytest.fixture
def ds() -> xr.Dataset:
    """Three runs without any parameter."""
    x = np.random.default_rng(0).standard_normal((3, 4, 8)).astype(np.float32)
    return xr.Dataset({"x": (("run", "time", "sample"), x)}, {"time": np.arange(4.0)})


def test_declared_parameters_need_no_word(ds):
    # Nothing is asserted: pytest makes a warning an error (`filterwarnings` in pyproject.toml), and so this test fail.
    require_parameters_declared(ds.assign_coords(mu=MU))
    require_parameters_declared(ds.assign_coords(mu=MU, label=("run", ["a", "b", "c"]), cell=[0.5, 1.5], step=3))
    require_parameters_declared(ds.isel(run=[0]))
    # Replicas of a stepper without parameters, and of a seed that says so.
    require_parameters_declared(ds, ())
    require_parameters_declared(ds.assign_coords(seed=("run", [3, 4, 5], {"role": "label"})), ("mu",))
    # Names of runs, of which some may have been left out.
    require_parameters_declared(ds.assign_coords(mu=MU, run=[0, 2, 5]))
    # Positions of the cells on which a diagnostic lives differ from run to run.
    field = ds.assign(field=(("run", "time", "cell"), np.zeros((3, 4, 2))))
    require_parameters_declared(field.assign_coords(mu=MU, cell_x=(("run", "cell"), np.ones((3, 2)))))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda ds: ds.assign(mu=MU), r"the data variable 'mu' along 'run' .* ds\.set_coords\('mu'\)"),
        (lambda ds: ds.assign(on=("run", [True, False, True])), r"the data variable 'on' .* ds\.set_coords\('on'\)"),
        (
            lambda ds: ds.assign_coords(mu=(("run", "time"), np.arange(3.0)[:, None] * np.ones(4))),
            r"'mu' has the dims .*it does not change in time: ds\.assign_coords\(mu=ds\['mu'\]\.isel\(time=0",
        ),
        (
            lambda ds: ds.assign_coords(drive=(("time", "run"), np.arange(12.0).reshape(4, 3))),
            r"'drive' has the dims .* given by numbers per run, such as its amplitude",
        ),
        (
            lambda ds: ds.assign_coords(b=(("run", "axis"), np.ones((3, 2)))),
            r"'b' has the dims \('run', 'axis'\) .* give its components as coordinates along 'run'",
        ),
        (
            lambda ds: ds.assign_coords(run=MU[1]),
            r"the index 'run' holds \[1.3, 1.5, 1.8\].* ds\.assign_coords\(mu=\('run', ds\['run'\]\.values\)\)",
        ),
        (
            lambda ds: ds.assign_coords(mu=("run", np.asarray(MU[1], object))),
            r"'mu' along 'run' has dtype object and would be ignored; .*astype\('float64'\)",
        ),
        (lambda ds: ds.assign_coords(mu=("run", np.asarray(MU[1], complex))), "'mu' along 'run' has dtype complex128"),
    ],
)
def test_numbers_per_run_that_would_be_ignored_are_refused(ds, change, says):
    with pytest.raises(ValueError, match=says):
        require_parameters_declared(hoam.ensemble.validate(change(ds)))


def test_what_the_messages_say_helps(ds):
    wide = ds.assign_coords(mu=(("run", "time"), np.asarray(MU[1])[:, None] * np.ones(4)))
    indexed = ds.assign_coords(run=MU[1])
    for mended in (
        ds.assign(mu=MU).set_coords("mu"),
        wide.assign_coords(mu=wide["mu"].isel(time=0, drop=True)),
        indexed.assign_coords(mu=("run", indexed["run"].values)).drop_vars("run"),
        indexed.assign_coords(mu=("run", indexed["run"].values)),
    ):
        require_parameters_declared(mended)
        assert parameters(mended)["mu"].tolist() == MU[1]


@pytest.mark.parametrize(
    ("change", "expected", "says"),
    [
        (
            lambda ds: ds,
            None,
            r"has 3 runs and no parameters, so that .* ds\.assign_coords\(mu=\('run', \[\.\.\.\]\)\)",
        ),
        (lambda ds: ds, ("kT", "g"), r"of which the stepper takes \['kT', 'g'\], so that .* ds\.assign_coords\(kT="),
        (lambda ds: ds.assign_coords(kind=("run", list("abc"))), None, r"\(the coordinate 'kind' holds texts\)"),
        (lambda ds: ds.assign_coords(mu=1.3), None, r"\(the coordinate 'mu' is one number for all\)"),
        (
            lambda ds: ds.isel(run=[0]).assign_coords(mu=1.3),
            ("mu",),
            r"'mu' is a single number .*; make it a column: ds\.assign_coords\(mu=\('run', \[1\.3\] \* 1\)\)",
        ),
        (
            lambda ds: ds.assign_coords(mu=MU).assign(nu=MU),
            None,
            r"the data variable 'nu' along 'run' is not learned .* or drop it by ds\.drop_vars\('nu'\)",
        ),
        (
            lambda ds: ds.assign_coords(mu=MU, seed=("run", [7, 8, 9])),
            None,
            r"'seed' along 'run' is taken for bookkeeping .* ds\['seed'\]\.attrs\['role'\] = 'label'.*by 'parameter'",
        ),
    ],
)
def test_what_may_be_meant_is_said(ds, change, expected, says):
    with pytest.warns(UserWarning, match=says) as caught:
        require_parameters_declared(hoam.ensemble.validate(change(ds)), expected)
    assert len(caught) == 1
    assert caught[0].filename != __file__  # as seen from a function that was called with the ensemble


# Bookkeeping


def test_bookkeeping_is_no_parameter_unless_it_says_so(ds):
    full = ds.assign_coords(
        mu=MU,
        seed=("run", [3, 1, 2]),
        job_id=("run", np.asarray([1e6, 1e6 + 1, 1e6 + 2])),
        Member=("run", np.arange(3, dtype=np.uint8)),
        index=("run", [1.2, 1.4, 5 / 3]),
        trial=("run", [1, 2, 3], {"role": "parameter"}),
        n_beams=("run", [2, 3, 4]),
        phase=("run", [0.1, 0.2, 0.3], {"role": "label"}),
    )
    assert parameter_names(full) == ["mu", "index", "trial", "n_beams"]
    assert sel_run(full, seed=1)["mu"].values.tolist() == [1.5]


def test_a_stepper_may_call_its_parameter_as_it_likes(tmp_path):
    frame = hoam.ensemble.frame([0.0, 1.0], {"rank": [1, 2], "mu": [0.5, 0.6]})
    assert parameter_names(frame) == ["rank", "mu"]
    ds = hoam.ensemble.build(frame, [hoam.Variable("x")], {"x": np.zeros((2, 2, 3), np.float32)})
    assert parameter_names(hoam.ensemble.load(hoam.ensemble.save(ds, tmp_path / "e.zarr"))) == ["rank", "mu"]


# Truth values


def test_switches_are_parameters(tmp_path):
    ds = toy.moving_gaussian((1.0, -1.0)).drop_vars("mu").assign_coords(driven=("run", [True, False]))
    require_parameters_declared(ds)
    assert parameters(ds)["driven"].tolist() == [1.0, 0.0]
    assert parameters(ds, 0) == {"driven": 1.0}
    assert sel_run(ds, driven=True)["driven"].values.tolist() == [True]
    for name in ("e.zarr", "e.nc"):
        back = hoam.ensemble.load(hoam.ensemble.save(ds, tmp_path / name))
        assert back["driven"].values.tolist() == [True, False]
        assert parameter_names(back) == ["driven"]


@pytest.mark.long
def test_a_switch_is_learned_and_set():
    ds = toy.moving_gaussian((2.0, -2.0, 2.0), n_samples=256).drop_vars("mu")
    model = toy.small_surrogate(ds.assign_coords(driven=("run", [True, False, True])))
    assert model.parameters == ("driven",)
    out = hoam.simulate(
        model,
        {"driven": [True, False]},
        [0.0, 2.0],
        key=jax.random.key(0),
        n_samples=256,
        initial=ds.isel(run=[0, 1]),
        progress=False,
    )
    moved = (out["y"].isel(time=1) - out["y"].isel(time=0)).mean("sample")
    assert float(moved[0] - moved[1]) > 0.5


# Selection

units = st.integers(-24, 6).map(lambda exponent: 10.0**exponent)


@given(unit=units, shift=st.sampled_from([0.0, 1.0, -3.0, 1e6]), dtype=st.sampled_from([np.float32, np.float64]))
def test_runs_are_selected_in_any_units_and_from_any_origin(unit, shift, dtype):
    column = (np.asarray([0.0, 0.5, 1.0]) + shift).astype(dtype) * dtype(unit)
    x = np.zeros((3, 1, 1), np.float32)
    ds = xr.Dataset({"x": (("run", "time", "sample"), x)}, {"time": [0.0], "mu": ("run", column)})
    assert sel_run(ds, mu=float(column[1]))["mu"].values.tolist() == [column[1]]
    for absent in (float(column[1]) + 0.1 * unit, 1e3 * unit + 10 * abs(float(column[2]))):
        with pytest.raises(ValueError, match="no run has"):
            sel_run(ds, mu=absent)


@pytest.mark.parametrize("value", ["a", None, [1.3, 1.5]])
def test_what_is_not_one_number_selects_nothing(ds, value):
    with pytest.raises(ValueError, match=r"mu=.* must be "):
        sel_run(ds.assign_coords(mu=MU), mu=value)


def test_silence_where_nothing_is_to_be_said():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        require_parameters_declared(toy.moving_gaussian(), ("mu",))
