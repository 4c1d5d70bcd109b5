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
from tests.cli.conftest import Clasp, Refused

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
    ("line", "expected"),
    [
        ("biuld M -o out", "no command 'biuld'; did you mean 'build'? see clasp-trt --help"),
        (
            "dance",
            "choose one of build, export, run, show, profile, eval, verify, calibrate, inspect, route, router, plan, "
            "targets, demo, doctor; see",
        ),
        ("build M -o out --budgt 3", "'--budgt'. Did you mean '--budget'? see clasp-trt build --help"),
        ("--versoin", "'--versoin'. Did you mean '--version'? see clasp-trt --help"),
        ("build", "missing argument 'MODEL'; see clasp-trt build --help"),
        ("build M", "missing option '-o' / '--output'; see clasp-trt build --help"),
        ("build M -o", "requires an argument; see clasp-trt"),
        ("build M extra -o out", "unexpected extra argument (extra); see clasp-trt build --help"),
        ("build M -o out --budget many", "'--budget': 'many' is not a valid integer; see clasp-trt build --help"),
        ("build M -o out --schedule 3,x", "'3,x' is not a list of integers such as 300,200,110; see"),
        ("build M -o out --prune-at nose", "'nose' is not one of 'decoder', 'encoder', 'none'; see"),
        ("run B --prompt hi --max-new-tokens 0", "0 is not in the range x>=1; see clasp-trt run --help"),
    ],
)
def test_usage(refused: Refused, line: str, expected: str) -> None:
    assert expected in refused(*line.split())


def test_control_characters_of_a_name_do_not_reach_the_terminal(refused: Refused) -> None:
    assert "no\\x1b[31m" in refused("inspect", "no\x1b[31m")


def test_what_the_system_refuses_unexpectedly_is_one_line(refused: Refused) -> None:
    assert refused("build", "a" * 5000, "-o", "out").endswith("llava-hf/llava-1.5-7b-hf")
    assert refused("inspect", "a" * 5000).endswith("(file name too long)")


@pytest.mark.usefixtures("no_export")
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--schedule", "5,6,4"], "schedule: 5, 6, 4 do not descend; each stage must keep fewer tokens"),
        (["--schedule", "5,0"], "schedule: 0 is not a token count; expected whole numbers >= 1"),
        (["--schedule", "5,4,3", "--budget", "8"], "exclude each other"),
        (["--prune-at", "none", "--budget", "8"], "--prune-at none keeps every token; drop --budget"),
        (["--prune-at", "encoder", "--schedule", "5"], "give its size with --budget"),
        (["--policy", "no-such.json"], "no-such.json: cannot be read (No such file or directory)"),
        (["--precision", "bf16"], "precision bf16 does not run on backend onnxruntime"),
        (["--target", "orin-agx-46"], "unknown target 'orin-agx-46': did you mean 'orin-agx-64'?"),
        (["--target", "h100", "--backend", "tensorrt-rtx"], "does not run on h100"),
        (
            ["--plugins"],
            "backend onnxruntime builds no engines: drop --sm, --max-prompt, --max-build-memory, --no-cache",
        ),
        (["--target", "orin-agx-64"], "backend tensorrt builds on the device itself (orin-agx-64: SM 8.7), but"),
    ],
)
def test_options_are_refused_before_the_exporter_is_loaded(
    refused: Refused, checkpoint: Path, tmp_path: Path, options: list[str], expected: str
) -> None:
    assert expected in refused("build", checkpoint, "-o", tmp_path / "out", *options)
    assert names(tmp_path) == []


@pytest.mark.usefixtures("no_export")
def test_existing_output_is_refused_before_the_exporter_is_loaded(
    refused: Refused, checkpoint: Path, bundle: Path, tmp_path: Path
) -> None:
    earlier = Path(shutil.copytree(bundle, tmp_path / "out"))
    assert "exists; replace it with --force" in refused("build", checkpoint, "-o", earlier)
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "thesis.tex").write_text("years of work")
    assert "nothing but a bundle is ever replaced" in refused("build", checkpoint, "-o", folder, "--force")
    assert "is not a folder" in refused("build", checkpoint, "-o", folder / "thesis.tex", "--force")
    assert names(tmp_path) == ["mine", "out"]
    assert names(folder) == ["thesis.tex"]
    Bundle.open(earlier, verify=True)


@pytest.mark.usefixtures("no_export")
def test_unwritable_output_is_refused_before_the_exporter_is_loaded(
    refused: Refused, checkpoint: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    assert "cannot be written (not a directory" in refused("build", checkpoint, "-o", tmp_path / "file" / "out")
    # /proc takes no folders, not even from root
    assert "cannot be written (no such file or directory" in refused("build", checkpoint, "-o", "/proc/clasp/out")
    assert "empty name" in refused("build", checkpoint, "-o", "")


@pytest.mark.usefixtures("no_export")
@pytest.mark.skipif(os.geteuid() == 0, reason="permissions do not bind root")
def test_folder_without_permission(refused: Refused, checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o555)
    assert "permission denied" in refused("build", checkpoint, "-o", tmp_path / "locked" / "out")


def test_not_a_checkpoint(refused: Refused, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    assert "it has no config.json; give a Hugging Face model folder" in refused("build", tmp_path / "empty", "-o", out)
    for what in (tmp_path / "file", tmp_path / "missing"):
        assert "is not a folder; give a Hugging Face model folder or a hub id" in refused("build", what, "-o", out)
    assert names(tmp_path) == ["empty", "file"]


def test_unsupported_model_type_lists_what_is_supported(refused: Refused, copied: Path, tmp_path: Path) -> None:
    config = json.loads((copied / "config.json").read_text())
    (copied / "config.json").write_text(json.dumps({**config, "model_type": "blip"}))
    line = refused("build", copied, "-o", tmp_path / "out")
    assert line == f"model_type 'blip' of {copied} is not supported; supported: llava"


def test_pickled_weights(refused: Refused, copied: Path, tmp_path: Path) -> None:
    (copied / "model.safetensors").rename(copied / "pytorch_model.bin")
    assert "expected safetensors" in refused("build", copied, "-o", tmp_path / "out")


def test_truncated_weights(refused: Refused, copied: Path, tmp_path: Path) -> None:
    os.truncate(copied / "model.safetensors", 10_000)
    assert "is not a readable safetensors file" in refused("build", copied, "-o", tmp_path / "out", "--budget", "8")


def test_missing_tensor(refused: Refused, copied: Path, tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    weights = load_file(copied / "model.safetensors")
    gone = next(name for name in weights if "layers.3.mlp.up_proj" in name)
    del weights[gone]
    save_file(weights, copied / "model.safetensors")
    line = refused("build", copied, "-o", tmp_path / "out", "--budget", "8")
    assert "the checkpoint lacks the tensor" in line
    assert "layers.3.mlp.up_proj.weight" in line
    assert names(tmp_path) == ["copied"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--budget", "17"], "budget: 17 is more than the 16 visual tokens; ask for at most 15"),
        (["--budget", "16"], "budget: 16 keeps every visual token; use --prune-at none"),
        (["--budget", "1"], "budget: 1 is out of reach while layer 0 runs all 16 visual tokens; ask for at least 6"),
        (["--budget", "0"], "budget: expected a whole number of visual tokens from 1 to 15, got 0"),
        ([], "no --budget was given, so a third of the tokens is meant; budget: 5 is out of reach"),
        (["--schedule", "16,5,4"], "the first stage keeps 16 of 16 tokens; expected at most 15"),
        (["--schedule", "5,4"], "the schedule names 2 token counts for 3 prune layers"),
        (
            ["--prune-layers", "3", "--budget", "8"],
            "after layer 3 no layer is left to gain from it; expected ascending",
        ),
        (["--prune-layers", "2,1", "--budget", "8"], "prune layers: 2, 1 do not ascend"),
        (["--max-context", "9999", "--budget", "8"], "--max-context 9999 exceeds the checkpoint's 4096 positions"),
        (["--max-context", "20", "--budget", "8"], "leaves too little room for text beside 16 visual tokens"),
    ],
)
def test_what_the_model_cannot_follow_is_refused_before_anything_is_exported(
    refused: Refused,
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    expected: str,
) -> None:
    import clasp_trt.export.exporter as exporter

    monkeypatch.setattr(exporter, "save", lambda *_: pytest.fail("a graph was exported"))
    assert expected in refused("build", checkpoint, "-o", tmp_path / "out", *options)
    assert names(tmp_path) == []


def test_policy_for_another_tower(refused: Refused, checkpoint: Path, bundle: Path, tmp_path: Path) -> None:
    policy = json.loads((bundle / "policy.json").read_text())
    policy["layers"][-1] = 23
    (tmp_path / "deep.json").write_text(json.dumps(policy))
    line = refused("build", checkpoint, "-o", tmp_path / "out", "--budget", "8", "--policy", tmp_path / "deep.json")
    assert "reads vision layer 23, but the tower of this checkpoint has layers 0 to 4" in line


def test_a_bundle_is_no_checkpoint(refused: Refused, bundle: Path, portable: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert "already built for cpu; give the portable bundle" in refused("build", bundle, "-o", out)
    assert "fixes pruning, precision, policy and context" in refused("build", portable, "-o", out, "--budget", "4")
    for given in (["--precision", "fp32"], ["--prune-at", "decoder"]):  # what was asked for counts, default or not
        assert "fixes pruning, precision, policy and context" in refused("build", portable, "-o", out, *given)
    assert "is a bundle already; give a checkpoint to export" in refused("export", portable, "-o", out)
    assert names(tmp_path) == []


def test_portable_bundle_does_not_run(refused: Refused, portable: Path) -> None:
    assert "clasp-trt build" in refused("run", portable, "--prompt", "hi")


def test_weights_beyond_the_targets_memory(
    refused: Refused, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from clasp_trt import targets

    nano = replace(targets.get("orin-nano-8"), memory_gb=1e-4)
    monkeypatch.setattr(targets, "TARGETS", {nano.name: nano})
    line = refused("build", checkpoint, "-o", tmp_path / "out", "--target", nano.name, "--backend", "onnxruntime")
    assert line.startswith("the weights take ")
    assert line.endswith("choose another target, a smaller checkpoint, or --precision fp16")
    assert names(tmp_path) == []


def test_checkpoint_whose_pictures_do_not_fit(refused: Refused, copied: Path, tmp_path: Path) -> None:
    config = json.loads((copied / "preprocessor_config.json").read_text())
    (copied / "preprocessor_config.json").write_text(json.dumps({**config, "size": 32, "crop_size": 32}))
    line = refused("build", copied, "-o", tmp_path / "out", "--budget", "8")
    assert line.startswith(
        f"the preprocessor_config.json of {copied} cannot be used: it makes pictures of 32x32 pixels"
    )
    assert names(tmp_path) == ["copied"]


def test_damage_to_a_portable_bundle_does_not_get_fresh_hashes(
    refused: Refused, portable: Path, tmp_path: Path
) -> None:
    damaged = Path(shutil.copytree(portable, tmp_path / "damaged"))
    with (damaged / "graphs" / "embed.onnx.data").open("r+b") as file:
        file.write(b"\xff" * 64)
    assert "its SHA-256 is" in refused("build", damaged, "-o", tmp_path / "out")
    assert names(tmp_path) == ["damaged"]


@pytest.mark.usefixtures("no_backend")
@pytest.mark.parametrize(
    ("picture", "expected"),
    [
        ("cut.jpg", "cut.jpg is damaged or truncated"),
        ("text.jpg", "text.jpg is not an image we can read"),
        ("empty.png", "empty.png is not an image we can read"),
        ("dot.png", "dot.png is 1x1; each side must be at least 2 pixels"),
        ("line.png", "line.png is 20000x1; each side must be at least 2 pixels"),
        ("none.png", "none.png; give a file, an http(s)"),
    ],
)
def test_images_are_refused_before_the_weights_are_read(
    refused: Refused, bundle: Path, photo: Path, tmp_path: Path, picture: str, expected: str
) -> None:
    (tmp_path / "cut.jpg").write_bytes(photo.read_bytes()[:20_000])
    (tmp_path / "text.jpg").write_text("no image at all")
    (tmp_path / "empty.png").touch()
    Image.fromarray(np.zeros((1, 1, 3), np.uint8)).save(tmp_path / "dot.png")
    Image.fromarray(np.zeros((1, 20_000, 3), np.uint8)).save(tmp_path / "line.png")
    assert expected in refused("run", bundle, "--image", tmp_path / picture, "--prompt", "what is it?")


@pytest.mark.usefixtures("no_backend")
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--prompt", ""], "the prompt is empty; ask something"),
        (["--prompt", " \n"], "the prompt is empty; ask something"),
        (["--prompt", "hi", "--temperature", "nan"], "temperature is nan; expected 0 (greedy) to 100"),
        (["--prompt", "hi", "--top-p", "0"], "top_p is 0.0; expected above 0"),
        (["--prompt", "hi", "--seed", "-1"], "seed is -1; expected a whole number"),
        (["--prompt", "hi", "--show", "no/such/kept.png"], "no/such is not a folder"),
        (
            ["--prompt", "hi", "--show", "kept.txt"],
            "kept.txt does not say what to write; expected a name in .png",
        ),
    ],
)
def test_requests_are_refused_before_the_weights_are_read(
    refused: Refused, bundle: Path, photo: Path, options: list[str], expected: str
) -> None:
    assert expected in refused("run", bundle, "--image", photo, *options)


def test_prompts_that_do_not_fit(refused: Refused, bundle: Path, photo: Path) -> None:
    line = refused("run", bundle, "--image", photo, "--prompt", "word " * 5000)
    assert "leaves no room for an answer; shorten it by" in line
    assert "holds <image> 2 times" in refused("run", bundle, "--image", photo, "--prompt", "<image> or <image>?")
    assert "no image came with it" in refused("run", bundle, "--prompt", "<image>?")
    assert "not valid Unicode" in refused("run", bundle, "--image", photo, "--prompt", "\udcff")
    assert "expected one of: object ident" in refused("run", bundle, "--prompt", "hi", "--category", "counitng")
    assert "give one with --image" in refused("run", bundle, "--prompt", "hi", "--show", "kept.png")
    assert "the prompt is empty" in refused("route", "--prompt", " ")


def test_not_a_bundle(refused: Refused, checkpoint: Path, tmp_path: Path) -> None:
    for line in (["inspect"], ["run", "--prompt", "hi"]):
        assert "it holds no clasp.json; make one with clasp-trt build" in refused(*line, checkpoint)
        assert "no such folder; make a bundle with clasp-trt build" in refused(*line, tmp_path / "none")


def test_missing_extra_says_how_to_get_it(
    refused: Refused, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "clasp_trt.export.models.llava", None)
    line = refused("build", checkpoint, "-o", tmp_path / "out")
    assert line.startswith("exporting a checkpoint needs ")
    assert line.endswith("pip install 'clasp-trt[export]'")
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
