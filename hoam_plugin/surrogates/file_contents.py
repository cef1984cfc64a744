"""The parts of a surrogate as the contents of its file, and back."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from hoam_plugin.dynamics import (
    MomentDrift,
    Normalisation,
    PopulationClock,
    clock_from,
    drift_arrays,
    drift_from,
    structure_from,
)
from hoam_plugin.potentials import (
    bound,
    coefficients_fit,
    committee_of,
    description,
    embedding_of,
    potential_from,
    shape_fits,
)
from hoam_plugin.steppers import SampleLayout, Stepper, Variable, rebuild_from_attribute
from hoam_plugin.surrogates.bands import Bands, bands_from
from hoam_plugin.surrogates.file_format import Contents
from hoam_plugin.surrogates.in_place import required_stepper
from hoam_plugin.surrogates.learned import LearnedDynamics, require_known_physics
from hoam_plugin.surrogates.options import Options
from hoam_plugin.surrogates.provenance import Provenance
from hoam_plugin.surrogates.trained_range import TrainedRange
from hoam_plugin.surrogates.training_runs import TrainingRuns, physical_points, runs_at

_NORMALISATION_ARRAYS = ("shift", "scale", "parameter_shift", "parameter_scale")
_CLOCK = "normalisation/clock/"
_BASE = "base/"
_BANDS = "bands/"
_RUNS = "runs/parameters"


def contents_of(
    learned: LearnedDynamics,
    trained: TrainedRange,
    options: Options,
    provenance: Provenance,
    runs: TrainingRuns | None,
) -> Contents:
    """The contents of a surrogate's file."""
    norm = learned.normalisation
    metadata = {
        "potential": description(learned.potential),
        "variables": [dataclasses.asdict(v) for v in learned.layout.variables],
        "parameter_ranges": trained.ranges,
        "shapes": learned.layout.shapes,
        "structure": dataclasses.asdict(learned.structure),
        "epsilon": learned.epsilon,
        "known_noise": learned.known_noise,
        "known_drift": learned.known_drift,
        "members": learned.members,
        "dt": options.dt,
        "on_extrapolation": trained.policy,
        "noise": options.noise,
        "integrator": options.integrator,
        "stepper": learned.stepper_attribute,
        "configuration": provenance.configuration,
        "training_sizes": dict(provenance.sizes),
        "normalisation": {"periods": norm.periods, "horizon": norm.horizon, "parameters": norm.parameters},
    }
    arrays = {f"normalisation/{name}": getattr(norm, name) for name in _NORMALISATION_ARRAYS}
    if norm.clock is not None:
        arrays |= {f"{_CLOCK}{name}": np.asarray(values, np.float32) for name, values in norm.clock.fields().items()}
    if runs is not None:
        arrays[_RUNS] = physical_points(runs, norm)
    if learned.base is not None:
        metadata["base"] = {"parameters": learned.base.weights.names, "columns": learned.base.columns}
        arrays |= {f"{_BASE}{name}": values for name, values in drift_arrays(learned.base).items()}
    if provenance.bands is not None:
        metadata["bands"] = provenance.bands.described()
        arrays |= {f"{_BANDS}{name}": values for name, values in provenance.bands.arrays().items()}
    arrays |= {f"weights{_path_text(p)}": leaf for p, leaf in jax.tree_util.tree_leaves_with_path(learned.weights)}
    return Contents(metadata, arrays, provenance.history)


def parts_of(
    contents: Contents, replaces: Stepper | None
) -> tuple[LearnedDynamics, TrainedRange, Options, Provenance, TrainingRuns | None]:
    """The parts of the surrogate in a file: the inverse of `contents_of`.

    Args:
        contents: of the file.
        replaces: the stepper whose place is taken, or None for the one that the file names.

    Raises:
        ValueError: `replaces` lacks a variable, or the known drift or noise of the training.
    """
    metadata, norm = contents.metadata, contents.metadata["normalisation"]
    normalisation = Normalisation(
        **{name: jnp.asarray(contents.arrays[f"normalisation/{name}"]) for name in _NORMALISATION_ARRAYS},
        periods=tuple(norm["periods"]),
        horizon=tuple(norm["horizon"]),
        parameters=tuple(norm["parameters"]),
        clock=_clock_of(contents),
    )
    variables = tuple(_variable_of(fields) for fields in metadata["variables"])
    attribute = metadata["stepper"]
    learned = _learned(contents, normalisation, variables, attribute, replaces)
    ranges = tuple((name, low, high) for name, low, high in metadata["parameter_ranges"])
    return (
        require_known_physics(learned),
        TrainedRange(ranges, normalisation.horizon, metadata["on_extrapolation"]),
        Options(metadata["dt"], metadata["noise"], metadata.get("integrator")),
        Provenance(
            metadata["configuration"],
            contents.history,
            sizes=metadata.get("training_sizes", {}),
            bands=_bands_of(contents),
        ),
        _runs_of(contents, normalisation),
    )


def run_parameters(contents: Contents) -> dict[str, np.ndarray] | None:
    """The parameters of the training runs by name; files of before do not say them."""
    if _RUNS not in contents.arrays:
        return None
    columns = np.asarray(contents.arrays[_RUNS], np.float64).T
    return dict(zip(contents.metadata["normalisation"]["parameters"], columns, strict=True))


def _learned(
    contents: Contents,
    normalisation: Normalisation,
    variables: tuple[Variable, ...],
    attribute: str,
    replaces: Stepper | None,
) -> LearnedDynamics:
    metadata = contents.metadata
    _require_few_layers(metadata["potential"], contents)
    potential = potential_from(metadata["potential"])
    structure = structure_from(metadata["structure"])
    embedding = embedding_of(potential, normalisation, structure)
    members = metadata.get("members", 1)
    network = committee_of(bound(potential, structure, embedding), members)
    template = jax.eval_shape(
        lambda key: network.init(key, embedding.n_features, 1 + len(normalisation.parameters)), jax.random.key(0)
    )

    def weight(place: Sequence[object], expected: jax.ShapeDtypeStruct) -> jax.Array:
        name = f"weights{_path_text(place)}"
        found = contents.arrays[name]
        if not shape_fits([str(getattr(key, "key", key)) for key in place], found.shape, expected.shape):
            raise ValueError(f"the array {name!r} has the shape {found.shape}; its potential needs {expected.shape}")
        return jnp.asarray(found)

    weights = jax.tree_util.tree_map_with_path(weight, template)
    if not coefficients_fit(weights):
        raise ValueError("its coefficients are not of the runs that stand beside them")
    return LearnedDynamics(
        weights=weights,
        normalisation=normalisation,
        replaces=required_stepper(rebuild_from_attribute(attribute) if replaces is None else replaces, variables),
        potential=potential,
        layout=SampleLayout(variables, tuple(tuple(shape) for shape in metadata["shapes"])),
        structure=structure,
        epsilon=metadata["epsilon"],
        known_noise=metadata["known_noise"],
        known_drift=metadata["known_drift"],
        stepper_attribute=attribute,
        base=_base_of(contents),
        members=members,
    )


def _require_few_layers(described: Mapping[str, object], contents: Contents) -> None:
    """Raise ValueError for more layers than there are arrays of weights; to build them would take for ever."""
    n_arrays = sum(name.startswith("weights") for name in contents.arrays)
    for name, value in described.items():
        if isinstance(value, Mapping):
            _require_few_layers(value, contents)
        elif name == "depth" and isinstance(value, int) and value > n_arrays:
            raise ValueError(f"its potential has depth={value!r}, and the file {n_arrays} arrays of weights")


def _clock_of(contents: Contents) -> PopulationClock | None:
    """The clock in a file; those of before have none."""
    fields = {n.removeprefix(_CLOCK): np.asarray(a) for n, a in contents.arrays.items() if n.startswith(_CLOCK)}
    return clock_from({name: values.tolist() for name, values in fields.items()}) if fields else None


def _runs_of(contents: Contents, normalisation: Normalisation) -> TrainingRuns | None:
    """Where the training runs lie."""
    columns = run_parameters(contents)
    return None if columns is None else runs_at(columns, normalisation)


def _base_of(contents: Contents) -> MomentDrift | None:
    """The base in a file; most have none."""
    described = contents.metadata.get("base")
    if described is None:
        return None
    arrays = {n.removeprefix(_BASE): np.asarray(a) for n, a in contents.arrays.items() if n.startswith(_BASE)}
    return drift_from(arrays, described["parameters"], described["columns"])


def _bands_of(contents: Contents) -> Bands | None:
    """The bands in a file; most have none."""
    described = contents.metadata.get("bands")
    if described is None:
        return None
    arrays = {n.removeprefix(_BANDS): np.asarray(a) for n, a in contents.arrays.items() if n.startswith(_BANDS)}
    return bands_from(described, arrays)


def _variable_of(fields: Mapping[str, Any]) -> Variable:
    # JSON has no tuples.
    arguments: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}
    return Variable(**arguments)


def _path_text(path: Sequence[object]) -> str:
    return "".join(f"/{getattr(part, 'key', getattr(part, 'idx', None))}" for part in path)
