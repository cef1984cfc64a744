"""Small trained surrogates that come with the package, to be tried at once."""

from hoam_plugin.shipped.models_of_problems import file_of, measured, names, pretrained

__all__ = [
    "file_of",
    "measured",
    "names",
    "pretrained",
]
