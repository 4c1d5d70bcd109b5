"""Every mistake is one line that says what to do, with exit code 2, before work is spent and without leftovers."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clasp_trt.bundle import Bundle
from clasp_trt.policy import CATEGORY_NAMES
from tests.cli.conftest import Clasp, Refused
from tests.commands import command_names
from tests.mistakes import says

EXPORTER, BACKEND = "clasp_trt.export.checkpoint", "clasp_trt.runtime.backends.ort"


@pytest.fixture
def no_export(monkeypatch: pytest.MonkeyPatch) -> None:
    """The exporter cannot even be imported: whatever is refused now was refused before it."""
    monkeypatch.setitem(sys.modules, EXPORTER, None)


@pytest.fixture
def no_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor can the backend: no weight was read."""
    monkeypatch.setitem(sys.modules, BACKEND, None)


@pytest.fixture
def copied(checkpoint: Path, tmp_path: Path) -> Path:
    """A checkpoint to damage."""
    return Path(shutil.copytree(checkpoint, tmp_path / "copied"))


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


@pytest.mark.parametrize(
    ("line", "facts"),
    [
        ("biuld M -o out", ("'biuld'", "'build'", "clasp-trt --help")),
        ("dance", (*command_names(), "clasp-trt --help")),
        ("build M -o out --budgt 3", ("'--budgt'", "'--budget'", "clasp-trt build --help")),
        ("--versoin", ("'--versoin'", "'--version'", "clasp-trt --help")),
        ("build", ("'MODEL'", "clasp-trt build --help")),
        ("build M", ("'-o' / '--output'", "clasp-trt build --help")),
        ("build M -o", ("-o", "argument", "clasp-trt")),
        ("build M extra -o out", ("extra", "clasp-trt build --help")),
        ("build M -o out --budget many", ("budget", "'many'", 64, "1/9")),
        ("build M -o out --schedule 3,x", ("'3,x'", "300,200,110")),
        ("build M -o out --prune-at nose", ("'nose'", "'decoder'", "'encoder'", "'none'")),
        ("run B --prompt hi --max-new-tokens 0", ("'--max-new-tokens'", 0, "clasp-trt run --help")),
    ],
)
def test_usage(refused: Refused, line: str, facts: tuple[object, ...]) -> None:
    says(refused(*line.split()), *facts)


def test_control_characters_of_a_name_do_not_reach_the_terminal(refused: Refused) -> None:
    assert "no\\x1b[31m" in refused("inspect", "no\x1b[31m")


def test_what_the_system_refuses_unexpectedly_is_one_line(refused: Refused) -> None:
    says(refused("build", "a" * 5000, "-o", "out"), "llava-hf/llava-1.5-7b-hf")
    says(refused("inspect", "a" * 5000), "file name too long")


@pytest.mark.usefixtures("no_export")
@pytest.mark.parametrize(
    ("options", "facts"),
    [
        (["--schedule", "5,6,4"], ("schedule", 5, 6, 4, "fewer")),
        (["--schedule", "5,0"], ("schedule", 0, ">= 1")),
        (["--schedule", "5,4,3", "--budget", "8"], ("--schedule", "--budget", "exclude")),
        (["--prune-at", "none", "--budget", "8"], ("--prune-at none", "--budget")),
        (["--prune-at", "encoder", "--schedule", "5"], ("encoder", "--budget")),
        (["--policy", "no-such.json"], ("no-such.json", "No such file or directory")),
        (["--precision", "bf16"], ("bf16", "onnxruntime")),
        (["--target", "orin-agx-46"], ("'orin-agx-46'", "'orin-agx-64'")),
        (["--target", "h100", "--backend", "tensorrt-rtx"], ("tensorrt-rtx", "h100")),
        (["--plugins"], ("onnxruntime", "--sm", "--max-prompt", "--max-build-memory", "--no-cache")),
        (["--target", "orin-agx-64"], ("tensorrt", "orin-agx-64", "SM 8.7")),
    ],
)
def test_options_are_refused_before_the_exporter_is_loaded(
    refused: Refused, checkpoint: Path, tmp_path: Path, options: list[str], facts: tuple[object, ...]
) -> None:
    says(refused("build", checkpoint, "-o", tmp_path / "out", *options), *facts)
    assert names(tmp_path) == []


@pytest.mark.usefixtures("no_export")
def test_existing_output_is_refused_before_the_exporter_is_loaded(
    refused: Refused, checkpoint: Path, bundle: Path, tmp_path: Path
) -> None:
    earlier = Path(shutil.copytree(bundle, tmp_path / "out"))
    says(refused("build", checkpoint, "-o", earlier), earlier, "--force")
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "thesis.tex").write_text("years of work")
    says(refused("build", checkpoint, "-o", folder, "--force"), folder, "bundle")
    says(refused("build", checkpoint, "-o", folder / "thesis.tex", "--force"), folder / "thesis.tex", "folder")
    assert names(tmp_path) == ["mine", "out"]
    assert names(folder) == ["thesis.tex"]
    Bundle.open(earlier, verify=True)


@pytest.mark.usefixtures("no_export")
def test_unwritable_output_is_refused_before_the_exporter_is_loaded(
    refused: Refused, checkpoint: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    says(refused("build", checkpoint, "-o", tmp_path / "file" / "out"), tmp_path / "file", "not a directory")
    # /proc takes no folders, not even from root
    says(refused("build", checkpoint, "-o", "/proc/clasp/out"), "/proc/clasp", "no such file or directory")
    says(refused("build", checkpoint, "-o", ""), "empty")


@pytest.mark.usefixtures("no_export")
@pytest.mark.skipif(os.geteuid() == 0, reason="permissions do not bind root")
def test_folder_without_permission(refused: Refused, checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o555)
    says(refused("build", checkpoint, "-o", tmp_path / "locked" / "out"), tmp_path / "locked", "permission denied")


def test_not_a_checkpoint(refused: Refused, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    says(refused("build", tmp_path / "empty", "-o", out), tmp_path / "empty", "config.json", "Hugging Face")
    for what in (tmp_path / "file", tmp_path / "missing"):
        says(refused("build", what, "-o", out), what, "folder", "hub id")
    assert names(tmp_path) == ["empty", "file"]


def test_unsupported_model_type_lists_what_is_supported(refused: Refused, copied: Path, tmp_path: Path) -> None:
    config = json.loads((copied / "config.json").read_text())
    (copied / "config.json").write_text(json.dumps({**config, "model_type": "blip"}))
    says(refused("build", copied, "-o", tmp_path / "out"), "model_type", "'blip'", copied, "llava")


def test_pickled_weights(refused: Refused, copied: Path, tmp_path: Path) -> None:
    (copied / "model.safetensors").rename(copied / "pytorch_model.bin")
    says(refused("build", copied, "-o", tmp_path / "out"), "safetensors")


def test_truncated_weights(refused: Refused, copied: Path, tmp_path: Path) -> None:
    os.truncate(copied / "model.safetensors", 10_000)
    line = refused("build", copied, "-o", tmp_path / "out", "--budget", "8")
    says(line, copied / "model.safetensors", "safetensors")


def test_missing_tensor(refused: Refused, copied: Path, tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    weights = load_file(copied / "model.safetensors")
    gone = next(name for name in weights if "layers.3.mlp.up_proj" in name)
    del weights[gone]
    save_file(weights, copied / "model.safetensors")
    line = refused("build", copied, "-o", tmp_path / "out", "--budget", "8")
    says(line, gone.removeprefix("language_model.model."))
    assert names(tmp_path) == ["copied"]


@pytest.mark.parametrize(
    ("options", "facts"),
    [
        (["--budget", "17"], ("budget", 17, 16, 15)),
        (["--budget", "16"], ("budget", 16, "--prune-at none")),
        (["--budget", "1"], ("budget", 1, "layer 0", 16, 6)),
        (["--budget", "0"], ("budget", 0, "1 to 15")),
        ([], ("--budget", "third", 5)),
        (["--schedule", "16,5,4"], ("first stage", "16 of 16", 15)),
        (["--schedule", "5,4"], ("schedule", 2, "3 prune layers")),
        (["--prune-layers", "3", "--budget", "8"], ("layer 3", "ascending")),
        (["--prune-layers", "2,1", "--budget", "8"], ("prune layers", "2, 1", "ascend")),
        (["--max-context", "9999", "--budget", "8"], ("--max-context 9999", 4096)),
        (["--max-visual-tokens", "9"], ("--max-visual-tokens 9", 16, "drop it")),
        (["--max-context", "20", "--budget", "8"], ("--max-context 20", "16 visual tokens")),
    ],
)
def test_what_the_model_cannot_follow_is_refused_before_anything_is_exported(
    refused: Refused,
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    facts: tuple[object, ...],
) -> None:
    import clasp_trt.export.exporter as exporter

    monkeypatch.setattr(exporter, "save", lambda *_: pytest.fail("a graph was exported"))
    says(refused("build", checkpoint, "-o", tmp_path / "out", *options), *facts)
    assert names(tmp_path) == []


def test_policy_for_another_tower(refused: Refused, checkpoint: Path, bundle: Path, tmp_path: Path) -> None:
    policy = json.loads((bundle / "policy.json").read_text())
    policy["layers"][-1] = 23
    (tmp_path / "deep.json").write_text(json.dumps(policy))
    line = refused("build", checkpoint, "-o", tmp_path / "out", "--budget", "8", "--policy", tmp_path / "deep.json")
    says(line, "layer 23", "0 to 4")


def test_a_bundle_is_no_checkpoint(refused: Refused, bundle: Path, portable: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    says(refused("build", bundle, "-o", out), "cpu", "portable bundle")
    fixed = ("pruning", "precision", "policy", "context")
    says(refused("build", portable, "-o", out, "--budget", "4"), *fixed)
    for given in (["--precision", "fp32"], ["--prune-at", "decoder"]):  # what was asked for counts, default or not
        says(refused("build", portable, "-o", out, *given), *fixed)
    says(refused("export", portable, "-o", out), portable, "bundle", "checkpoint")
    assert names(tmp_path) == []


def test_portable_bundle_does_not_run(refused: Refused, portable: Path) -> None:
    says(refused("run", portable, "--prompt", "hi"), "clasp-trt build")


def test_weights_beyond_the_targets_memory(
    refused: Refused, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from clasp_trt import targets

    nano = replace(targets.get("orin-nano-8"), memory_gb=1e-4)
    monkeypatch.setattr(targets, "TARGETS", {nano.name: nano})
    line = refused("build", checkpoint, "-o", tmp_path / "out", "--target", nano.name, "--backend", "onnxruntime")
    says(line, "weights", "target", "--precision fp16")
    assert names(tmp_path) == []


def test_checkpoint_whose_pictures_do_not_fit(refused: Refused, copied: Path, tmp_path: Path) -> None:
    config = json.loads((copied / "preprocessor_config.json").read_text())
    (copied / "preprocessor_config.json").write_text(json.dumps({**config, "size": 32, "crop_size": 32}))
    line = refused("build", copied, "-o", tmp_path / "out", "--budget", "8")
    says(line, "preprocessor_config.json", copied, "32x32 pixels")
    assert names(tmp_path) == ["copied"]


def test_damage_to_a_portable_bundle_does_not_get_fresh_hashes(
    refused: Refused, portable: Path, tmp_path: Path
) -> None:
    damaged = Path(shutil.copytree(portable, tmp_path / "damaged"))
    with (damaged / "graphs" / "embed.onnx.data").open("r+b") as file:
        file.write(b"\xff" * 64)
    says(refused("build", damaged, "-o", tmp_path / "out"), "embed.onnx.data", "SHA-256")
    assert names(tmp_path) == ["damaged"]


@pytest.mark.usefixtures("no_backend")
@pytest.mark.parametrize(
    ("picture", "facts"),
    [
        ("cut.jpg", ("truncated",)),
        ("text.jpg", ("image",)),
        ("empty.png", ("image",)),
        ("dot.png", ("1x1", "2 pixels")),
        ("line.png", ("20000x1", "2 pixels")),
        ("none.png", ("file", "http")),
    ],
)
def test_images_are_refused_before_the_weights_are_read(
    refused: Refused, bundle: Path, photo: Path, tmp_path: Path, picture: str, facts: tuple[str, ...]
) -> None:
    (tmp_path / "cut.jpg").write_bytes(photo.read_bytes()[:20_000])
    (tmp_path / "text.jpg").write_text("no image at all")
    (tmp_path / "empty.png").touch()
    Image.fromarray(np.zeros((1, 1, 3), np.uint8)).save(tmp_path / "dot.png")
    Image.fromarray(np.zeros((1, 20_000, 3), np.uint8)).save(tmp_path / "line.png")
    says(refused("run", bundle, "--image", tmp_path / picture, "--prompt", "what is it?"), picture, *facts)


@pytest.mark.usefixtures("no_backend")
@pytest.mark.parametrize("command", ["run", "show", "profile"])
def test_the_largest_picture_can_be_said(refused: Refused, bundle: Path, photo: Path, command: str) -> None:
    output = ["-o", "kept.png"] if command == "show" else []
    line = refused(command, bundle, "--image", photo, "--max-pixels", "0", "--prompt", "hi", *output)
    says(line, "max_pixels", 0, 178_000_000)


@pytest.mark.usefixtures("no_backend")
@pytest.mark.parametrize(
    ("options", "facts"),
    [
        (["--prompt", ""], ("prompt", "empty")),
        (["--prompt", " \n"], ("prompt", "empty")),
        (["--prompt", "hi", "--temperature", "nan"], ("temperature", "nan", "0 (greedy) to 100")),
        (["--prompt", "hi", "--top-p", "0"], ("top_p", "0.0", "above 0")),
        (["--prompt", "hi", "--seed", "-1"], ("seed", -1, "whole number")),
        (["--prompt", "hi", "--show", "no/such/kept.png"], ("no/such", "folder")),
        (["--prompt", "hi", "--show", "kept.txt"], ("kept.txt", ".png")),
        (["--prompt", "hi", "--image", "no.png"], ("2 images", "1 image", "--max-images 2")),
    ],
)
def test_requests_are_refused_before_the_weights_are_read(
    refused: Refused, bundle: Path, photo: Path, options: list[str], facts: tuple[object, ...]
) -> None:
    says(refused("run", bundle, "--image", photo, *options), *facts)


def test_prompts_that_do_not_fit(refused: Refused, bundle: Path, photo: Path) -> None:
    line = refused("run", bundle, "--image", photo, "--prompt", "word " * 5000)
    says(line, "answer", "shorten")
    says(refused("run", bundle, "--image", photo, "--prompt", "<image> or <image>?"), "<image>", "2 times")
    says(refused("run", bundle, "--prompt", "<image>?"), "no image")
    says(refused("run", bundle, "--image", photo, "--prompt", "\udcff"), "Unicode")
    says(refused("run", bundle, "--prompt", "hi", "--category", "counitng"), "counitng", *CATEGORY_NAMES)
    says(refused("run", bundle, "--prompt", "hi", "--show", "kept.png"), "--show", "--image")
    says(refused("route", "--prompt", " "), "prompt", "empty")


def test_not_a_bundle(refused: Refused, checkpoint: Path, tmp_path: Path) -> None:
    for line in (["inspect"], ["run", "--prompt", "hi"]):
        says(refused(*line, checkpoint), checkpoint, "clasp.json", "clasp-trt build")
        says(refused(*line, tmp_path / "none"), tmp_path / "none", "clasp-trt build")


def test_missing_extra_says_how_to_get_it(
    refused: Refused, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    line = refused("build", checkpoint, "-o", tmp_path / "out")
    says(line, "torch", "pip install 'clasp-trt[export]'")
    assert names(tmp_path) == []


def test_module_is_the_command(shell: dict[str, str], tmp_path: Path) -> None:
    for line, code in ((["--version"], 0), (["biuld"], 2), ([], 0)):
        done = subprocess.run(
            [sys.executable, "-m", "clasp_trt", *line],
            cwd=tmp_path,
            env=shell,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code
        assert done.stderr.count("\n") == (code == 2)
        assert bool(done.stdout) == (code == 0)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EMFILE, errno.EIO])
def test_what_the_machine_refuses_is_one_line(refused: Refused, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refuse(_: object) -> None:
        raise OSError(number, os.strerror(number), "some/file")

    monkeypatch.setattr("clasp_trt.cli.targets.print_json", refuse)
    assert refused("targets", "--json") == f"some/file: {os.strerror(number)}"


@pytest.mark.parametrize(
    "error", [FileNotFoundError(errno.ENOENT, "gone"), OSError(errno.EBADF, "closed"), OSError("?")]
)
def test_other_errors_of_the_system_are_our_bugs(monkeypatch: pytest.MonkeyPatch, error: OSError) -> None:
    def fail(_: object) -> None:
        raise error

    monkeypatch.setattr("clasp_trt.cli.targets.print_json", fail)
    from clasp_trt.cli import main

    with pytest.raises(OSError, match=re.escape(str(error))):
        main.main(["targets", "--json"])


def test_our_own_bug_shows_its_traceback(clasp: Clasp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clasp_trt.cli.targets.print_json", lambda _: 1 / 0)
    from clasp_trt.cli import main

    with pytest.raises(ZeroDivisionError):
        main.main(["targets", "--json"])
