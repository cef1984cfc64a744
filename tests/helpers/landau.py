"""A force in three dimensions that sees the first position alone, learned from a small plasma."""

import jax

import hoam_plugin as hoam
from hoam_plugin import simulators


def fit_force(*, conservative: bool) -> hoam.Surrogate:
    """Sixty iterations from rates: enough for a force that is not zero."""
    sim = simulators.strong_landau(n_cells=(16, 2, 2), horizon=(0.0, 2.0))
    rule = hoam.quadrature.gauss_legendre(8)
    ds = hoam.simulate(sim, {"mu": [0.8, 1.2]}, rule, key=jax.random.key(0), n_samples=1024, rates=True, progress=False)
    field = hoam.VectorField(width=16, depth=3, time_harmonics=1, conservative=conservative, unseen=(1, 2))
    training = hoam.Training(iterations=60, n_samples=64, learning_rate=1e-2, warmup=10)
    return hoam.fit(ds, key=jax.random.key(1), structure="kinetic", potential=field, training=training, progress=False)
