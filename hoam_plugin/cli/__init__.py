"""The command `hoam`."""

from hoam_plugin.cli.app import main

__all__ = [
    "main",
]
