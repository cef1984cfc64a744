"""Functions of the neighbourhood of a particle: polynomials of the density of its neighbours, and of their directions.

A neighbour at the distance r in the direction e adds w_a(r), w_a(r) e and w_a(r) (e e - 1/d) to the moments of a
particle, for every shell w_a. The functions of the moments that do not change with a turn, to the second order, are the
sums over triples of particles whose dependence on the angle is 1, cos and cos^2, such as that of Stillinger and Weber
(1985, doi:10.1103/PhysRevB.31.5262); they cost a sum over pairs (Shapeev 2016, doi:10.1137/15M1054183).
"""

from __future__ import annotations

import functools
import itertools
import math
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from hoam_plugin._internal.checks import either, positive_int
from hoam_plugin.potentials.one_body import OneBodyTerms, one_body_continued_values
from hoam_plugin.potentials.radial import AxisFields, RadialAxis, radial_splines

# In lengths of a cell: what is nearer is in the same place.
_SAME_PLACE = 1e-6
# Splines from this number on vanish at the distance 0, with two derivatives.
_NONE_AT_ZERO = 3


class Neighbourhood(NamedTuple):
    """Which functions they are.

    Attributes:
        axis: where the splines lie that are the shells.
        first: number of the first spline that any neighbour is in.
        angular: highest order of the moments, 0 for the density alone.
        degree: highest degree of the polynomials of the densities.
        ends: of every shell the lowest and the highest density that was seen, beyond which polynomials go on as
            straight lines.
    """

    axis: RadialAxis
    first: int
    angular: int
    degree: int
    ends: tuple[tuple[float, float], ...]

    @property
    def n_shells(self) -> int:
        """Number of shells."""
        return self.axis.n - self.first

    @property
    def terms(self) -> OneBodyTerms:
        """Monomials of the densities; those of the first degree are functions of pairs."""
        return _monomials(self.n_shells, self.degree)

    @property
    def pairs_of_shells(self) -> tuple[np.ndarray, np.ndarray]:
        """Of which moments of the same order are multiplied."""
        return np.triu_indices(self.n_shells)

    def n_components(self, d: int) -> int:
        """Of the moments of a shell, with so many axes."""
        return (1, 1 + d, 1 + d + d * (d + 1) // 2)[self.angular]

    @property
    def n(self) -> int:
        """Number of functions."""
        return self.terms.n + self.angular * len(self.pairs_of_shells[0])


@functools.lru_cache(maxsize=64)
def _monomials(n: int, degree: int) -> OneBodyTerms:
    """Of n variables, of degrees from 2 on."""
    products = (itertools.combinations_with_replacement(range(n), total) for total in range(2, degree + 1))
    terms = (tuple(factors.count(i) for i in range(n)) for factors in itertools.chain.from_iterable(products))
    return OneBodyTerms((None,) * n, tuple(terms))


# As it is written: with the fields of its axis.
NeighbourhoodFields = tuple[AxisFields, int, int, int, tuple[tuple[float, float], ...]]


def neighbourhood_from(fields: NeighbourhoodFields) -> Neighbourhood:
    """Made of its fields."""
    axis, first, angular, degree, ends = fields
    return Neighbourhood(RadialAxis(*axis), first, angular, degree, ends)


class Neighbours(NamedTuple):
    """Functions of the neighbours of a particle that a potential is to have beside those of pairs.

    Attributes:
        n_shells: shells between the closest pairs and the cutoff, or one less.
        angular: highest power of the cosine between two neighbours that they depend on, at most 2; 0 for densities.
        density_degree: highest degree of their polynomials of the densities of neighbours, from 2 on.
        placed: as fields of `Neighbourhood`; `fit` finds them.

    Example:
        >>> hoam.Neighbours(n_shells=5, angular=0).n_shells
        5
    """

    n_shells: int = 5
    angular: int = 2
    density_degree: int = 2
    placed: NeighbourhoodFields | None = None


def checked_neighbours(fields: tuple[int, int, int, NeighbourhoodFields | None]) -> Neighbours:
    """Made of its fields.

    Raises:
        ValueError: one of them is out of its range.
    """
    if not isinstance(fields, tuple):
        raise TypeError(f"neighbours={fields!r} must be Neighbours(...), such as Neighbours(n_shells=5), or None")
    wanted = Neighbours(*fields)
    positive_int("neighbours.n_shells", wanted.n_shells)
    either("neighbours.angular", wanted.angular, 0, 1, 2)
    positive_int("neighbours.density_degree", wanted.density_degree, 2)
    placed = None if wanted.placed is None else neighbourhood_from(wanted.placed)
    return wanted._replace(placed=placed)


def neighbourhood_of(start: float, cutoff: float, n_shells: int, angular: int, degree: int) -> Neighbourhood:
    """Shells between the closest pairs and the cutoff; their densities have not been seen yet.

    Args:
        start: distance of the closest pairs.
        cutoff: where the shells end.
        n_shells: lengths of a shell in between.
        angular: highest order of the moments.
        degree: highest degree of the polynomials.
    """
    n_cells = max(1, math.ceil(n_shells * cutoff / (cutoff - start)))
    axis = RadialAxis(0.0, cutoff, n_cells, vanishing=True)
    # Spline i is at its largest at i - 1 and ends at i + 1: no shell of which there are neighbours at its end alone, as
    # what the few of them say of it holds for no others.
    first = min(1 + int(np.floor(start / axis.spacing)), axis.n - 1) if start else 0
    return Neighbourhood(axis, first, angular, degree, ((0.0, 0.0),) * (axis.n - first))


def neighbour_moments(
    of: Neighbourhood, apart: Float[Array, "*N K d"], there: Bool[Array, "*N K"] | Bool[np.ndarray, "*N K"]
) -> Float[Array, "*N a c"]:
    """The moments of particles: shell after shell, of each the components of all orders.

    Args:
        of: the functions.
        apart: the way to each particle from each of its neighbours.
        there: which of them are neighbours, and not but filling.
    """
    shells, directions = _of_neighbours(of, apart, jnp.asarray(there))
    # Never a product for every pair, of which there are many.
    return _where_smooth(of, jnp.einsum("...ka,...kc->...ac", shells, directions))


def moments_of_each(
    of: Neighbourhood, apart: Float[Array, "*P d"], there: Bool[Array, "*P"] | Bool[np.ndarray, "*P"]
) -> Float[Array, "*P a c"]:
    """What every neighbour adds to `neighbour_moments`."""
    shells, directions = _of_neighbours(of, apart, jnp.asarray(there))
    return _where_smooth(of, shells[..., :, None] * directions[..., None, :])


def _of_neighbours(
    of: Neighbourhood, apart: Float[Array, "*P d"], there: Bool[Array, "*P"]
) -> tuple[Float[Array, "*P a"], Float[Array, "*P c"]]:
    """In which shells neighbours are, and the components of their directions."""
    # What is in the very same place has no direction.
    there = there & (jnp.sum(apart**2, axis=-1) > (_SAME_PLACE * of.axis.spacing) ** 2)
    apart = jnp.where(there[..., None], apart, 1)
    r = jnp.sqrt(jnp.sum(apart**2, axis=-1))
    shells = radial_splines(of.axis, r).value[..., of.first :]
    unit = apart / r[..., None]
    orders = [jnp.ones_like(r)[..., None]]
    if of.angular > 0:
        orders.append(unit)
    if of.angular > 1:
        one, other = np.triu_indices(apart.shape[-1])
        # Those off the diagonal stand for two.
        row = (1,) * (apart.ndim - 1) + (-1,)
        twice = jnp.asarray(np.where(one == other, 1.0, math.sqrt(2)), apart.dtype).reshape(row)
        # Without its trace, which is the density.
        trace = jnp.asarray(np.where(one == other, 1 / apart.shape[-1], 0.0), apart.dtype).reshape(row)
        orders.append((unit[..., one] * unit[..., other] - trace) * twice)
    return jnp.where(there[..., None], shells, 0), jnp.concatenate(orders, axis=-1)


def _where_smooth(of: Neighbourhood, moments: Float[Array, "*N a c"]) -> Float[Array, "*N a c"]:
    """Those of directions only in shells that vanish, with two derivatives, where particles meet."""
    vanishes = np.arange(of.first, of.axis.n) >= _NONE_AT_ZERO
    there = vanishes[:, None] | (np.arange(moments.shape[-1]) == 0)[None]
    return moments * jnp.asarray(there, moments.dtype).reshape((1,) * (moments.ndim - 2) + there.shape)


def neighbourhood_values(of: Neighbourhood, moments: Float[Array, "*N a c"]) -> Float[Array, "*N k"]:
    """All functions at the moments of particles."""
    values, (one, other) = [density_values(of, moments[..., 0])], of.pairs_of_shells
    for components in orders_of(of, moments.shape[-1]):
        tensors = moments[..., components]
        products = jnp.einsum("...ac,...bc->...ab", tensors, tensors)
        values.append(products[..., one, other])
    return jnp.concatenate(values, axis=-1)


def density_values(of: Neighbourhood, densities: Float[Array, "*N a"]) -> Float[Array, "*N k"]:
    """The polynomials of the densities, which are the first functions."""
    ends = jnp.asarray(np.asarray(of.ends).T, densities.dtype)
    # Polynomials about the middle are less alike.
    middle = jnp.mean(ends, axis=0)
    from_middle = densities - middle.reshape((1,) * (densities.ndim - 1) + (-1,))
    return one_body_continued_values(of.terms, from_middle, ends - middle[None])


def orders_of(of: Neighbourhood, n_components: int) -> list[slice]:
    """The components of every order from the first on, of 1 + d or 1 + d + d (d + 1) / 2."""
    d = n_components - 1 if of.angular == 1 else round((math.sqrt(1 + 8 * n_components) - 3) / 2)
    return [slice(1, 1 + d), slice(1 + d, n_components)][: of.angular]
