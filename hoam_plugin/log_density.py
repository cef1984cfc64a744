"""Public name of `hoam_plugin.surrogates.log_density`."""

from hoam_plugin.surrogates import log_prob, push_forward

__all__ = ["log_prob", "push_forward"]


def __dir__() -> list[str]:
    return __all__
