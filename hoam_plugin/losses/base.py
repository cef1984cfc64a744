"""What training asks of a loss."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Sequence
from typing import ClassVar, TypedDict

import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float, Int

from hoam_plugin._internal.checks import non_negative_float
from hoam_plugin.dynamics import Dynamics, Kind, Structure
from hoam_plugin.losses.batch import Batch, Nodes
from hoam_plugin.losses.targets import Targets
from hoam_plugin.losses.weak_form import MomentTargets
from hoam_plugin.potentials import CoLoRA, Embedding, LearnedDrift, Potential, VectorField, Weights
from hoam_plugin.quadrature import Rule

# Amplitude of the entropic noise where none is given, in normalised units.
DEFAULT_EPSILON = 0.3


class TrainingDefaults(TypedDict, total=False):
    """Settings of `Training` that a loss may want to be different; see there."""

    iterations: int
    n_samples: int
    n_times: int
    runs_per_iteration: int
    learning_rate: float


@dataclasses.dataclass(frozen=True)
class AbstractLoss(abc.ABC):
    """Base of all losses: what one is, what it wants of the ensemble and of every batch, and its terms.

    A loss of one's own is a frozen dataclass of plain numbers that derives from this; `fit` takes it as it is. Only
    `interior` has to be there: everything else has the defaults of a loss of single samples of marginals, without noise
    and without a lower bound.

    Attributes:
        structures: what may be learned with it.
        bounded: it is a squared error, which nothing can make arbitrarily low: the guard then looks for numbers that
            are not finite, or too large, alone, and the saved times need not resolve the motion of a density.
        carries_noise: whether the surrogate moves with the noise that the stepper declares, where it knows any.
        compares_times: whether its terms hold samples of neighbouring times (`Nodes.neighbours` and `Nodes.shares`).
            Where only some of the times take part in an iteration, the two ends then always do, with the weights of the
            trapezoidal rule on these times.
    """

    structures: ClassVar[tuple[Kind, ...]] = ("gradient", "kinetic")
    bounded: ClassVar[bool] = False
    carries_noise: ClassVar[bool] = True
    compares_times: ClassVar[bool] = False

    # What it is of.

    @property
    def noise(self) -> float:
        """Amplitude of the entropic noise in normalised units: above 0 where the Laplacian takes part."""
        return 0.0

    @property
    def quadrature(self) -> Rule | None:
        """The rule in time; None for the weights of the ensemble, else the best rule on its times."""
        return None

    def time_weights(self, times: Float[np.ndarray, " T"], given: Float[np.ndarray, " T"]) -> Float[np.ndarray, " T"]:
        """The weights of the saved times, which sum to 1; times of weight 0 take no part.

        Args:
            times: in physical units.
            given: weights of `quadrature`, or of the ensemble.
        """
        return given

    # What it wants of a structure, an ensemble and a batch.

    def require_structure(self, structure: Structure, *, based: bool = False) -> None:
        """Raise ValueError where the loss does not go with a structure, or with a base that the learned drift corrects.

        A loss that takes part of the drift as given, as `Nodes.drift` holds it, overrides this for the latter.
        """
        if based:
            raise ValueError(f"base='moments' does not go with loss={self!r}, which knows no base; use ActionMatching")
        if structure.kind in self.structures:
            return
        if structure.kind == "field":
            raise ValueError(
                f"loss={self!r} learns potentials; structure='field' takes MomentMatching, VelocityMatching (with "
                "recorded rates) or TrajectoryMatching"
            )
        raise ValueError(
            f"loss={self!r} does not go with structure={structure.kind!r}; it takes "
            f"{' or '.join(map(repr, self.structures))}"
        )

    def require_ensemble(self, ds: xr.Dataset, driven: Sequence[str]) -> None:
        """Raise ValueError where an ensemble lacks what the loss needs, such as recorded rates of driven variables."""
        return

    def settled(
        self, dynamics: Dynamics, potential: Potential | VectorField, *, trajectories: bool = True
    ) -> AbstractLoss:
        """The loss with all that is left to choose, as it is recorded and used in training.

        Args:
            dynamics: what is known.
            potential: what is learned.
            trajectories: whether a sample is the same one at all times.

        Raises:
            ValueError: a choice that does not go with what is learned.
        """
        return self

    def targets(self, ds: xr.Dataset, dynamics: Dynamics) -> Targets | MomentTargets | None:
        """What the learned drift is matched to, at every sample or in moments of all; None where nothing is.

        With moments, a batch holds two independently drawn subsets of the samples of every node, one after the other.
        """
        return None

    def derivatives(
        self, times: Float[np.ndarray, " T"], weights: Float[np.ndarray, " T"]
    ) -> tuple[Int[np.ndarray, "T K"], Float[np.ndarray, "T K"]] | None:
        """How means over samples are differentiated in time, where the loss does that.

        Args:
            times: the saved times, normalised.
            weights: theirs.

        Returns:
            (neighbours, coefficients): of each time, the indices of the times whose samples take part, itself among
            them, and their factors, which `Nodes.neighbours` and `Nodes.coefficients` then hold; or None.
        """
        return None

    @property
    def coupled(self) -> bool:
        """Whether an iteration follows the same samples through all times."""
        return self.compares_times

    @property
    def merged(self) -> bool:
        """Whether an iteration sees all samples as a few weighted points; see `hoam_plugin.losses.cells`."""
        return False

    def n_probes(self, n_dims: int) -> int:
        """Random directions per sample of `n_dims` coordinates; 0 where the Laplacian is exact or unused."""
        return 0

    # Its terms, over normalised samples.

    @abc.abstractmethod
    def interior(
        self,
        potential: LearnedDrift,
        embedding: Embedding,
        weights: Weights,
        nodes: Nodes,
        reference: Float[Array, "k D"],
    ) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """What the given nodes add to the loss, and to its quadratic part, which the guard compares it with.

        Args:
            potential: the network, in the form that the structure gives it.
            embedding: how samples enter.
            weights: of the network.
            nodes: some of the nodes of a batch, or a part of the samples of one; what they add sums to the whole.
            reference: a few fixed points of the population.
        """

    def boundary(
        self, potential: LearnedDrift, embedding: Embedding, weights: Weights, batch: Batch
    ) -> Float[Array, ""]:
        """What is not a sum over nodes, such as terms at both ends of the time range."""
        return jnp.zeros((), batch.points.dtype)

    # What goes with it.

    def judged_by(self) -> AbstractLoss:
        """The loss whose value on held-out samples tells how good a model is, whatever it was trained with.

        It must have a lower bound that samples set, not weights: for a bounded loss, and by default, itself. It has all
        of its choices (`settled`), but its weights of times and what it wants of every batch are its own, so that the
        held-out samples are prepared for it.
        """
        return self

    def default_potential(self, structure: Structure) -> Potential | VectorField:
        """The network where none is named."""
        return CoLoRA() if structure.kind == "gradient" else VectorField()

    def default_training(self) -> TrainingDefaults:
        """Settings of `Training` that differ from its defaults where no training is named."""
        return {}


@dataclasses.dataclass(frozen=True)
class EntropicLoss(AbstractLoss):
    """A loss of marginals with a Laplacian, whose noise makes the surrogate an SDE.

    Attributes:
        epsilon: amplitude of the entropic noise in normalised units (each coordinate scaled as in training, time on
            [0, 1]); the surrogate is an ODE for 0 and an SDE above. None takes 0.3 for the structure "gradient", and is
            all that other structures allow: there the noise is that of the stepper.

    Raises:
        ValueError: a negative or non-finite epsilon.
    """

    epsilon: float | None = None

    def __post_init__(self) -> None:
        if self.epsilon is not None:
            non_negative_float("epsilon", self.epsilon, wanted="a finite number of at least 0 or None")

    @property
    def noise(self) -> float:
        """Epsilon with its default."""
        return DEFAULT_EPSILON if self.epsilon is None else self.epsilon

    def require_structure(self, structure: Structure, *, based: bool = False) -> None:
        """Raise ValueError where the loss, or its epsilon, does not go with a structure or a base."""
        super().require_structure(structure, based=based)
        if structure.knows_dynamics and self.epsilon:
            raise ValueError(
                f"epsilon={self.epsilon!r}: with structure={structure.kind!r} the noise is that of the stepper, which "
                "declares it as `noise`; leave epsilon=None"
            )

    def settled(
        self, dynamics: Dynamics, potential: Potential | VectorField, *, trajectories: bool = True
    ) -> EntropicLoss:
        """With epsilon: its own, or 1 or 0, as amplitudes of the stepper's noise come with the samples."""
        known = 1.0 if dynamics.has_noise else 0.0
        return dataclasses.replace(self, epsilon=known if dynamics.structure.knows_dynamics else self.noise)
