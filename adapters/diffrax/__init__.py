"""diffrax, both ways. Imported as `hoam_plugin.adapters.diffrax`."""

from .problems_as_steppers import from_terms
from .surrogates_in_solves import solver, terms

__all__ = [
    "from_terms",
    "solver",
    "terms",
]


def __dir__() -> list[str]:
    return __all__
