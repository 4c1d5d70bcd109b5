"""The main job, start to end, on a random checkpoint and a real photograph: build, run, look at what was kept.

``python examples/demo.py [FOLDER]`` writes everything below FOLDER (default: ``demo``). The checkpoint's weights are
random, so its answers are noise; everything else is what a real checkpoint would go through.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
PHOTO = HERE / "photos" / "chelsea.jpg"
PROMPT = "How many cats are in the picture, and what are they doing?"


def run(*words: str | Path) -> None:
    """Shows a command and runs it; a failure ends the demo with the command's own exit code."""
    shown = ["clasp-trt" if word == "clasp_trt" else str(word) for word in words if word != "-m"]
    print(f"\n$ {'python ' if shown[0].endswith('.py') else ''}{shlex.join(shown)}", flush=True)
    done = subprocess.run([sys.executable, *map(str, words)])
    if done.returncode:
        sys.exit(done.returncode)


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "demo")
    checkpoint, picture = folder / "checkpoint", folder / "kept.png"
    budgets = {folder / "unpruned": ("--prune-at", "none"), folder / "pruned": ("--budget", "128")}
    print("A random LLaVA checkpoint: its words mean nothing, its tokens, timings and picture are real.")
    if not (checkpoint / "config.json").is_file():
        run(HERE / "random_llava.py", checkpoint, "--preset", "demo")
    for bundle, options in budgets.items():
        run("-m", "clasp_trt", "build", checkpoint, "-o", bundle, *options, "--force")
    for bundle in budgets:
        show = ("--show", picture) if bundle.name == "pruned" else ()
        run("-m", "clasp_trt", "run", bundle, "--image", PHOTO, "--prompt", PROMPT, "--max-new-tokens", "24", *show)
    print(f"\nThe tokens that each stage kept: {picture}")


if __name__ == "__main__":
    main()
