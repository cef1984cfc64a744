"""Units that do not tell one particle of a configuration from another."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np

from hoam_plugin.dynamics.normalisation import Normalisation
from hoam_plugin.steppers import SampleLayout


def units_of_particles(norm: Normalisation, layout: SampleLayout) -> Normalisation:
    """The normalisation in which all particles, and all axes, of every variable have the same units.

    Along every axis positions are measured from the mean over the particles; the scale is the standard deviation over
    all of them, in the mean over the axes. Periodic variables have one scale already.

    Args:
        norm: of the columns of samples.
        layout: of variables of shape (N, axes).
    """
    shift, scale = np.asarray(norm.shift, np.float64).copy(), np.asarray(norm.scale, np.float64).copy()
    for name, shape in zip(layout.names, layout.shapes, strict=True):
        columns = layout.columns(name)
        if norm.periods[columns.start] is not None:
            continue
        means, spreads = shift[columns].reshape(shape), scale[columns].reshape(shape)
        of_axis = means.mean(axis=0, keepdims=True)
        shift[columns] = np.broadcast_to(of_axis, shape).ravel()
        scale[columns] = np.sqrt(np.mean(spreads**2 + (means - of_axis) ** 2))
    made = norm.scale.dtype
    return dataclasses.replace(norm, shift=jnp.asarray(shift, made), scale=jnp.asarray(scale, made))
