"""``clasp-trt profile``: tables, a document, files, and one line for every mistake; nothing stays behind."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from clasp_trt.bundle import Bundle
from clasp_trt.runtime.routing.folder import SHIPPED
from tests.cli.conftest import Clasp, Refused

pytest.importorskip("polygraphy")

PATIENCE_S = 60.0
SHORT = ("--runs", "2", "--warmup", "0", "--max-new-tokens", "2", "--threads", "1")


@pytest.fixture(scope="module")
def unpruned(built: Callable[..., Bundle]) -> Path:
    return built(prune_at="none").root


@pytest.mark.full
def test_tables_and_files(clasp: Clasp, bundle: Path, unpruned: Path, tmp_path: Path) -> None:
    files = tmp_path / "stages.png", tmp_path / "runs.json"
    done = clasp(
        "profile", bundle, "--against", unpruned, *SHORT, "--per-layer", "--plot", files[0], "--trace", files[1]
    )
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[0] == "asked      2 times after 0 to warm up; noise of 56 x 56, 2 tokens an answer"
    tables = [line.split() for line in lines]
    assert tables.count(["ms", "median", "p90", "p99", "share"]) == 2
    for start in (
        "vision",
        "prefill",
        "  segment_3",
        "  prune_2",
        "time to first token",
        "decode step",
        "whole answer",
    ):
        assert any(line.startswith(start) for line in lines), start
    at = lines.index(f"{bundle} against {unpruned}")
    assert lines[at + 1].split() == ["median,", "ms", "first", "second", "ratio", "99%", "interval"]
    assert lines[-1] == "fewer than 8 runs cannot tell a difference from noise"
    assert sum(line.startswith("operators, a decode step: ") for line in lines) == 2
    assert sorted(tmp_path.iterdir()) == sorted(files)
    assert files[0].read_bytes().startswith(b"\x89PNG")
    assert json.loads(files[1].read_text())["traceEvents"]


def test_json(clasp: Clasp, bundle: Path, photo: Path) -> None:
    asked = ("--image", photo, "--prompt", "How many cups?", "--category", "scene understanding")
    done = clasp("profile", bundle, *SHORT, *asked, "--samples", "--json")
    assert (done.code, done.err) == (0, "")
    told = json.loads(done.out)
    assert (told["runs"], told["warmup"], told["new_tokens"], told["prompt"]) == (2, 0, 2, "How many cups?")
    (found,) = told["bundles"]
    assert (found["bundle"], found["category"], found["visual_tokens"]) == (str(bundle), "scene understanding", 16)
    assert found["times_ms"]["ttft"]["median"] > found["times_ms"]["vision"]["median"] > 0
    assert len(found["samples_ms"]["ttft"]) == 2
    assert found["memory_bytes"]["peak"] >= found["memory_bytes"]["steady"] > 1 << 20
    assert "layers" not in found
    assert told["comparisons"] == []


def test_several_pictures_of_so_many_tokens(clasp: Clasp, varying: Bundle) -> None:
    done = clasp("profile", varying.root, *SHORT, "--images", "2", "--visual-tokens", "30", "--json")
    assert (done.code, done.err) == (0, "")
    told = json.loads(done.out)
    (found,) = told["bundles"]
    assert told["pictures"] == [[168, 140]] * 2
    assert (found["visual_tokens"], found["picture_tokens"]) == (60, [30, 30])
    assert found["kept_tokens"] == list(varying.manifest.schedule.keeps_of(60))


@pytest.mark.full
def test_text_of_several_pictures(clasp: Clasp, varying: Bundle, photo: Path) -> None:
    done = clasp("profile", varying.root, *SHORT, "--image", photo, "--image", photo)
    assert (done.code, done.err) == (0, "")
    assert "; pictures of 451 x 301, 451 x 301, 2 tokens an answer\n" in done.out
    assert " tokens, 176 (88 + 88) of them visual; [" in done.out
    assert f"here {' -> '.join(map(str, (176, *varying.manifest.schedule.keeps_of(176))))}\n" in done.out


@pytest.mark.full
def test_text_alone(clasp: Clasp, bundle: Path) -> None:
    done = clasp("profile", bundle, *SHORT, "--no-image", "--per-layer")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("asked      2 times after 0 to warm up; no picture, 2 tokens an answer\n")
    assert ", 0 of them visual; [" in done.out
    rows = [line.split()[0] for line in done.out.splitlines() if line.strip()]
    assert not {"vision", "project", "prune_0"} & set(rows)
    assert {"segment_0", "segment_3", "decode"} <= set(rows)
    told = json.loads(clasp("profile", bundle, *SHORT, "--no-image", "--json").out)
    assert (told["pictures"], told["bundles"][0]["picture_tokens"]) == ([], [])


def test_policy_and_method(clasp: Clasp, bundle: Path, tmp_path: Path) -> None:
    policy = json.loads((bundle / "policy.json").read_text())
    policy["categories"][0]["name"] = "renamed"
    (tmp_path / "mine.json").write_text(json.dumps(policy))
    options = (*SHORT, "--policy", tmp_path / "mine.json", "--method", "fastv")
    told = json.loads(clasp("profile", bundle, *options, "--category", "renamed", "--json").out)
    assert (told["method"], told["bundles"][0]["category"]) == ("fastv", "renamed")
    done = clasp("profile", bundle, *options)
    assert done.out.splitlines()[0].endswith(", 2 tokens an answer, method fastv")


def test_policy_or_method_that_a_bundle_cannot_follow(
    refused: Refused, bundle: Path, unpruned: Path, tmp_path: Path
) -> None:
    policy = json.loads((bundle / "policy.json").read_text())
    policy["layers"] = [1, 3]
    (tmp_path / "mine.json").write_text(json.dumps(policy))
    line = refused("profile", bundle, *SHORT, "--policy", tmp_path / "mine.json")
    assert line.startswith("the policy reads vision layers 1, but the bundle holds 2, 3")
    assert "method fastv prunes, but the bundle has no stages" in refused(
        "profile", unpruned, *SHORT, "--method", "fastv"
    )


def test_another_router(clasp: Clasp, bundle: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    shutil.copytree(SHIPPED, mine, ignore=shutil.ignore_patterns("prompts", "more"))
    spec = json.loads((mine / "router.json").read_text("utf-8"))
    (mine / "router.json").write_text(json.dumps({**spec, "overrides": {"how many cups": "default"}}), "utf-8")
    categories = [
        json.loads(clasp("profile", bundle, *SHORT, "--prompt", "How many cups?", *more, "--json").out)["bundles"][0][
            "category"
        ]
        for more in ((), ("--router", mine))
    ]
    assert categories == ["counting", "default"]


@pytest.mark.usefixtures("no_process")
def test_a_folder_without_a_router(refused: Refused, bundle: Path, tmp_path: Path) -> None:
    assert "router.json" in refused("profile", bundle, *SHORT, "--router", tmp_path)


@pytest.fixture
def no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is refused now was refused before any weight was read."""
    monkeypatch.setattr("clasp_trt.tools.profile.measure.Worker", None)


@pytest.mark.usefixtures("no_process")
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("--plot stages.txt", "stages.txt does not say what to write; expected a name in .png, .svg, .pdf"),
        ("--trace absent/runs.json", "absent is not a folder, so runs.json cannot be written there; make it first"),
        ("--trace runs.png", "runs.png does not say what to write; expected a name in .json"),
        ("--samples", "--samples adds to --json; give both; see clasp-trt profile --help"),
        ("--prompt hi --prompt-tokens 4", "--prompt-tokens is the length of a generated prompt; leave out one of"),
        ("--prompt ", "the prompt is empty; ask something"),
        ("--image absent.png", "absent.png"),
        ("--image absent.png --no-image", "leave out one of --image and --no-image"),
        ("--images 2 --no-image", "leave out one of --images and --no-image"),
        ("--image absent.png --visual-tokens 4", "leave out one of --image and --visual-tokens"),
        ("--images 2", "the bundle takes 1 image in a request"),
        ("--visual-tokens 9", "no picture has 9 visual tokens in this bundle; ask for 16"),
        ("--method fastw", "unknown pruning method 'fastw'; did you mean 'fastv'?"),
        ("--policy absent.json", "absent.json"),
        ("--against absent", "absent"),
        ("--runs 0", "0 is not in the range x>=1"),
        ("--max-new-tokens 1", "1 is not in the range x>=2"),
    ],
)
def test_mistakes(refused: Refused, bundle: Path, options: str, expected: str) -> None:
    assert expected in refused("profile", bundle, *options.split(" "))


@pytest.mark.usefixtures("no_process")
def test_bundle_for_another_backend(refused: Refused, bundle: Path, portable: Path) -> None:
    assert refused("profile", bundle, "--against", portable) == (
        f"{portable} is a bundle for backend portable, which this runtime cannot run; "
        "`clasp-trt build` the portable bundle or the checkpoint with --backend onnxruntime, or for a GPU"
    )


@pytest.mark.parametrize(
    ("package", "options", "what"),
    [("polygraphy", (), "profile"), ("matplotlib", ("--plot", "stages.png"), "--plot")],
)
def test_missing_package(
    refused: Refused,
    bundle: Path,
    monkeypatch: pytest.MonkeyPatch,
    package: str,
    options: tuple[str, ...],
    what: str,
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    assert refused("profile", bundle, *options) == (
        f"{what} needs {package}, which is not installed; pip install 'clasp-trt[profile]'"
    )


def test_category_that_the_policy_lacks(refused: Refused, bundle: Path) -> None:
    assert refused("profile", bundle, *SHORT, "--category", "nonsense").startswith("category 'nonsense' is not in")


def children(process: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def answers(process: int) -> bool:
    """Whether it is a process that answers, and not one that is still to become it."""
    try:
        return b"clasp_trt.tools.profile.child" in Path(f"/proc/{process}/cmdline").read_bytes()
    except FileNotFoundError:
        return False


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def running(bundle: Path, shell: dict[str, str], tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A profile that would take hours, as soon as it has started the process of its bundle."""
    line = [sys.executable, "-m", "clasp_trt", "profile", bundle, "--runs", "10000000", "--plot", tmp_path / "p.png"]
    process = subprocess.Popen(
        line,
        env=shell,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # our own shell may have ignored it
    )
    try:
        wait_for(lambda: any(map(answers, children(process.pid))))
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    ("number", "code", "said"),
    [
        (signal.SIGINT, 130, "error: interrupted\n"),
        (signal.SIGTERM, 143, "error: stopped by SIGTERM\n"),
        (signal.SIGKILL, -9, ""),
    ],
)
def test_stopped(running: subprocess.Popen[str], tmp_path: Path, number: signal.Signals, code: int, said: str) -> None:
    (answering,) = children(running.pid)
    running.send_signal(number)
    assert running.communicate(timeout=PATIENCE_S) == ("", said)
    assert running.returncode == code
    wait_for(lambda: not answers(answering))
    assert list(tmp_path.iterdir()) == []
