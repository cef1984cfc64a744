"""The truth: simulators as steppers. Imported as `hoam_plugin.simulators`."""

from hoam_plugin.simulators.checkpointed import advance
from hoam_plugin.simulators.diffrax_stepper import DiffraxStepper
from hoam_plugin.simulators.distributions import Beam, Table, tabulate
from hoam_plugin.simulators.duffing import Duffing, duffing
from hoam_plugin.simulators.lorenz9 import Lorenz9, lorenz9
from hoam_plugin.simulators.oscillator import Oscillator, oscillator
from hoam_plugin.simulators.problems import bump_on_tail, landau_damping, strong_landau, two_stream
from hoam_plugin.simulators.species import Species
from hoam_plugin.simulators.trap import Trap, trap
from hoam_plugin.simulators.vlasov_poisson_grid import VlasovPoissonGrid
from hoam_plugin.simulators.vlasov_poisson_pic import VlasovPoissonPIC
from hoam_plugin.simulators.vlasov_poisson_pic_3d import VlasovPoissonPIC3D
from hoam_plugin.simulators.yukawa_quench import YukawaQuench, yukawa_quench

__all__ = [
    "Beam",
    "DiffraxStepper",
    "Duffing",
    "Lorenz9",
    "Oscillator",
    "Species",
    "Table",
    "Trap",
    "VlasovPoissonGrid",
    "VlasovPoissonPIC",
    "VlasovPoissonPIC3D",
    "YukawaQuench",
    "advance",
    "bump_on_tail",
    "duffing",
    "landau_damping",
    "lorenz9",
    "oscillator",
    "strong_landau",
    "tabulate",
    "trap",
    "two_stream",
    "yukawa_quench",
]
