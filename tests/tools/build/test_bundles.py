"""What is done to a portable bundle before anything is made of it: told in seconds, by graphs that nobody compiles."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from clasp_trt.bundle import PORTABLE, HashMismatch
from clasp_trt.errors import OutputError
from clasp_trt.tools.build.compiler import build
from tests.bundle.test_bundle import build as written
from tests.bundle.test_bundle import manifest
from tests.mistakes import says


@pytest.fixture
def portable(tmp_path: Path) -> Path:
    """A portable bundle that is whole."""
    made_of = replace(manifest(), backend=PORTABLE, target=PORTABLE)
    return written(tmp_path / "outer" / "portable", made_of=made_of).root


@pytest.mark.parametrize("place", [".", "inner", "..", "../../link"])
def test_it_is_not_completed_in_place(portable: Path, tmp_path: Path, place: str) -> None:
    """It is what other targets are built from; nor in it, around it, or by a link."""
    (tmp_path / "link").symlink_to(portable)
    output = portable / place
    with pytest.raises(OutputError) as error:
        build(portable, output, force=True)
    says(error, output, portable)


@pytest.mark.parametrize("file", ["graphs/vision.onnx", "graphs/greedy.onnx", "policy.json"])
def test_damage_gets_no_fresh_hashes(portable: Path, tmp_path: Path, file: str) -> None:
    """Every file is hashed first: a size alone tells nothing of a flipped bit."""
    data = bytearray((portable / file).read_bytes())
    data[-1] ^= 1
    (portable / file).write_bytes(data)
    with pytest.raises(HashMismatch) as error:
        build(portable, tmp_path / "out")
    says(error, portable, file)
    assert [path.name for path in tmp_path.iterdir()] == ["outer"]
