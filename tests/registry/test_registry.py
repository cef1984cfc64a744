"""The swap: one name, a simulator or a surrogate."""

import threading
from typing import Any

import jax
import pytest
import toy

import hoam_plugin as hoam
from hoam_plugin import registry, simulators


@pytest.fixture(scope="module")
def model() -> hoam.Surrogate:
    return toy.plasma_surrogate()


def test_published_names_build_their_simulator() -> None:
    assert hoam.stepper("two_stream") == simulators.two_stream()
    assert {"two_stream", "bump_on_tail"} <= set(registry.names())


def test_surrogate_takes_the_place_only_when_selected(model: hoam.Surrogate) -> None:
    hoam.register("two_stream", model)
    assert hoam.stepper("two_stream") == simulators.two_stream()
    assert hoam.stepper("two_stream", surrogate=True) is model
    with hoam.use_surrogate("two_stream") as chosen:
        assert chosen is model
        assert hoam.stepper("two_stream") is model
        assert hoam.stepper("two_stream", surrogate=False) == simulators.two_stream()
        assert hoam.stepper("bump_on_tail") == simulators.bump_on_tail()
    assert hoam.stepper("two_stream") == simulators.two_stream()
    hoam.register("two_stream", model, default=True)
    assert hoam.stepper("two_stream") is model


def test_selection_is_undone_after_an_error_and_local_to_its_thread(model: hoam.Surrogate) -> None:
    hoam.register("two_stream", model)
    with pytest.raises(RuntimeError, match="inside"), hoam.use_surrogate("two_stream"):
        raise RuntimeError("inside")
    assert hoam.stepper("two_stream") == simulators.two_stream()
    seen: list[Any] = []
    with hoam.use_surrogate("two_stream"):
        thread = threading.Thread(target=lambda: seen.append(hoam.stepper("two_stream")))
        thread.start()
        thread.join()
    assert seen == [simulators.two_stream()]


def test_own_names_and_several_surrogates(model: hoam.Surrogate) -> None:
    mine = toy.small_plasma()
    hoam.register("my_plasma", mine)
    other = model.with_options(dt=0.5)
    hoam.register("my_plasma", model)
    hoam.register("my_plasma", other)
    assert hoam.stepper("my_plasma") is mine
    assert registry.surrogates("my_plasma") == (model, other)
    with hoam.use_surrogate("my_plasma"):
        assert hoam.stepper("my_plasma") is other
    with hoam.use_surrogate("my_plasma", model):
        assert hoam.stepper("my_plasma") is model
    registry.unregister("my_plasma")
    with pytest.raises(ValueError, match="name='my_plasma' is not a known stepper"):
        hoam.stepper("my_plasma")


def test_unknown_names_suggest_near_ones() -> None:
    for call in (hoam.stepper, lambda name: hoam.use_surrogate(name).__enter__()):
        with pytest.raises(ValueError, match=r"name='two_streams'.*did you mean 'two_stream'"):
            call("two_streams")


@pytest.mark.usefixtures("as_installed")
def test_wrong_registrations(model: hoam.Surrogate) -> None:
    with pytest.raises(TypeError, match=r"stepper is of the type .*, which is no stepper: it lacks"):
        hoam.register("x", object())
    with pytest.raises(ValueError, match="identifier"):
        hoam.register("no name", model)
    with pytest.raises(ValueError, match="default=True selects a surrogate"):
        hoam.register("x", toy.small_plasma(), default=True)
    with pytest.raises(ValueError, match="has no surrogate"):
        hoam.stepper("two_stream", surrogate=True)
    hoam.register("only_learned", model)
    with pytest.raises(ValueError, match="no simulator"):
        hoam.stepper("only_learned")


@pytest.mark.long
def test_names_resolve_when_python_runs_not_when_compiled_code_does(model: hoam.Surrogate) -> None:
    """A function that asks inside `jit` keeps what it got while tracing: so ask outside and pass the stepper in."""
    state = model.init(jax.random.key(0), 8, {"mu": 1.4})
    hoam.register("two_stream", model)

    @jax.jit
    def asks_inside(state: Any) -> Any:
        return hoam.stepper("two_stream").step(state, 0.1, {"mu": 1.4}).v

    @jax.jit
    def is_given(stepper: Any, state: Any) -> Any:
        return stepper.step(state, 0.1, {"mu": 1.4}).v

    simulator = toy.small_plasma()
    registry.register("two_stream", simulator)
    before, given_simulator = asks_inside(state), is_given(hoam.stepper("two_stream"), state)
    with hoam.use_surrogate("two_stream"):
        after, given_model = asks_inside(state), is_given(hoam.stepper("two_stream"), state)
    assert (before == after).all()
    assert not (given_simulator == given_model).all()
