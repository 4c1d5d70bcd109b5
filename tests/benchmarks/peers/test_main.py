"""The command: who takes part, who is left out by name, and what is written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks.peers import __main__ as command
from benchmarks.peers.__main__ import told
from benchmarks.peers.install import INSTALLED, environment, missing, pins
from benchmarks.peers.lineup import LINEUP, OURS, QUICK, chosen
from benchmarks.peers.machine import features
from benchmarks.peers.page import BEGIN, END, filled
from benchmarks.peers.plot import plot
from benchmarks.peers.table import Row


def test_whoever_is_not_installed_is_left_out_by_name(tmp_path: Path) -> None:
    to = tmp_path / "out.json"
    done = CliRunner().invoke(command.main, ["--folder", str(tmp_path), "--only", "llama.cpp", "--json", str(to)])
    assert done.exit_code == 0, done.output
    for name in ("llama.cpp Q8_0", "llama.cpp Q4_K_M"):
        assert f"Left out: {name}: not installed: python -m benchmarks.peers install llama.cpp" in done.stdout
    written = json.loads(to.read_text())
    assert written["left_out"].keys() == {"llama.cpp Q8_0", "llama.cpp Q4_K_M"}
    assert written["rows"] == []
    assert written["machine"]["features"].keys() == {"avx2", "avx512", "vnni", "amx"}
    assert {each["verdict"] for each in written["goals"]} == {"not measured"}


def test_a_name_that_nobody_has_is_one_line(tmp_path: Path) -> None:
    done = CliRunner().invoke(command.main, ["--folder", str(tmp_path), "--only", "vllm"])
    assert done.exit_code == 2
    assert "'vllm'" in done.stderr
    assert "openvino INT8" in done.stderr
    assert [*tmp_path.iterdir()] == []


def test_rows_are_chosen_by_parts_of_names() -> None:
    assert [each.name for each in chosen(["SDPA", "q8"])] == ["transformers sdpa", "llama.cpp Q8_0"]
    assert chosen([]) == [*LINEUP]
    assert [each.name for each in chosen([], quick=True)] == sorted(QUICK, key=[e.name for e in LINEUP].index)
    with pytest.raises(ValueError, match="FP32"):
        chosen(["FP32"], quick=True)


def test_names_are_one_of_a_kind_and_a_name_of_a_model_means_one_model() -> None:
    assert len({each.name for each in LINEUP}) == len(LINEUP)
    models = {each.model for each in LINEUP}
    assert len({each.name for each in models}) == len(models)


@pytest.mark.parametrize("peer", INSTALLED)
def test_every_version_of_an_environment_is_pinned(peer: str, tmp_path: Path) -> None:
    lines = pins(peer).read_text().split()
    assert all(line.count("==") == 1 for line in lines)
    assert not any(line.startswith("torchvision") for line in lines), "it breaks transformers beside torch for CPUs"
    reason = missing(tmp_path, peer)
    assert reason is not None
    environment(tmp_path, peer).mkdir(parents=True)
    assert missing(tmp_path, peer) == reason, "an environment that pip did not finish is none"
    assert missing(tmp_path, OURS) is None


def test_features_of_a_cpu() -> None:
    told = "processor\t: 0\nmodel name\t: Some\nflags\t\t: fpu avx2 avx512f avx_vnni\n"
    assert features(told) == {"avx2": True, "avx512": True, "vnni": True, "amx": False}
    assert not any(features("").values())


def test_a_plot_is_a_picture(tmp_path: Path) -> None:
    plot([Row("a", OURS, "s", "", 2, 1, 2, 3, 4, 5, 6)], tmp_path / "bars.png")
    assert (tmp_path / "bars.png").read_bytes()[:4] == b"\x89PNG"


def test_a_page_gets_the_figures_between_its_marks(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    done = CliRunner().invoke(command.main, ["--folder", str(tmp_path), "--only", "Q8_0", "--page", str(page)])
    assert done.exit_code == 0, done.output
    text = page.read_text()
    assert text.startswith(f"before\n{BEGIN}\n")
    assert text.endswith(f"\n{END}\nafter\n")
    assert "old" not in text
    assert "Left out: llama.cpp Q8_0: not installed" in text
    assert "avx2 " in text


def test_a_page_without_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="figures"):
        filled(f"{END}{BEGIN}", told([], {}, {"rounds": 1, "new_tokens": 4}))
