"""Whatever is called ``tokenizer.json``: a tokenizer, or one line; never a panic, a report of Rust's, or the end."""

from __future__ import annotations

import base64
import copy
import json
import os
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clasp_trt.charsmap import check_charsmaps
from clasp_trt.errors import BundleError, PromptError
from clasp_trt.panics import held_reports, is_panic
from clasp_trt.runtime.text.tokenizer import Tokenizer
from tests.house import ROOT
from tests.mistakes import says
from tests.started import own_environment

TINY = json.loads((ROOT / "clasp_trt" / "assets" / "clasp-tiny" / "tokenizer.json").read_text(encoding="utf-8"))


def charsmap(content: bytes) -> dict[str, Any]:
    return {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(content).decode()}


def template(*parts: dict[str, Any]) -> dict[str, Any]:
    whole = {"Sequence": {"id": "A", "type_id": 0}}
    return {"type": "TemplateProcessing", "single": [*parts, whole], "pair": [whole], "special_tokens": {}}


TABLE = struct.pack("<I", 1024)
MALFORMED: dict[str, dict[str, Any]] = {
    "a charsmap of nothing": {"normalizer": charsmap(b"")},
    "an empty table": {"normalizer": charsmap(bytes(4))},
    "a table that leads nowhere": {"normalizer": charsmap(TABLE + bytes(range(256)) * 4 + b"a\0")},
    "a table without end": {"normalizer": charsmap(b"\xff" * 4 + bytes(64))},
    "a table without end in a sequence": {
        "normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}, charsmap(b"\xfc\xff\xff\xff" + bytes(64))]}
    },
    "chunks of no length": {"pre_tokenizer": {"type": "FixedLength", "length": 0}},
    "merges that are too short": {"model": {"type": "BPE", "vocab": {"h": 0, "i": 1}, "merges": ["h i"]}},
    "a prefix that is too long": {
        "model": {
            "type": "BPE",
            "vocab": {"a": 0, "b": 1, "ab": 2},
            "merges": ["a b"],
            "continuing_subword_prefix": "xxx",
        }
    },
    "a special token that is none": {"post_processor": template({"SpecialToken": {"id": "<q>", "type_id": 0}})},
    "a second text": {"post_processor": template({"Sequence": {"id": "B", "type_id": 0}})},
    "a regular expression that is none": {"normalizer": {"type": "Replace", "pattern": {"Regex": "("}, "content": "x"}},
    "an id of 401 digits": {"added_tokens": [{**TINY["added_tokens"][0], "id": 10**400}]},
    "a text without bound": {
        "normalizer": {
            "type": "Sequence",
            "normalizers": [{"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 10}] * 12,
        }
    },
    "another kind": {"model": {"type": "Nonsense"}},
}


def altered(change: dict[str, Any]) -> str:
    return json.dumps({**copy.deepcopy(TINY), **change})


@pytest.mark.parametrize("kind", MALFORMED)
def test_a_malformed_tokenizer_is_one_line(kind: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(altered(MALFORMED[kind]))
    with pytest.raises(BundleError) as caught:
        Tokenizer.from_file(path)
    says(caught, "tokenizer.json")
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe", b"[1]", b"{", b"[" * 10_000, b'{"\\u0061": ' + b"9" * 5000 + b"}"]
)
def test_what_is_no_tokenizer_at_all(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_bytes(content)
    with pytest.raises(BundleError) as caught:
        Tokenizer.from_file(tmp_path / "tokenizer.json")
    says(caught, "tokenizer.json")


HUGE = json.dumps(charsmap(b"\xff" * 4 + bytes(64)))
SPELLINGS: dict[str, Callable[[], str]] = {
    "plain": lambda: altered({"normalizer": "?"}).replace('"?"', HUGE),
    "escaped": lambda: altered({"normalizer": "?"}).replace('"?"', HUGE.replace("precompiled", "\\u0070recompiled")),
    "twice": lambda: altered({"normalizer": "?"}).replace('"?"', f'{HUGE}, "normalizer": null'),
    "twice in one": lambda: altered({"normalizer": "?"}).replace(
        '"?"', HUGE[:-1] + ', "precompiled_charsmap": "AAAAAA=="}'
    ),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_table_without_end_does_not_end_the_process(spelling: str, tmp_path: Path) -> None:
    """In a process of its own, which has less memory than the table says it needs."""
    path = tmp_path / "tokenizer.json"
    path.write_text(SPELLINGS[spelling]())
    lines = (
        "import resource, sys\nfrom clasp_trt.errors import BundleError\n"
        "from clasp_trt.runtime.text.tokenizer import Tokenizer\n"
        "resource.setrlimit(resource.RLIMIT_AS, (4 << 30,) * 2)\n"
        "try: Tokenizer.from_file(sys.argv[1])\nexcept BundleError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", lines, str(path)],
        capture_output=True,
        text=True,
        env=own_environment(PYTHONPATH=str(ROOT)),
        timeout=50,
    )
    assert (done.returncode, done.stderr) == (0, "")
    says(done.stdout, "tokenizer.json", "precompiled_charsmap", 2**32 - 1)


def test_a_text_that_has_no_tokens_is_no_fault_of_the_file(tmp_path: Path) -> None:
    """A vocabulary without an entry for what is unknown."""
    path = tmp_path / "tokenizer.json"
    path.write_text(altered({"model": {"type": "WordLevel", "vocab": {"hi": 0}, "unk_token": "none"}}))
    assert Tokenizer.from_file(path).encode("hi", add_special_tokens=False) == [0]


def test_a_charsmap_that_is_whole_is_taken() -> None:
    check_charsmaps(json.dumps(charsmap(TABLE + bytes(1024) + b"a\0")))
    check_charsmaps(json.dumps({"precompiled_charsmap": None, "x": "\\u0061"}))


def test_a_tokenizer_without_one_is_not_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which would take a tenth of a second for a large vocabulary, at every start."""
    monkeypatch.setattr("clasp_trt.charsmap.json.loads", None)
    check_charsmaps(json.dumps(TINY, ensure_ascii=False))


def test_a_panic_at_a_request_is_one_line(tmp_path: Path) -> None:
    """On a text that no opening tries."""
    path = tmp_path / "tokenizer.json"
    path.write_text(altered({}))
    tokenizer = Tokenizer.from_file(path)

    class PanicException(BaseException):
        """As pyo3 calls it."""

    class Panics:
        def encode(self, *_: object, **__: object) -> None:
            raise PanicException("index out of bounds")

        decode = encode

    tokenizer._inner = Panics()  # type: ignore[assignment]
    with pytest.raises(PromptError, match="index out of bounds"):
        tokenizer.encode("x")
    with pytest.raises(BundleError, match="index out of bounds"):
        tokenizer.decode([])
    assert not is_panic(KeyboardInterrupt())


def test_reports_are_held_for_panics_alone(capfd: pytest.CaptureFixture[str]) -> None:
    with held_reports():
        os.write(2, b"a library's warning\n")
    assert capfd.readouterr().err == "a library's warning\n"
    with pytest.raises(OSError, match="descriptor"), held_reports():
        os.write(os.write(2, b"so far\n") + 9999, b"to nobody")
    assert capfd.readouterr().err == "so far\n"
