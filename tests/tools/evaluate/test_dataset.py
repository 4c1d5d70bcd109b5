"""A file of questions: what is read, and a place and a reason for everything that is not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clasp_trt.errors import DataError
from clasp_trt.storage import lines as storage_lines
from clasp_trt.tools.evaluate.dataset import Row, linked, read
from tests.mistakes import says

GOOD = {"image": "a.png", "prompt": "What is it?", "answer": "a star"}


@pytest.fixture
def data(tmp_path: Path) -> Callable[..., Path]:
    """Writes lines, objects as JSON, beside an image ``a.png``."""
    (tmp_path / "a.png").touch()

    def write(*lines: object) -> Path:
        texts = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
        (tmp_path / "D.jsonl").write_bytes(b"".join(text + b"\n" for text in texts))
        return tmp_path / "D.jsonl"

    return write


def fault(path: Path) -> str:
    """What is said against a file, without the name of its folder."""
    with pytest.raises(DataError) as raised:
        read(path)
    assert "\n" not in str(raised.value)
    return str(raised.value).removeprefix(f"{path.parent}/")


def test_rows_in_order(data: Callable[..., Path], tmp_path: Path) -> None:
    path = data(GOOD, {**GOOD, "category": "counting", "prompt": "多少？"})
    image = tmp_path / "a.png"
    assert read(path) == (
        Row((image,), "What is it?", "a star", None, 1),
        Row((image,), "多少？", "a star", "counting", 2),
    )


def test_last_line_needs_no_end(data: Callable[..., Path]) -> None:
    path = data(GOOD)
    path.write_bytes(path.read_bytes().rstrip(b"\n"))
    assert len(read(path)) == 1


def test_images_below_beside_and_elsewhere(data: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "b.png").touch()
    path = data(GOOD, {**GOOD, "image": "sub/b.png"}, {**GOOD, "image": str(tmp_path / "sub" / "b.png")})
    inner = tmp_path / "sub" / "D.jsonl"
    inner.write_text(json.dumps({**GOOD, "image": "../a.png"}))
    assert [row.image.name for row in read(path)] == ["a.png", "b.png", "b.png"]
    assert read(inner)[0].image.samefile(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b"", "blank"),
        (b"   ", "blank"),
        (b"{", "not JSON"),
        (b"\xff{}", "byte 0 is not UTF-8"),
        (b"[1]", "expected an object"),
        (b"null", "expected an object"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"image": "a.png", "image": "a.png"}', "occurs twice"),
        ({"imge": "a.png", "prompt": "?", "answer": "a"}, "an image, a video, or both"),
        ({"image": "a.png", "prompt": "?"}, "missing key 'answer'"),
        ({**GOOD, "answer": None}, "answer: expected a string"),
        ({**GOOD, "answer": ["a"]}, "answer: expected a string"),
        ({**GOOD, "answer": 10**400}, "answer: expected a finite number"),
        ({**GOOD, "prompt": 3}, "prompt: expected a string"),
        ({**GOOD, "prompt": " "}, "prompt: expected a string"),
        ({**GOOD, "category": None}, "category: expected a string"),
        ({**GOOD, "prompt": "\ud800"}, "lone surrogate"),
        ({**GOOD, "image": "b.png"}, "there is no image"),
        ({**GOOD, "image": "."}, "there is no image"),
        ({**GOOD, "image": "a\0b"}, "there is no image"),
    ],
)
def test_faults_name_their_line(data: Callable[..., Path], line: object, says: str) -> None:
    reason = fault(data(GOOD, line, GOOD))
    assert reason.startswith("D.jsonl:2: ")
    assert says in reason


def test_a_row_may_be_about_several_images(data: Callable[..., Path]) -> None:
    path = data(GOOD, {**GOOD, "image": ["a.png", "a.png"]})
    rows = read(path)
    assert [len(row.images) for row in rows] == [1, 2]
    assert rows[1].images == (rows[0].image, rows[0].image)
    for image in ([], ["a.png", 3], ["a.png", "none.png"], {}):
        assert "image" in fault(data(GOOD, {**GOOD, "image": image}))


def test_rows_that_share_a_picture_are_linked() -> None:
    def row(*names: str) -> Row:
        first, *others = map(Path, names)
        return Row((first, *others), "?", "a", None, 1)

    rows = [row("d"), row("c", "b"), row("e"), row("b", "a"), row("d", "e"), row("c"), row("f")]
    assert [str(each) for each in linked(rows)] == ["d", "a", "d", "a", "d", "a", "f"]
    assert [str(each) for each in linked([row("b"), row("a"), row("b")])] == ["b", "a", "b"]


def test_files_from_everywhere(data: Callable[..., Path], tmp_path: Path) -> None:
    """A byte-order mark, line ends of Windows, blank lines at the end, other keys."""
    data()
    line = json.dumps({"id": 7, **GOOD, "answers": [1, None, {"x": []}]}).encode()
    for content in (
        b"\xef\xbb\xbf" + line + b"\r\n" + line + b"\r\n",
        line + b"\n" + line + b"\n\n \t\r\n\n",
        line + b"\r\n" + line + b"\r\n\r\n\x0c",
    ):
        (tmp_path / "D.jsonl").write_bytes(content)
        assert [(row.answer, row.line) for row in read(tmp_path / "D.jsonl")] == [("a star", 1), ("a star", 2)]


@pytest.mark.parametrize(
    ("written", "answer"),
    [("2", "2"), ("-2.50", "-2.50"), ("1e3", "1000"), ("true", "true"), ("false", "false"), ("0", "0")],
)
def test_answers_that_are_no_texts(data: Callable[..., Path], written: str, answer: str) -> None:
    line = json.dumps({**GOOD, "answer": "?"}).replace('"?"', written).encode()
    assert read(data(line))[0].answer == answer


def test_a_line_without_end_is_not_read_whole(data: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    longest = json.dumps(GOOD).encode()
    monkeypatch.setattr(storage_lines, "MAX_LINE_BYTES", len(longest) + 1)  # its line end counts
    assert len(read(data(longest))) == 1
    assert fault(data(GOOD, longest + b" ")).startswith("D.jsonl:2: longer than")


def test_nothing_to_ask(data: Callable[..., Path]) -> None:
    assert fault(data()).startswith("D.jsonl is empty; expected")


def test_no_file(tmp_path: Path) -> None:
    assert fault(tmp_path / "none.jsonl") == (
        "none.jsonl: cannot be read (No such file or directory); expected a JSON object "
        "with image, prompt, answer on each line"
    )
    assert "cannot be read (Is a directory)" in fault(tmp_path)


texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip)


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(texts, texts, st.none() | texts), min_size=1, max_size=5), st.booleans())
def test_what_was_written_is_read(
    data: Callable[..., Path], rows: list[tuple[str, str, str | None]], ascii_only: bool
) -> None:
    members = [
        {"image": "a.png", "prompt": prompt, "answer": answer, **({} if category is None else {"category": category})}
        for prompt, answer, category in rows
    ]
    path = data(*(json.dumps(each, ensure_ascii=ascii_only).encode() for each in members))
    assert [(row.prompt, row.answer, row.category) for row in read(path)] == rows


def test_a_clip_beside_pictures_or_alone(tmp_path: Path) -> None:
    for name in ("a.png", "b.gif"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "frames").mkdir()
    path = tmp_path / "D.jsonl"
    asked = {"prompt": "?", "answer": "a"}
    rows = [{"video": "b.gif", **asked}, {"video": "frames", "image": "a.png", **asked}, {"image": "a.png", **asked}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    alone, beside, picture = read(path)
    assert (alone.images, alone.shown) == ((), (tmp_path / "b.gif",))
    assert beside.shown == (tmp_path / "a.png", tmp_path / "frames")
    assert linked([alone, beside, picture]) == [tmp_path / "b.gif", *[tmp_path / "a.png"] * 2]


@pytest.mark.parametrize(("row", "fact"), [({}, "a video"), ({"video": "c.gif"}, "c.gif"), ({"video": 3}, "video")])
def test_rows_that_show_nothing(tmp_path: Path, row: dict[str, Any], fact: str) -> None:
    path = tmp_path / "D.jsonl"
    path.write_text(json.dumps({**row, "prompt": "?", "answer": "a"}) + "\n")
    with pytest.raises(DataError) as refused:
        read(path)
    says(refused, "D.jsonl:1", fact)
