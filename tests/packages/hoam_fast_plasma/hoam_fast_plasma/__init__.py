"""Publishes the surrogate in the file beside this one; it is read when somebody asks for it."""

from pathlib import Path

MODEL = Path(__file__).parent / "two_stream.hoam"
