"""One page about a surrogate that opens without a network: `Surrogate.report` and `hoam report`."""

from hoam_plugin.reports.writing import report

__all__ = ["report"]
