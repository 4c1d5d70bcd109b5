"""Files of others: whatever is there, and one line for what is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from clasp_trt.errors import CheckpointError
from clasp_trt.storage.foreign import read_object, read_text
from tests.mistakes import says


def test_an_object_of_others_may_hold_anything(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"a": NaN, "a": [1]}')
    assert read_object(tmp_path / "a.json", CheckpointError, "download it again") == {"a": [1]}


@pytest.mark.parametrize("content", [None, b"", b"{", b"\xff", b"[" * 100_000, b"[1]", b"null"])
def test_what_is_no_object_names_file_and_cure(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "a.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"a\.json.*; download it again$"):
        read_object(path, CheckpointError, "download it again")


@pytest.mark.parametrize("content", [None, b"\xff"])
def test_what_is_no_text_names_file_and_cure(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "a.jinja"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CheckpointError) as error:
        read_text(path, CheckpointError, "download it again")
    says(error, path, "download it again")
