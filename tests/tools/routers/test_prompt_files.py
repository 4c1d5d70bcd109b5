"""Prompts from plain lines and from JSON lines, and one line for what is neither."""

from __future__ import annotations

from pathlib import Path

import pytest

from clasp_trt.errors import DataError
from clasp_trt.tools.routers.definitions import DEFINITIONS, read_definitions
from clasp_trt.tools.routers.prompt_files import Prompt, check_categories, read_prompts


def test_lines(tmp_path: Path) -> None:
    path = tmp_path / "prompts.txt"
    path.write_bytes("How many?\r\n\n  这是什么？ \nlast".encode())
    assert read_prompts(path) == (
        Prompt("How many?", None, 1),
        Prompt("这是什么？", None, 3),
        Prompt("last", None, 4),
    )


@pytest.mark.parametrize("name", ["p.jsonl", "p.txt"])
def test_files_from_windows(tmp_path: Path, name: str) -> None:
    line = '{"prompt": "a", "id": 7}' if name == "p.jsonl" else "a"
    (tmp_path / name).write_bytes(f"\ufeff{line}\r\n{line}\r\n\r\n \r\n".encode())
    assert read_prompts(tmp_path / name) == (Prompt("a", None, 1), Prompt("a", None, 2))


def test_json_lines(tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text('{"prompt": " a\\nb "}\n{"prompt": "c", "category": "counting", "image": "x", "confidence": 0.5}\n')
    assert read_prompts(path) == (Prompt(" a\nb ", None, 1), Prompt("c", "counting", 2))


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("p.jsonl", b'{"prompt": "a"}\n\n{"prompt": "a"}\n\n', "p.jsonl:2: not JSON (it is blank)"),
        ("p.jsonl", b"\xef\xbb\xbf\r\n\r\n", "p.jsonl is empty; expected a prompt a line"),
        ("p.jsonl", b'{"prompt": "a"}\n{"text": "a"}', "p.jsonl:2: missing key 'prompt'"),
        ("p.jsonl", b'{"prompt": 3}', "p.jsonl:1: prompt: expected a string"),
        ("p.jsonl", b'{"prompt": "a", "category": ["x"]}', "p.jsonl:1: category: expected a string"),
        ("p.jsonl", b'{"prompt": "\\ud800"}', "p.jsonl:1: prompt: expected a string without lone surrogates"),
        ("p.jsonl", b"[1]", "p.jsonl:1: expected an object with prompt, got an array"),
        ("p.jsonl", b'{"prompt": "a", "prompt": "b"}', "p.jsonl:1: the key 'prompt' occurs twice"),
        ("p.jsonl", b"hello", "p.jsonl:1: not JSON"),
        ("p.jsonl", b"", "p.jsonl is empty; expected a prompt a line"),
        ("p.txt", b"\n \n", "p.txt is empty"),
        ("p.txt", b"a\n\xff", "p.txt:2: byte 0 is not UTF-8"),
        ("p.txt", b"a" * (8 * 2**20 + 1), "p.txt:1: longer than 8 MiB"),
    ],
)
def test_refused(tmp_path: Path, name: str, content: bytes, expected: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_prompts(tmp_path / name)
    assert expected in str(caught.value)


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.txt.*No such file"):
        read_prompts(tmp_path / "none.txt")


def test_categories_that_are_none() -> None:
    with pytest.raises(DataError, match="p:7: category 'countin'"):
        check_categories((Prompt("x", None, 1), Prompt("x", "countin", 7)), "p", ("a", "default"))


def test_definitions(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    path.write_text('{"category": "dents", "definition": "Is it\\n bent?"}\n')
    assert read_definitions(path, ("dents", "default")) == {"dents": "Is it bent?"}
    for line, expected in (
        ('{"category": "dent", "definition": "x"}', "d.jsonl:2: category 'dent' is none of dents, default"),
        ('{"category": "dents", "definition": "x"}', "d.jsonl:2: category 'dents' is defined twice"),
        ("[1]", "d.jsonl:2: expected an object with category, definition"),
        ('{"category": "default"}', "d.jsonl:2: missing key 'definition'"),
    ):
        path.write_text(path.read_text().splitlines()[0] + "\n" + line)
        with pytest.raises(DataError, match=expected):
            read_definitions(path, ("dents", "default"))
    with pytest.raises(DataError, match="cannot be read"):
        read_definitions(tmp_path / "none", ("default",))


def test_every_category_of_the_paper_is_defined_in_a_line() -> None:
    from clasp_trt.policy import CATEGORY_NAMES

    assert tuple(DEFINITIONS) == CATEGORY_NAMES
    assert all(line.isprintable() and len(line) < 160 for line in DEFINITIONS.values())
