"""`simulate`: any stepper over many parameter values, recorded as an ensemble."""

from hoam_plugin.simulation.farming import Client
from hoam_plugin.simulation.observables import diagnostic_over_time
from hoam_plugin.simulation.run import simulate
from hoam_plugin.simulation.sinks import MemorySink, StoreOptions, ZarrSink

__all__ = [
    "Client",
    "MemorySink",
    "StoreOptions",
    "ZarrSink",
    "diagnostic_over_time",
    "simulate",
]
