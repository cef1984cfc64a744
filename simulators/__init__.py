"""The truth: simulators as steppers. Imported as `hoam_plugin.simulators`."""

from hoam_plugin.simulators.oscillator import Oscillator, oscillator
from hoam_plugin.simulators.problems import bump_on_tail, two_stream
from hoam_plugin.simulators.vlasov_poisson_pic import Beam, VlasovPoissonPIC

__all__ = ["Beam", "Oscillator", "VlasovPoissonPIC", "bump_on_tail", "oscillator", "two_stream"]
