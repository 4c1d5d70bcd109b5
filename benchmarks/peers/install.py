"""A peer's own environment, by the versions of its requirements file: ``python -m benchmarks.peers install PEER``."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import venv
from pathlib import Path

from benchmarks.peers.lineup import GENAI, LLAMACPP, OPENVINO, OURS, TRANSFORMERS

INSTALLED = (OPENVINO, GENAI, LLAMACPP)
"""Peers with an environment of their own. The others run in that of this process."""
_PINS = Path(__file__).parent / "requirements"


def pins(peer: str) -> Path:
    """The requirements file of a peer of :data:`INSTALLED`: every package, so that no resolver adds one."""
    return _PINS / f"{peer}.txt"


def environment(folder: Path, peer: str) -> Path:
    """Where a peer of :data:`INSTALLED` lies in ``folder``."""
    return folder / "environments" / peer


def interpreter(folder: Path, peer: str) -> Path:
    """The Python that runs ``peer``."""
    return environment(folder, peer) / "bin" / "python" if peer in INSTALLED else Path(sys.executable)


def missing(folder: Path, peer: str) -> str | None:
    """What to do before ``peer`` can take part, or None if it can."""
    if peer == OURS:
        return None
    if peer == TRANSFORMERS:
        found = importlib.util.find_spec("transformers") is not None
        return None if found else "transformers is not installed: pip install -c constraints.txt -e '.[export]'"
    if (environment(folder, peer) / _DONE).is_file():
        return None
    return f"not installed: python -m benchmarks.peers install {peer}"


_DONE = "installed"


def install(folder: Path, peer: str) -> Path:
    """Makes the environment of ``peer`` anew and returns it. Raises CalledProcessError when pip fails."""
    place = environment(folder, peer)
    venv.create(place, clear=True, with_pip=True)
    pip = [str(interpreter(folder, peer)), "-m", "pip", "install", "--disable-pip-version-check"]
    subprocess.run([*pip, "--no-deps", "-r", str(pins(peer))], check=True)
    (place / _DONE).touch()
    return place
