"""What an ensemble is taken for, and what in it is suspicious: before anything is learned from it."""

from hoam_plugin.inspection.findings import look_at
from hoam_plugin.inspection.summary import short_form

__all__ = ["look_at", "short_form"]
