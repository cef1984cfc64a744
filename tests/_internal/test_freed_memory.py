"""Memory that was freed goes back to the system."""

import platform
from pathlib import Path

import pytest

from hoam_plugin._internal import freed_memory

glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of the allocator of glibc")


def resident() -> int:
    """Bytes of this process that are in memory."""
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * 4096


@glibc
def test_freed_memory_below_what_is_still_used_is_given_back():
    size, n = 4000, 20_000
    blocks = [bytes([i % 251]) * size for i in range(n)]
    last = blocks[-1]
    # What is still used at the end keeps the allocator from giving back what was freed before it.
    del blocks
    before = resident()
    freed_memory.give_back()
    assert before - resident() > 0.5 * size * n
    assert last == bytes([(n - 1) % 251]) * size


@glibc
def test_few_heaps_are_asked_for_unless_the_environment_says_how_many(monkeypatch):
    asked = []
    monkeypatch.setattr(freed_memory, "_from_glibc", lambda name: lambda *options: asked.append((name, *options)))
    monkeypatch.setenv("MALLOC_ARENA_MAX", "7")
    freed_memory.keep_little()
    assert not asked
    monkeypatch.delenv("MALLOC_ARENA_MAX")
    freed_memory.keep_little()
    assert asked == [("mallopt", freed_memory._M_ARENA_MAX, freed_memory._ARENAS)]
