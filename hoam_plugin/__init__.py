"""Learned population dynamics in the place of a simulator's time stepper; see the README."""

from hoam_plugin.simulation import simulate as simulate
