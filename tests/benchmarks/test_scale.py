"""What the measurements of true sizes note and print."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.scale import Notes, table
from benchmarks.tree_memory import TreeMemory
from tests.house import ROOT
from tests.started import own_environment

_GRANDCHILD = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]], check=True)"
_HOLDS = "import time; held = bytearray(80_000_000); time.sleep(1)"


def test_the_page_has_what_the_notes_say() -> None:
    found = json.loads((ROOT / "docs" / "scale.json").read_text(encoding="utf-8"))
    assert "\n".join(table(found)) in (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")


def test_two_commands_share_the_notes(tmp_path: Path) -> None:
    one, other = Notes(tmp_path / "notes.json"), Notes(tmp_path / "notes.json")
    one.add("a", "export", {"seconds": 1.23456})
    other.add("a", "cpu", {"seconds": 2})
    assert one.read() == {"a": {"export": {"seconds": 1.235}, "cpu": {"seconds": 2}}}
    assert one.has("a", "cpu")
    assert not one.has("b", "cpu")


def test_memory_is_that_of_children_and_of_theirs() -> None:
    with TreeMemory() as memory:
        subprocess.run([sys.executable, "-c", _GRANDCHILD, _HOLDS], check=True, env=own_environment())
    assert 80_000_000 < memory.anonymous < memory.resident < 200_000_000
