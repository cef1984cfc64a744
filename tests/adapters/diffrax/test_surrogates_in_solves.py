"""Surrogates in `diffrax.diffeqsolve`: their terms, and their own step as a solver."""

import dataclasses
import functools
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import lineax
import numpy as np
import pytest
import toy

import hoam_plugin as hoam
from hoam_plugin.adapters.diffrax import from_terms, solver, terms
from hoam_plugin.surrogates import with_learned

HORIZON = 2.0
KEY = jax.random.key(3)


@functools.cache
def noisy(integrator: str | None = None) -> hoam.Surrogate:
    """The toy with noise, of which each sample has its own."""
    model = with_learned(toy.gaussian_surrogate(), epsilon=0.3)
    return model.with_options(integrator=integrator, noise="independent", dt=HORIZON / 64)


def at_start(model: hoam.Surrogate, y: Any) -> Any:
    return model.learned.in_place.state_from_samples({"y": y[:, 0]}, jnp.zeros((), y.dtype))


class Recorded(diffrax.AbstractPath):
    """The Brownian motion that `Surrogate.solve` walks along, from the keys and sizes of its steps."""

    values: Any
    dt: float = dataclasses.field(metadata={"static": True})

    t0 = 0.0
    t1 = HORIZON

    def evaluate(self, t0: Any, t1: Any = None, left: bool = True) -> Any:
        start, end = (jnp.round(t / self.dt).astype(jnp.int32) for t in (t0, t1))
        return self.values[end] - self.values[start]


def recorded(key: jax.Array, shape: tuple[int, ...], n_steps: int) -> Recorded:
    dt = HORIZON / n_steps
    normals = [jax.random.normal(jax.random.fold_in(key, i), shape) for i in range(n_steps)]
    walk = jnp.cumsum(jnp.stack(normals) * dt**0.5, axis=0)
    return Recorded(jnp.concatenate([jnp.zeros((1, *shape)), walk]), dt)


@pytest.mark.long
@pytest.mark.parametrize("name", ["Euler", "Heun"])
def test_paths_agree_with_solve_for_the_same_noise_at_strong_order_one(name):
    model = noisy(name.lower())
    y0 = jax.random.normal(jax.random.key(1), (64, 1))
    fine = model.solve(at_start(model, y0), jnp.asarray([HORIZON]), {"mu": 1.5}, key=KEY).y[0]
    problem = terms(model, path=recorded(KEY, y0.shape, 64))

    def end(n_steps: int) -> Any:
        dt = jnp.asarray(HORIZON / n_steps)
        scheme = getattr(diffrax, name)()
        return diffrax.diffeqsolve(problem, scheme, 0.0, HORIZON, dt, y0, args={"mu": 1.5}).ys[-1][:, 0]

    np.testing.assert_allclose(end(64), fine, atol=2e-5)
    coarse, half = (float(jnp.sqrt(jnp.mean((end(n) - fine) ** 2))) for n in (8, 16))
    assert 1.6 < coarse / half < 3.5
    assert half < 0.1


@pytest.mark.long
@pytest.mark.usefixtures("x64")
def test_an_adaptive_solver_agrees_with_solve_and_all_adjoints_with_each_other():
    model = toy.gaussian_surrogate()
    y0 = jax.random.normal(jax.random.key(1), (4, 1))

    def end(model: Any, mu: Any, y: Any, adjoint: Any) -> Any:
        return diffrax.diffeqsolve(
            terms(model),
            diffrax.Tsit5(),
            0.0,
            HORIZON,
            0.1,
            y,
            args={"mu": mu},
            adjoint=adjoint,
            stepsize_controller=diffrax.PIDController(rtol=1e-8, atol=1e-10),
            max_steps=64,
        ).ys[-1]

    def gradients(adjoint: Any) -> Any:
        loss = jax.value_and_grad(lambda *of: jnp.mean(end(*of, adjoint) ** 2), argnums=(0, 1, 2))
        return jax.tree.leaves(jax.jit(loss)(model, jnp.asarray(1.5), y0))

    reference = gradients(diffrax.RecursiveCheckpointAdjoint())
    solved = model.solve(at_start(model, y0), jnp.asarray([HORIZON]), {"mu": 1.5}, dt=0.02).y[0]
    np.testing.assert_allclose(reference[0], jnp.mean(solved**2), rtol=1e-7)
    for adjoint in (diffrax.DirectAdjoint(), diffrax.BacksolveAdjoint()):
        for one, other in zip(gradients(adjoint), reference, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)


@pytest.mark.long
def test_the_own_step_is_that_of_solve_with_the_same_noise():
    model = with_learned(toy.plasma_surrogate(), epsilon=0.1)
    state = model.init(jax.random.key(0), 64, {"mu": 1.4})
    y0 = jnp.stack([state.x, state.v], axis=-1)
    # Steps of a power of two add up without rounding, so that no sample changes its place in the stratification.
    dt, times = 0.125, jnp.asarray([1.0, 4.0])
    solved = model.solve(state, times, {"mu": 1.4}, key=KEY, dt=dt)
    own = diffrax.diffeqsolve(
        terms(model, key=KEY), solver(model), 0.0, 4.0, dt, y0, args={"mu": 1.4}, saveat=diffrax.SaveAt(ts=times)
    )
    period = model.variables[0].period
    gap = own.ys[..., 0] - solved.x
    assert float(jnp.max(jnp.abs(gap - period * jnp.round(gap / period)))) < 1e-3
    np.testing.assert_allclose(own.ys[..., 1], solved.v, atol=1e-4)
    assert solver(model).order(None) == 2
    assert solver(toy.gaussian_surrogate()).order(None) == 4


@pytest.mark.long
def test_a_key_alone_gives_noise_of_the_right_size_and_the_same_for_all_steps():
    model = noisy()
    y0 = jnp.zeros((2, 512, 1))

    def end(dt: float) -> Any:
        return diffrax.diffeqsolve(
            terms(model, key=KEY), diffrax.Heun(), 0.0, HORIZON, jnp.asarray(dt), y0, args={"mu": 1.5}
        ).ys[-1]

    solved = model.solve(at_start(model, y0[0]), jnp.asarray([HORIZON]), {"mu": 1.5}, key=jax.random.key(4)).y[0]
    coarse, fine = end(0.1), end(0.05)
    assert coarse.shape == (2, 512, 1)
    assert float(jnp.std(coarse - fine)) < 0.1 * float(jnp.std(fine))
    assert float(jnp.mean(fine)) == pytest.approx(float(jnp.mean(solved)), abs=0.15)
    assert float(jnp.std(fine)) == pytest.approx(float(jnp.std(solved)), rel=0.1)
    operator = terms(model, key=KEY).terms[1].vf(jnp.zeros(()), y0, {"mu": 1.5})
    assert isinstance(operator, lineax.DiagonalLinearOperator)


def test_solvers_with_levy_areas_take_a_path_of_known_shape():
    model = noisy()
    y0 = jnp.zeros((32, 1))
    with pytest.raises(ValueError, match=r"path=diffrax\.VirtualBrownianTree"):
        diffrax.diffeqsolve(terms(model, key=KEY), diffrax.ShARK(), 0.0, HORIZON, 0.2, y0, args={"mu": 1.5})
    shape = jax.ShapeDtypeStruct(y0.shape, y0.dtype)
    path = diffrax.VirtualBrownianTree(0.0, HORIZON, 0.05, shape, KEY, levy_area=diffrax.SpaceTimeLevyArea)
    sol = diffrax.diffeqsolve(terms(model, path=path), diffrax.ShARK(), 0.0, HORIZON, 0.2, y0, args={"mu": 1.5})
    assert bool(jnp.isfinite(sol.ys).all())


@pytest.mark.long
@pytest.mark.usefixtures("x64")
def test_the_drift_has_the_dtype_of_y_and_float32_times_keep_it_in_a_solve():
    model = toy.gaussian_surrogate()
    y0 = jnp.zeros((3, 1), jnp.float32)
    field = terms(model).vector_field
    assert field(0.5, y0, {"mu": 1.5}).dtype == jnp.float32
    assert field(jnp.asarray(0.5), y0, {"mu": jnp.asarray(1.5)}).dtype == jnp.float32
    times = (jnp.asarray(t, jnp.float32) for t in (0.0, HORIZON, 0.2))
    assert diffrax.diffeqsolve(terms(model), solver(model), *times, y0, args={"mu": 1.5}).ys.dtype == jnp.float32
    assert diffrax.diffeqsolve(terms(model), solver(model), 0.0, HORIZON, 0.2, y0, args={"mu": 1.5}).ys.dtype == (
        jnp.float64
    )


@pytest.mark.parametrize(
    ("args", "y", "error", "match"),
    [
        ({}, jnp.zeros((3, 1)), ValueError, "lacks.*mu"),
        (1.5, jnp.zeros((3, 1)), TypeError, "dict of the parameters"),
        ({"mu": 1.5}, jnp.zeros((3, 2)), ValueError, r"must be \(\.\.\., 1\)"),
        ({"mu": 1.5}, {"y": jnp.zeros(3)}, ValueError, "dict"),
        ({"mu": 1.5}, jnp.zeros((3, 1), jnp.int32), TypeError, "floating"),
        ({"mu": 9.0}, jnp.zeros((3, 1)), ValueError, "parameter mu=9 is outside"),
    ],
)
def test_what_does_not_fit_a_solve_is_refused(args, y, error, match):
    with pytest.raises(error, match=match):
        terms(toy.gaussian_surrogate()).vector_field(0.0, y, args)


def test_what_does_not_fit_the_noise_is_refused():
    quiet = toy.gaussian_surrogate()
    with pytest.raises(ValueError, match="needs key="):
        terms(noisy())
    with pytest.raises(ValueError, match="both given"):
        terms(noisy(), key=KEY, path=recorded(KEY, (1, 1), 1))
    with pytest.raises(ValueError, match="has no noise"):
        terms(quiet, key=KEY)
    with pytest.raises(ValueError, match="fallback"):
        terms(dataclasses.replace(quiet, trained=dataclasses.replace(quiet.trained, policy="fallback")))
    args = {"args": {"mu": 1.5}}
    with pytest.raises(ValueError, match=r"steps of terms\(surrogate\) alone"):
        diffrax.diffeqsolve(
            diffrax.ODETerm(lambda t, y, args: -y), solver(quiet), 0.0, 1.0, 0.1, jnp.zeros((3, 1)), **args
        )
    path = diffrax.UnsafeBrownianPath((3, 1), KEY)
    with pytest.raises(ValueError, match="draws the noise of its steps itself"):
        diffrax.diffeqsolve(terms(noisy(), path=path), solver(noisy()), 0.0, 1.0, 0.1, jnp.zeros((3, 1)), **args)


FAR, LATE = 1e5, 1e6


def far_and_late(model: hoam.Surrogate) -> hoam.Surrogate:
    """The same surrogate, as if trained on samples around 1e5 from time 1e6 on."""
    norm = model.learned.normalisation
    horizon = (norm.horizon[0] + LATE, norm.horizon[1] + LATE)
    shifted = dataclasses.replace(norm, shift=norm.shift + FAR, horizon=horizon)
    return with_learned(model, normalisation=shifted)


@pytest.mark.parametrize("kind", ["own", "adaptive", "own with noise", "tree"])
def test_centred_solves_are_the_same_wherever_samples_and_times_are(kind):
    near = toy.gaussian_surrogate() if kind in ("own", "adaptive") else noisy()
    far = far_and_late(near)
    key = None if kind in ("own", "adaptive") else KEY
    y0 = jax.random.normal(jax.random.key(1), (32, 1))

    def ends(model: hoam.Surrogate, y: Any) -> Any:
        own = kind.startswith("own")
        scheme = solver(model, centred=True) if own else diffrax.Tsit5() if kind == "adaptive" else diffrax.Heun()
        # A relative tolerance would be that of y, and so another one.
        control = {"stepsize_controller": diffrax.PIDController(rtol=0.0, atol=1e-4)} if kind == "adaptive" else {}
        problem = terms(model, key=key, centred=True)
        dt = jnp.asarray(0.125)
        return diffrax.diffeqsolve(problem, scheme, 0.0, HORIZON, dt, y, args={"mu": 1.5}, **control).ys[-1]

    # Samples of the one are measured from 0, as their mean is near it, and those of the other from their mean.
    mean = near.learned.normalisation.shift[None, :]
    assert not np.any(near.learned.normalisation.origin(y0.dtype))
    np.testing.assert_allclose(ends(far, y0 - mean) + mean, ends(near, y0), atol=2e-5)
    assert float(jnp.std(ends(near, y0) - y0 - jnp.mean(ends(near, y0) - y0))) > 1e-3


def test_centred_samples_are_those_of_states():
    far = far_and_late(toy.gaussian_surrogate())
    y0 = jax.random.normal(jax.random.key(1), (8, 1))
    start = far.learned.with_centred(far.learned.in_place.state_from_samples({"y": jnp.zeros(8)}, LATE), y0)
    np.testing.assert_allclose(far.learned.centred(start), y0, atol=1e-6)
    solved = far.solve(start, [LATE + 1.0], {"mu": 1.5}, dt=0.125)
    problem = (terms(far, centred=True), solver(far, centred=True))
    end = diffrax.diffeqsolve(*problem, 0.0, 1.0, jnp.asarray(0.125), y0, args={"mu": 1.5}).ys[-1]
    np.testing.assert_allclose(far.learned.centred(jax.tree.map(lambda leaf: leaf[0], solved)), end, atol=2e-5)
    with pytest.raises(ValueError, match=r"time 1000003 is outside the trained horizon \[1000000, 1000002\]"):
        problem[0].vector_field(3.0, y0, {"mu": 1.5})


def test_single_precision_that_loses_steps_is_said():
    model = toy.gaussian_surrogate()
    norm = model.learned.normalisation
    later = dataclasses.replace(norm, horizon=(LATE, LATE + norm.duration))
    late = with_learned(model, normalisation=later).with_options(dt=0.125)
    with pytest.warns(UserWarning, match=r"float32 resolves 0\.062 at the trained time 1e\+06, .* pass centred=True"):
        terms(late)
    with pytest.warns(UserWarning, match=r"too little for steps of dt=0\.125"):
        solver(late)
    far = with_learned(model, normalisation=dataclasses.replace(norm, shift=norm.shift + FAR))
    with pytest.warns(UserWarning, match=r"float32 resolves 0\.0078 at the mean 100002 of y\[\.\.\., 0\]"):
        terms(far)
    # Nothing to say of a solve that is centred, or of double precision.
    terms(late, centred=True), solver(far, centred=True)


@pytest.mark.usefixtures("x64")
def test_double_precision_needs_no_centre():
    near = toy.gaussian_surrogate()
    far = far_and_late(near)
    y = jax.random.normal(jax.random.key(1), (8, 1))
    means = [model.learned.normalisation.shift.astype(float)[None, :] for model in (near, far)]
    here = terms(near).vector_field(0.5, y + means[0], {"mu": 1.5})
    there = terms(far).vector_field(LATE + 0.5, y + means[1], {"mu": 1.5})
    np.testing.assert_allclose(there, here, rtol=1e-6, atol=1e-6)


def test_terms_and_solver_have_to_measure_alike():
    model = toy.gaussian_surrogate()
    with pytest.raises(ValueError, match=r"solver\(surrogate, centred=True\) needs terms\(surrogate, centred=True\)"):
        diffrax.diffeqsolve(
            terms(model), solver(model, centred=True), 0.0, 1.0, 0.1, jnp.zeros((3, 1)), args={"mu": 1.5}
        )


def test_args_may_hold_what_other_terms_want():
    field = terms(toy.gaussian_surrogate()).vector_field
    y = jnp.ones((3, 1))
    np.testing.assert_array_equal(field(0.5, y, {"mu": 1.5, "force": 2.0}), field(0.5, y, {"mu": [1.5]}))


def test_functions_and_numbers_in_the_place_of_what_they_make(as_installed):
    with pytest.raises(TypeError, match="key=0 must be a JAX random key"):
        terms(noisy(), key=0)
    with pytest.raises(TypeError, match="surrogate=gaussian_surrogate must be a Surrogate"):
        terms(toy.gaussian_surrogate)
    with pytest.raises(TypeError, match="surrogate='two_stream' must be a Surrogate"):
        solver("two_stream")

    def problem() -> Any:
        return diffrax.ODETerm(lambda t, y, args: -y)

    with pytest.raises(TypeError, match=r"terms=problem is no term .* call it, as in terms=problem\(\.\.\.\)"):
        from_terms(problem, initial=lambda key, n, args: jnp.ones((n, 1)))
    with pytest.raises(TypeError, match=r"initial=1\.0 must be a function"):
        from_terms(problem(), initial=1.0)
    with pytest.raises(TypeError, match="parameters='rate' must be a list of names"):
        from_terms(problem(), initial=lambda key, n, args: jnp.ones((n, 1)), parameters="rate")


def test_times_beyond_the_horizon_follow_the_policy():
    model = toy.gaussian_surrogate()
    y = jnp.zeros((3, 1))
    with pytest.raises(ValueError, match="outside the trained horizon"):
        terms(model).vector_field(3.0, y, {"mu": 1.5})
    drift = jax.jit(terms(model).vector_field)
    assert bool(jnp.isnan(drift(3.0, y, {"mu": 1.5})).all())
    assert bool(jnp.isfinite(drift(1.0, y, {"mu": 1.5})).all())
    free = model.with_options(on_extrapolation="ignore")
    assert bool(jnp.isfinite(terms(free).vector_field(3.0, y, {"mu": 1.5})).all())
    late = diffrax.diffeqsolve(terms(model), solver(model), 0.0, 3.0, 0.5, y, args={"mu": 1.5}, throw=False)
    assert bool(jnp.isnan(late.ys).all())
