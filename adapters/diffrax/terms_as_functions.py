"""Anybody's diffrax terms as the functions of a `DiffraxStepper`. Imported when `from_terms` is called."""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import diffrax
import jax
import jax.numpy as jnp
import lineax
from jax.tree_util import PyTreeDef
from jaxtyping import Array, Float

from hoam_plugin._types import PyTree
from hoam_plugin.simulators import DiffraxStepper
from hoam_plugin.steppers import Parameters, SampleLayout, Variable, default_float

from .function_types import Initial, OfRows, VectorField
from .population_stepper import PopulationStepper


class SampleTree(NamedTuple):
    """How y, a pytree, holds samples: each leaf is a variable.

    Attributes:
        treedef: of y.
        layout: of its leaves, in their order.
    """

    treedef: PyTreeDef
    layout: SampleLayout

    def row(self, y: PyTree) -> Float[Array, " D"]:
        """The leaves of one sample side by side."""
        return self.rows(jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], y))[0]

    def rows(self, y: PyTree) -> Float[Array, "n D"]:
        """The leaves of a population side by side."""
        leaves = map(jnp.asarray, self.treedef.flatten_up_to(y))
        return self.layout.flattened(dict(zip(self.layout.names, leaves, strict=True)))

    def of_row(self, x: Float[Array, " D"]) -> PyTree:
        """The inverse of `row`."""
        return jax.tree.map(lambda leaf: leaf[0], self.of_rows(x[None]))

    def of_rows(self, x: Float[Array, "n D"]) -> PyTree:
        """The inverse of `rows`."""
        return self.treedef.unflatten(self.layout.parts(x).values())


def stepper(
    terms: object,
    initial: Initial,
    parameters: tuple[str, ...],
    variables: Sequence[Variable] | None,
    batched: bool,
    additive: bool | None,
    known: VectorField | None,
    **numerics: Any,
) -> DiffraxStepper:
    """See `hoam_plugin.adapters.diffrax.from_terms`; `numerics` are arguments of `DiffraxStepper`."""
    drift_term, noise_term = _parts(terms)
    if not callable(initial):
        raise TypeError(f"initial={initial!r} must be a function (key, n_samples, args) -> y0 of a whole population")
    sample = _one_sample(initial, parameters)
    shapes = tuple(leaf.shape[1:] for leaf in jax.tree.leaves(sample))
    variables = _default_variables(sample) if variables is None else tuple(variables)
    sizes = _sizes(variables, shapes)
    tree = SampleTree(jax.tree.structure(sample), SampleLayout(variables, shapes))

    def of_rows(function: VectorField) -> OfRows:
        if batched:
            return lambda time, x, values: tree.rows(function(time, tree.of_rows(x), values))
        return lambda time, x, values: tree.row(function(time, tree.of_row(x), values))

    diffusion: OfRows | None = None
    if noise_term is not None:
        diffusion = _diffusion(noise_term, tree, batched)
        if additive is None:
            additive = _is_constant(diffusion, tree.layout.n_columns, parameters, batched)
    kind = PopulationStepper if batched else DiffraxStepper
    return kind(
        drift=of_rows(cast(VectorField, drift_term.vector_field)),
        diffusion=diffusion,
        initial=lambda key, n, values: tree.rows(initial(key, n, values)),
        parameters=parameters,
        variables=variables,
        sizes=sizes,
        additive=bool(additive),
        known=None if known is None else of_rows(known),
        **numerics,
    )


def _parts(terms: object) -> tuple[diffrax.ODETerm, diffrax.ControlTerm | None]:
    if inspect.isroutine(terms) or inspect.isclass(terms):
        name = getattr(terms, "__name__", "function")
        raise TypeError(f"terms={name} is no term but what makes one; call it, as in terms={name}(...)")
    parts: tuple[object, ...] = terms.terms if isinstance(terms, diffrax.MultiTerm) else (terms,)
    drift, noise = parts[0], parts[1] if len(parts) == 2 else None
    if not (isinstance(drift, diffrax.ODETerm) and len(parts) < 3 and isinstance(noise, diffrax.ControlTerm | None)):
        kinds = ", ".join(type(part).__name__ for part in parts)
        raise TypeError(f"terms={kinds} must be an ODETerm, or a MultiTerm of an ODETerm and a ControlTerm")
    if noise is not None and not isinstance(noise.control, diffrax.AbstractBrownianPath):
        raise TypeError(
            f"terms: the control is a {type(noise.control).__name__}; it must be a Brownian motion, such as "
            "VirtualBrownianTree or UnsafeBrownianPath"
        )
    return drift, noise


def _one_sample(initial: Initial, parameters: tuple[str, ...]) -> PyTree:
    """Shapes of what `initial` returns for one sample.

    Raises:
        ValueError: a leaf without the leading sample axis.
    """
    values = dict.fromkeys(parameters, jax.ShapeDtypeStruct((), default_float()))
    sample = jax.eval_shape(lambda values: initial(jax.random.key(0), 1, values), values)
    for leaf in jax.tree.leaves(sample):
        if leaf.shape[:1] != (1,):
            raise ValueError(
                f"initial returned a leaf of the shape {leaf.shape} for one sample; the sample axis must be the first"
            )
    return sample


def _default_variables(sample: PyTree) -> tuple[Variable, ...]:
    """One variable per leaf, named after its place in the pytree."""
    leaves = jax.tree_util.tree_leaves_with_path(sample)
    variables = []
    for i, (path, leaf) in enumerate(leaves):
        name = jax.tree_util.keystr(path, simple=True, separator="_")
        if len(leaves) == 1 and not path:
            name = "x"
        elif not name.isidentifier():
            name = f"y{i}"
        axes = range(leaf.ndim - 1)
        dims = (
            (("axis",) if name == "x" else (f"{name}_axis",)) if leaf.ndim == 2 else (f"{name}_axis{a}" for a in axes)
        )
        variables.append(Variable(name, dims=tuple(dims)))
    return tuple(variables)


def _sizes(variables: tuple[Variable, ...], shapes: tuple[tuple[int, ...], ...]) -> dict[str, int]:
    """Lengths of the variables' dimensions, from the leaves of y."""
    if len(variables) != len(shapes) or any(len(v.dims) != len(s) for v, s in zip(variables, shapes, strict=True)):
        described = {v.name: v.dims for v in variables}
        raise ValueError(f"variables={described!r} do not fit y, whose leaves have the shapes {shapes!r} per sample")
    return {
        dim: size for v, shape in zip(variables, shapes, strict=True) for dim, size in zip(v.dims, shape, strict=True)
    }


def _diffusion(term: diffrax.ControlTerm, tree: SampleTree, batched: bool) -> OfRows:
    """(time, x, parameters) -> (D,) for diagonal or (D, M) for full noise; for a population (n, D).

    Raises:
        ValueError: full noise of a population, or a Brownian motion that is a pytree.
    """
    # All of diffrax's Brownian motions have a shape.
    control: Any = term.control

    def diffusion(time: Any, x: jax.Array, values: Parameters) -> jax.Array:
        out = term.vf(time, tree.of_rows(x) if batched else tree.of_row(x), values)
        if isinstance(out, lineax.DiagonalLinearOperator):
            return tree.rows(out.diagonal) if batched else tree.row(out.diagonal)
        if batched:
            raise ValueError(
                f"the diffusion of a batched problem returned {type(out).__name__}; it must be a "
                "lineax.DiagonalLinearOperator"
            )
        if isinstance(out, lineax.AbstractLinearOperator):
            return out.as_matrix()
        return _as_matrix(out, control.shape, len(x))

    return diffusion


def _as_matrix(out: PyTree, control: PyTree, width: int) -> Float[Array, "D M"]:
    """The array that a `ControlTerm` contracts with its control, as a (D, M) matrix."""
    if len(jax.tree.leaves(out)) != 1 or len(jax.tree.leaves(control)) != 1:
        raise ValueError("the diffusion of a pytree y must be a lineax operator, such as DiagonalLinearOperator")
    (array,), (struct,) = jax.tree.leaves(out), jax.tree.leaves(control)
    array = jnp.asarray(array)
    if array.size != width * math.prod(struct.shape):
        raise ValueError(
            f"the diffusion returned the shape {array.shape} for {width} coordinates and a Brownian motion of the "
            f"shape {struct.shape}; it must hold the axes of y and then those of the Brownian motion"
        )
    return array.reshape(width, -1)


def _is_constant(diffusion: OfRows, width: int, parameters: tuple[str, ...], batched: bool) -> bool:
    """Whether the diffusion does not look at y at all."""
    scalar = jax.ShapeDtypeStruct((), default_float())
    x = jax.ShapeDtypeStruct((2, width) if batched else (width,), default_float())
    jaxpr = jax.make_jaxpr(diffusion)(scalar, x, dict.fromkeys(parameters, scalar)).jaxpr
    used = {id(v) for v in jaxpr.outvars}
    for equation in reversed(jaxpr.eqns):
        if used & {id(v) for v in equation.outvars}:
            used |= {id(v) for v in equation.invars}
    return id(jaxpr.invars[1]) not in used
