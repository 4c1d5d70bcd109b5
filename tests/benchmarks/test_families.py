"""The table of families says what ran and what failed."""

from __future__ import annotations

from pathlib import Path

from benchmarks.families import COLUMNS, FAMILIES, Outcome, read_outcomes, table
from clasp_trt.export.family import supported

REPORT = """<testsuites><testsuite>
<testcase classname="tests.parity.test_one" name="test_kept[a]"/>
<testcase classname="tests.parity.test_one" name="test_kept[b]"><failure message="no">x</failure></testcase>
<testcase classname="tests.parity.test_one" name="test_kept[c]"><skipped message="later">x</skipped></testcase>
<testcase classname="tests.parity.test_two" name="test_kept[a]"><error message="no">x</error></testcase>
<testcase classname="tests.parity.test_one" name="test_answers[a]"/>
</testsuite></testsuites>"""


def test_outcomes_are_counted_by_file_and_name(tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    report.write_text(REPORT)
    tests = {"kept": ("tests/parity/test_one.py", "kept"), "answers": ("tests/parity/test_one.py", r"answers.*\[a")}
    tests["pixels"] = ("tests/parity/test_three.py", "")
    found = read_outcomes([report], tests)
    assert found["kept"] == Outcome(2, 1)
    assert found["answers"] == Outcome(1, 0)
    assert [str(found[column]) for column in ("kept", "answers", "pixels")] == ["1 of 2 FAIL", "1", "no test"]
    assert found.keys() == tests.keys()


def test_a_line_for_each_family(tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    report.write_text(REPORT)
    lines = table(FAMILIES, [report]).splitlines()
    assert len(lines) == 2 + len(FAMILIES)
    assert {line.count("|") for line in lines} == {len(COLUMNS) + 5}
    assert "576, 2340, 2928" in next(line for line in lines if "`llava_next`" in line)


def test_every_family_is_in_the_table() -> None:
    assert set(FAMILIES) == set(supported())
