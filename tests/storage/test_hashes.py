"""Hashes of files, read in pieces."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

from clasp_trt.storage.hashes import file_sha256, stream_sha256


def test_it_is_the_hash_of_all_of_the_file(tmp_path: Path) -> None:
    content = bytes(range(256)) * 5000  # more than a piece
    (tmp_path / "a").write_bytes(content)
    assert file_sha256(tmp_path / "a") == hashlib.sha256(content).hexdigest()


def test_every_byte_is_heard_of() -> None:
    heard: list[int] = []
    stream_sha256(io.BytesIO(b"x" * 2_500_000), heard.append)
    assert sum(heard) == 2_500_000
    assert len(heard) == 3
