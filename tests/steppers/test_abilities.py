"""Optional members of a stepper: plain ones, ones that are None, and all of them from `__abilities__()`."""

import dataclasses
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_steppers import KEY, Decay, OrnsteinUhlenbeck, Point, run

from hoam_plugin.dynamics import Dynamics, normalisation_of, structure_of
from hoam_plugin.simulation import diagnostic_over_time
from hoam_plugin.steppers import Abilities, SampleLayout, Variable, abilities_of, state_from_samples

OPTIONAL = [field.name for field in dataclasses.fields(Abilities)]


class Friction(OrnsteinUhlenbeck):
    """Declares the drift and the noise as plain members, as a class of somebody else's would."""

    def known_drift(self, state, parameters):
        return {"q": -parameters["theta"] * state.q}

    def noise(self, state, parameters):
        return {"q": jnp.asarray(0.3)}


class Without(OrnsteinUhlenbeck):
    """Says of every optional member that there is none."""

    rates = diagnostics = known_drift = noise = recover = describe = None
    diagnostic_variables = ()


class Gathered(Decay):
    """Returns all optional members from one method; plain ones beside it do not count."""

    def __abilities__(self):
        return Abilities(
            rates=lambda state, parameters: {"q": -state.q},
            diagnostics=lambda state, parameters: {"mean": state.q.mean()},
            diagnostic_variables=(Variable("mean"),),
            state_from_samples=lambda samples, time: Point(time=jnp.asarray(time, jnp.float32), **samples),
            describe=lambda: None,
        )

    def noise(self, state, parameters):
        raise AssertionError


class Failing(OrnsteinUhlenbeck):
    """A property that fails with an AttributeError of its own."""

    @property
    def noise(self):
        raise RuntimeError("inside")


for cls in (Friction, Without, Gathered, Failing):
    jax.tree_util.register_dataclass(cls, [], ["dt", "horizon"])


def test_plain_members_are_found() -> None:
    able = abilities_of(OrnsteinUhlenbeck())
    assert able.rates is not None
    assert able.diagnostics is not None
    assert [v.name for v in able.diagnostic_variables] == ["mean", "steps", "seen"]
    assert set(able.coordinates) == {"pair"}
    assert able.known_drift is able.noise is able.solve is able.recover is None


@pytest.mark.parametrize("stepper", [None, Decay()])
def test_what_has_no_optional_members_has_no_abilities(stepper: object) -> None:
    assert abilities_of(stepper) == Abilities()


def test_members_that_are_none_count_as_missing() -> None:
    able = abilities_of(Without())
    assert able == Abilities(coordinates=Without.coordinates)
    ds = run(Without())
    assert set(ds.data_vars) == {"q"}
    assert "stepper" not in ds.attrs
    np.testing.assert_array_equal(ds["q"], run()["q"])
    with pytest.raises(ValueError, match="rates=True: Without does not declare the rates of its variables"):
        run(Without(), rates=True)


def test_one_method_may_return_them_all() -> None:
    stepper = Gathered()
    assert abilities_of(stepper).noise is None
    ds = run(stepper, {}, [1.0, 1.1], rates=True)
    np.testing.assert_array_equal(ds["q_rate"], -ds["q"])
    np.testing.assert_allclose(ds["mean"], ds["q"].mean(("sample", "axis")), atol=1e-6)
    assert "stepper" not in ds.attrs
    curve = diagnostic_over_time(stepper, stepper.init(KEY, 8, {}), [1.0, 1.1], {}, "mean")
    assert curve.shape == (2,)
    made = state_from_samples(stepper, {"q": np.ones((3, 2), np.float32)}, 2.0, {}, KEY)
    assert float(made.time) == 2.0
    assert made.q.shape == (3, 2)


def test_errors_inside_a_member_are_no_absence() -> None:
    with pytest.raises(RuntimeError, match="inside"):
        abilities_of(Failing())


@pytest.mark.parametrize("cls", [OrnsteinUhlenbeck, Without])
def test_the_dynamics_of_a_stepper_that_declares_nothing_is_unknown(cls: type) -> None:
    ds = run(cls(), rates=False)
    layout = SampleLayout(cls.variables, ((),))
    known = Dynamics(normalisation_of(ds), cls(), structure_of("field", layout.variables, layout.widths), layout)
    assert not known.has_noise
    assert not known.has_driven_drift


def test_the_dynamics_takes_what_is_declared() -> None:
    stepper, ds = Friction(), run(Friction())
    layout = SampleLayout(stepper.variables, ((),))
    known = Dynamics(normalisation_of(ds), stepper, structure_of("field", layout.variables, layout.widths), layout)
    assert known.has_noise
    y = jnp.linspace(-1, 1, 5)[:, None]
    noise = known.noise(y, jnp.asarray(0.0), {"theta": jnp.asarray(1.0), "sigma": jnp.asarray(0.5)})
    np.testing.assert_allclose(noise, np.full((5, 1), 0.3), rtol=1e-6)


def test_every_ability_is_described() -> None:
    text = inspect.getdoc(Abilities) or ""
    assert [name for name in OPTIONAL if f"{name}: " not in text] == []
