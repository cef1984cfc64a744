"""How the weights are found: `Training`."""

from __future__ import annotations

import dataclasses
from typing import Literal, get_args

import jax
import optax

from hoam_plugin._internal.checks import one_of, positive_float, positive_int, refusal

# All from optax; `benchmarks/results/optimisers.md` compares some at equal time.
Optimiser = Literal["adam", "adamw", "nadam", "radam", "adabelief", "adan", "ademamix", "lion", "muon"]
OPTIMISERS = get_args(Optimiser)

_SAMPLES_PER_ITERATION = 2048

# One sample of so many is held out, with limits.
_HELD_OUT_OF = 10
_LEAST_HELD_OUT, _MOST_HELD_OUT = 32, 2000


@dataclasses.dataclass(frozen=True)
class Training:
    """How the weights are found: an optimiser with linear warm-up and cosine decay to zero, and a moving average.

    Attributes:
        iterations: number of steps of the optimiser.
        n_samples: samples per quadrature node and iteration; None spreads about 2048 over the nodes.
        n_times: nodes per iteration, one drawn from each of as many equal stretches, with scaled weights so that the
            loss is unbiased; where means over independent samples are differentiated, stretches of neighbours instead,
            whose fluctuations cancel. None takes all of them.
        runs_per_iteration: runs (parameter values) per iteration.
        optimiser: "adam", "adamw", "nadam", "radam", "adabelief", "adan", "ademamix", "lion" or "muon" (momentum
            orthogonalised by Newton and Schulz for matrices, Adam for the rest); the best learning rate differs.
        learning_rate: its largest value.
        warmup: iterations over which the learning rate rises from zero.
        average: decay of the moving average of the weights, which the surrogate gets; 0 takes the last weights.
        n_end_samples: samples at each end of the time range per iteration, which cost little.
        block: iterations per compiled call.
        checkpoint_seconds: least time between two checkpoints, where `fit` was given a path for them; 0 writes one
            after every block.
        held_out: samples of every run, the same at all of its saved times, that take no part in training and judge it
            (validation runs do where `fit` is given some). None takes a tenth, but at most 2000 and none of those that
            an iteration needs; of less than 32 nothing is made, and with 0 training is judged on its own samples.
        patience: stop after this many iterations without a lower validation loss; None runs to the end.
        sample_memory: bytes of training samples that are held at a time; of an ensemble that has more, windows of the
            samples of every run take turns, read from where the ensemble lies (see `ensemble.load(lazy=True)`).
        feedback: whether a trained potential is corrected in the end: the model's own samples are taken along through
            every run, and what they drift off is taken back (see `hoam_plugin.training.feedback`), if that brings them
            nearer where they took no part. It adds up to about half of the time, and is left out of short trainings,
            which allow for too few samples, and for fewer than 1000 samples.
        matmul_precision: of matrix products on accelerators, such as "tensorfloat32" or "bfloat16"; None leaves JAX's
            default, and CPUs compute in full precision in any case. See `jax.default_matmul_precision`.

    Raises:
        ValueError: a number out of its range.

    Example:
        >>> hoam.Training(iterations=500, n_samples=64).iterations
        500
    """

    iterations: int = 8000
    n_samples: int | None = None
    n_times: int | None = None
    runs_per_iteration: int = 1
    optimiser: Optimiser = "muon"
    learning_rate: float = 6e-3
    warmup: int = 100
    average: float = 0.998
    n_end_samples: int = 256
    block: int = 100
    checkpoint_seconds: float = 30.0
    held_out: int | None = None
    patience: int | None = None
    sample_memory: int = 450_000_000
    feedback: bool = True
    matmul_precision: str | None = None

    def __post_init__(self) -> None:
        for name in ("iterations", "runs_per_iteration", "n_end_samples", "block", "sample_memory"):
            positive_int(name, getattr(self, name))
        positive_int("warmup", self.warmup, 0)
        if self.held_out is not None:
            positive_int("held_out", self.held_out, 0)
        for name in ("n_samples", "n_times", "patience"):
            if getattr(self, name) is not None:
                positive_int(name, getattr(self, name))
        positive_float("learning_rate", self.learning_rate)
        if not self.checkpoint_seconds >= 0:
            raise refusal(ValueError, "checkpoint_seconds", self.checkpoint_seconds, "at least 0")
        if not 0 <= self.average < 1:
            raise ValueError(f"average={self.average!r} must lie in [0, 1)")
        one_of("optimiser", self.optimiser, OPTIMISERS)
        if self.matmul_precision is not None:
            try:
                with jax.default_matmul_precision(self.matmul_precision):
                    pass
            except ValueError as error:
                raise ValueError(f"matmul_precision={self.matmul_precision!r} is not known to JAX: {error}") from None

    def samples_per_node(self, n_nodes: int) -> int:
        """Samples per node for a rule of `n_nodes`; more nodes with fewer samples each cost and fluctuate the same."""
        return self.n_samples or max(2, _SAMPLES_PER_ITERATION // min(n_nodes, self.n_times or n_nodes))

    def held_out_of(self, n_available: int, n_nodes: int) -> int:
        """Samples held out of each run, of so many that it has, for a rule of `n_nodes`.

        Raises:
            ValueError: none would be left.
        """
        if self.held_out is not None:
            if self.held_out >= n_available:
                raise refusal(ValueError, "held_out", self.held_out, f"below the {n_available} samples of a run")
            return self.held_out
        needed = max(self.samples_per_node(n_nodes), self.n_end_samples)
        n = min(_MOST_HELD_OUT, n_available // _HELD_OUT_OF, n_available - needed)
        return n if n >= _LEAST_HELD_OUT else 0

    def schedule(self) -> optax.Schedule:
        """Learning rate over the iterations."""
        warmup = min(self.warmup, self.iterations // 2)
        return optax.warmup_cosine_decay_schedule(
            0.0 if warmup else self.learning_rate, self.learning_rate, warmup, self.iterations
        )

    def transformation(self) -> optax.GradientTransformation:
        """The optimiser with this schedule, and gradients clipped to a global norm of 1."""
        maker = getattr(optax, self.optimiser, None) or getattr(optax.contrib, self.optimiser)
        return optax.chain(optax.clip_by_global_norm(1.0), maker(self.schedule()))
