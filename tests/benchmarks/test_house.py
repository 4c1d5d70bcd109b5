"""The house in numbers: what is counted, and what is not."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("grimp")

from benchmarks import house, house_probe
from benchmarks import house_tree as tree
from tests.house import ROOT


def test_each_file_counts_once_and_former_tools_are_tools(tmp_path: Path) -> None:
    for name in ("clasp_trt/errors.py", "clasp_trt/cli/run.py", "clasp_trt/tools/plan/plan.py", "export/graph.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("one\n\n# three\n")
    (tmp_path / "clasp_trt" / "compiler.py").write_text("")
    (tmp_path / "clasp_trt" / "export").symlink_to("../export")
    found = {path.as_posix(): folder for path, folder in tree.sources(tmp_path).items()}
    assert found == {
        "clasp_trt/compiler.py": "tools",
        "clasp_trt/cli/run.py": "cli",
        "clasp_trt/errors.py": "words",
        "clasp_trt/tools/plan/plan.py": "tools",
        "export/graph.py": "export",
    }
    rows = house.sizes(tmp_path)
    assert rows["files, lines: tools"] == "2, 3"
    assert rows["longest file of the package"].startswith("3 (")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("run('vision')", ["vision"]),
        ("f'segment_{number}'", ["segment_"]),
        (
            "x = 'segment_12', 'prune_0', 'past_key_3', 'present_value_'",
            ["past_key_3", "present_value_", "prune_0", "segment_12"],
        ),
        ("x = 'a vision', 'segment_one', 'segments', 'prune_12x', 'Gram'", []),
    ],
)
def test_literals_that_name_graphs_are_found(text: str, found: list[str]) -> None:
    assert tree.graph_names(text) == [(1, name) for name in found]


def test_chain_itself_is_no_find(tmp_path: Path) -> None:
    for name in ("clasp_trt/chain/names.py", "runtime/pipeline.py", "tests/test_pipeline.py"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("\nVISION = 'vision'\n")
    assert tree.literals(tmp_path) == ["runtime/pipeline.py:2: vision"]


def test_circles_are_one_floor() -> None:
    arrows = {"a": ["b"], "b": ["c"], "c": ["b", "d"], "d": [], "e": []}
    assert tree.circles(arrows) == [["b", "c"]]
    assert tree.floors(arrows) == 3  # a; b and c; d


def test_rooms_are_packages_and_the_modules_at_the_top() -> None:
    modules = {
        "clasp_trt": [],
        "clasp_trt.errors": [],
        "clasp_trt.cli": ["clasp_trt.cli.run"],
        "clasp_trt.cli.run": ["clasp_trt.errors", "clasp_trt.cli"],
    }
    assert tree.rooms(modules, {"clasp_trt", "clasp_trt.cli"}) == {
        "clasp_trt": set(),
        "clasp_trt.errors": set(),
        "clasp_trt.cli": {"clasp_trt.errors"},
    }


def test_imports_of_this_tree_have_no_circle_of_modules() -> None:
    found = tree.probe(ROOT, "imports")
    assert "clasp_trt.errors" in found["imports"]["clasp_trt.cli"]
    assert "clasp_trt.runtime.pipeline" not in found["imports"]["clasp_trt"]  # for type checkers alone
    assert tree.circles(found["imports"]) == []


def test_help_loads_as_few_modules_as_are_counted() -> None:
    loaded = tree.probe(ROOT, "modules", "--help")["modules"]
    assert {"click", "clasp_trt.cli"} <= set(loaded)
    assert not {"numpy", "json.decoder"} & set(loaded)


def test_functions_are_those_of_the_tree(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    found = house_probe._functions(lambda: tree.lines(ROOT / "README.md"))
    assert [(path, name) for path, name, _ in found if name == "lines"] == [("benchmarks/house_tree.py", "lines")]
    assert not any(Path(path).name == "pathlib.py" for path, _, _ in found)


def test_rows_that_a_tree_lacks_are_dashes() -> None:
    assert house.table({"before": {"old": "1", "both": "2"}, "after": {"both": "3", "new": "4"}}).splitlines() == [
        "| | before | after |",
        "|---|---:|---:|",
        "| old | 1 | - |",
        "| both | 2 | 3 |",
        "| new | - | 4 |",
    ]
