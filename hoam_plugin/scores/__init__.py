"""How far apart two ensembles are, beside the noise floor and simple predictions."""

from hoam_plugin.scores import labels, sources
from hoam_plugin.scores.comparison import compare, verdict_table
from hoam_plugin.scores.distances import Coordinate, coordinates_of, histograms
from hoam_plugin.scores.matching import matching, training_for, valid

__all__ = [
    "Coordinate",
    "compare",
    "coordinates_of",
    "histograms",
    "labels",
    "matching",
    "sources",
    "training_for",
    "valid",
    "verdict_table",
]
