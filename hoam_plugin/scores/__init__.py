"""How far apart two ensembles are, beside the noise floor and simple predictions."""

from hoam_plugin.scores import labels
from hoam_plugin.scores.comparison import compare
from hoam_plugin.scores.configurations import configurations_of
from hoam_plugin.scores.curves import USUAL as USUAL_CURVES
from hoam_plugin.scores.curves import recorded_curve
from hoam_plugin.scores.disagreement import mean_sliced_wasserstein
from hoam_plugin.scores.distances import Coordinate, coordinates_of, histograms
from hoam_plugin.scores.interpolation import interpolated_curve, interpolation_weights
from hoam_plugin.scores.matching import matched, training_for, valid
from hoam_plugin.scores.named_curves import NamedCurves, curve_of_ensemble, curve_values
from hoam_plugin.scores.pair_distributions import pair_distribution
from hoam_plugin.scores.paper_sinkhorn import PaperSinkhorn
from hoam_plugin.scores.table import footnotes, references_with_scores, verdict_table

__all__ = [
    "USUAL_CURVES",
    "Coordinate",
    "NamedCurves",
    "PaperSinkhorn",
    "compare",
    "configurations_of",
    "coordinates_of",
    "curve_of_ensemble",
    "curve_values",
    "footnotes",
    "histograms",
    "interpolated_curve",
    "interpolation_weights",
    "labels",
    "matched",
    "mean_sliced_wasserstein",
    "pair_distribution",
    "recorded_curve",
    "references_with_scores",
    "training_for",
    "valid",
    "verdict_table",
]
