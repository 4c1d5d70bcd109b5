"""The decoder of a LLaVA checkpoint for onnxruntime-genai, in its environment, by its model builder, in INT4.

``python -m benchmarks.peers.onnxruntime_genai_files CHECKPOINT OUT``. The builder knows no LLaVA.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

_DECODER = "language_model."


def alone(checkpoint: Path, out: Path) -> None:
    """The decoder of a LLaVA checkpoint as one of its own, for a builder that reads nothing else; in half the bytes."""
    config = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
    own = {**config["text_config"], "dtype": "float16"}
    (out / "config.json").write_text(json.dumps(own), encoding="utf-8")
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "generation_config.json"):
        if (checkpoint / name).is_file():
            shutil.copy(checkpoint / name, out)
    index: dict[str, str] = {}
    size = 0
    for path in sorted(checkpoint.glob("*.safetensors")):
        with safe_open(path, framework="numpy") as file:
            part = {
                name.removeprefix(_DECODER): file.get_tensor(name).astype(np.float16)
                for name in sorted(file.keys())
                if name.startswith(_DECODER)
            }
        if part:
            save_file(part, out / path.name, metadata={"format": "pt"})
            index.update(dict.fromkeys(part, path.name))
            size += sum(tensor.nbytes for tensor in part.values())
    (out / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {"total_size": size}, "weight_map": index}), encoding="utf-8"
    )


def convert(checkpoint: Path, out: Path) -> None:
    """By the model builder, with its own defaults for INT4 on a CPU, and logits of the last token alone."""
    with tempfile.TemporaryDirectory(dir=out.parent) as folder:
        alone(checkpoint, Path(folder))
        words = ["-i", folder, "-o", str(out), "-p", "int4", "-e", "cpu", "-c", folder]
        words += ["--extra_options", "prune_lm_head=true", "int4_accuracy_level=4"]
        subprocess.run([sys.executable, "-m", "onnxruntime_genai.models.builder", *words], check=True)


def main() -> None:
    """Writes the folder OUT."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("out", type=Path)
    given = parser.parse_args()
    convert(given.checkpoint, given.out)


if __name__ == "__main__":
    main()
