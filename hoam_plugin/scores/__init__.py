"""How far apart two ensembles are, beside the noise floor and simple predictions."""

from hoam_plugin.scores import labels
from hoam_plugin.scores.comparison import compare
from hoam_plugin.scores.configurations import configurations_of
from hoam_plugin.scores.curves import recorded_curve
from hoam_plugin.scores.distances import Coordinate, coordinates_of, histograms
from hoam_plugin.scores.interpolation import interpolated_curve
from hoam_plugin.scores.matching import matched, training_for, valid
from hoam_plugin.scores.pair_distributions import pair_distribution
from hoam_plugin.scores.paper_sinkhorn import PaperSinkhorn
from hoam_plugin.scores.table import footnotes, references_with_scores, verdict_table

__all__ = [
    "Coordinate",
    "PaperSinkhorn",
    "compare",
    "configurations_of",
    "coordinates_of",
    "footnotes",
    "histograms",
    "interpolated_curve",
    "labels",
    "matched",
    "pair_distribution",
    "recorded_curve",
    "references_with_scores",
    "training_for",
    "valid",
    "verdict_table",
]
