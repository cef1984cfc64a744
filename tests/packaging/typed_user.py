"""What mypy and pyright say of a user's program; checked by nox, session `types`, and never run.

`assert_type` fails where a type is another one, `Any` among them.
"""

from typing import assert_type

import jax
import xarray as xr
from matplotlib.figure import Figure

import hoam_plugin as hoam
from hoam_plugin import simulators
from hoam_plugin.accessor import EnsembleAccessor
from hoam_plugin.ensembles import Ensemble, EnsembleMethods
from hoam_plugin.simulators import VlasovPoissonGrid, VlasovPoissonPIC
from hoam_plugin.steppers import NamedStepper, Stepper

key = jax.random.key(0)

simulator = simulators.two_stream()
assert_type(simulator, VlasovPoissonPIC | VlasovPoissonGrid)
state = simulator.init(key, 100, {"mu": 1.4})
assert_type(state.x, jax.Array)
assert_type(simulator.step(state, 0.1, {"mu": 1.4}).v, jax.Array)

truth = hoam.simulate(simulator, {"mu": [1.2, 1.4]}, hoam.quadrature.gauss_legendre(8), key=key, n_samples=100)
assert_type(truth, Ensemble)
assert_type(truth.isel(run=0), Ensemble)
assert_type(truth["x"], xr.DataArray)
assert_type(truth.hoam.sel_run(mu=1.2), Ensemble)
assert_type(truth.hoam.compare(truth), xr.Dataset)
assert_type(truth.hoam.plot.phase_space(truth), Figure)
assert_type(truth.hoam.pipe(lambda ds: ds.mean("sample")), Ensemble)
assert_type(hoam.ensemble.load("truth.zarr"), Ensemble)
assert_type(hoam.ensemble.validate(xr.Dataset()).hoam, EnsembleMethods)
# The class says what the type promises.
methods: EnsembleMethods = EnsembleAccessor(truth)

model = hoam.fit(truth, key=key)
assert_type(model, hoam.Surrogate)
start = model.init(key, 100, {"mu": 1.4})
assert_type(model.solve(start, [0.0, 1.0], {"mu": 1.4}).x, jax.Array)
hoam.register("two_stream", model, default=True)

named = hoam.stepper("two_stream")
assert_type(named, NamedStepper)
population = named.step(named.init(key, 100, {"mu": 1.4}), 0.1, {"mu": 1.4}, key)
assert_type(population.x, jax.Array)
assert_type(hoam.compare(truth, truth), xr.Dataset)
assert_type(hoam.__version__, str)

steppers: list[Stepper] = [simulator, named, model, simulators.oscillator()]
