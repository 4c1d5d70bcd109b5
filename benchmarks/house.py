"""The house in numbers: how much code lies where, how high it is piled, and what a request walks through.

``python -m benchmarks.house`` prints a table of this tree, with ``--against REV`` that of a commit beside it: files and
lines by folder, rooms and floors, the longest file, the files that a build and an answer of clasp-tiny run, literal
names of graphs, and the modules that a look at the help loads. ``--tests`` adds the seconds of the default tests, and
``--ttft`` the time to first token of clasp-tiny and of a decoder of 1.1 G parameters, both trees in turn.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import click

from benchmarks import house_tree as tree
from benchmarks.ttft_cpu import PHOTO, PROMPT, checkpoint
from benchmarks.worker import Worker

ROOT = Path(__file__).parents[1]
TIMED = {
    "clasp-tiny": ("--budget", "36"),
    "tinyllama-1.1b": ("--budget", "64", "--max-context", "1024"),
}
"""The checkpoints whose first tokens are timed, each with the options of its build."""

Figures = dict[str, str]
"""Each row's cell, by the row's name."""


def measure(root: Path) -> Figures:
    """The figures of the tree at ``root`` that take seconds."""
    return {**sizes(root), **structure(root), **flows(root), **doors(root)}


def sizes(root: Path) -> Figures:
    """Files and lines by folder, the longest file and what is named by literals."""
    found = tree.sources(root)
    counts = {path: tree.lines(root / path) for path in found}
    rows = {}
    for folder in tree.FOLDERS:
        here = [counts[path] for path, other in found.items() if other == folder]
        rows[f"files, lines: {folder}"] = f"{len(here)}, {sum(here):,}"
    product = [path for path, folder in found.items() if folder in tree.FOLDERS[:6]]
    longest = max(product, key=counts.__getitem__)
    rows["longest file of the package"] = f"{counts[longest]} ({longest.as_posix()})"
    rows["graphs and caches named outside the chain"] = str(len(tree.literals(root)))
    return rows


def structure(root: Path) -> Figures:
    """Rooms, floors and circles of the imports."""
    found = tree.probe(root, "imports")
    modules, packages = found["imports"], found["packages"]
    rooms = tree.rooms(modules, packages)
    return {
        "modules, the longest chain of imports": f"{len(modules)}, {tree.floors(modules)}",
        "rooms, floors": f"{len(rooms)}, {tree.floors(rooms)}",
        "modules in circles": str(sum(map(len, tree.circles(modules)))),
        "rooms in circles": str(sum(map(len, tree.circles(rooms)))),
    }


def flows(root: Path) -> Figures:
    """What a build of clasp-tiny and an answer of that bundle run."""
    with tempfile.TemporaryDirectory() as folder:
        traced = tree.probe(root, "trace", str(Path(folder, "bundle")))
    product = {path for path, folder in tree.sources(root).items() if folder in tree.FOLDERS[:6]}
    rows = {}
    for name, found in traced.items():
        functions = [function for function in found if Path(function[0]) in product]  # an environment may lie there too
        files = {Path(path) for path, _, _ in functions}
        total = sum(tree.lines(root / path) for path in files)
        rows[f"files, their lines, functions that a {name} runs"] = f"{len(files)}, {total:,}, {len(functions)}"
    return rows


def doors(root: Path) -> Figures:
    """Modules that are loaded before anything is done."""
    return {
        f"modules that `{' '.join(line)}` loads": str(len(tree.probe(root, "modules", *line)["modules"]))
        for line in (("--help",), ("targets",))
    }


def tests(root: Path) -> Figures:
    """Seconds of the default tests, on all cores, whether they pass or not."""
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n", "auto", "--dist", "loadfile"],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    last = done.stdout.splitlines()[-1]
    return {"seconds of the default tests": f"{time.perf_counter() - start:.0f} ({last.strip('= ')})"}


def first_tokens(roots: Sequence[Path], rounds: int, threads: int) -> list[Figures]:
    """Median milliseconds to the first token, of bundles that each tree built; the trees answer in turn."""
    rows: list[Figures] = [{} for _ in roots]
    for preset, options in TIMED.items():
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            model = ROOT / "clasp_trt" / "assets" / preset
            source = model if model.is_dir() else checkpoint(folder, preset)
            workers = []
            for number, root in enumerate(roots):
                bundle = folder / str(number)
                command = [sys.executable, "-m", "clasp_trt", "build", str(source), "-o", str(bundle), *options]
                environment = {**os.environ, "PYTHONPATH": str(root)}
                subprocess.run(command, cwd=root, env=environment, check=True, stdout=sys.stderr)
                workers.append(stack.enter_context(Worker("bundle_peer", str(bundle), threads=threads, root=root)))
            times: list[list[float]] = [[] for _ in roots]
            for number in range(rounds + 1):  # the first does not count
                for worker, taken in zip(workers, times, strict=True):
                    sample = worker.run(PHOTO, PROMPT, 1)
                    taken += [sample.ttft_ms] if number else []
        for row, taken in zip(rows, times, strict=True):
            spread = f"{min(taken):.1f} to {max(taken):.1f}"
            row[f"time to first token, {preset} {' '.join(options[:2])}, ms"] = (
                f"{statistics.median(taken):.1f} ({spread})"
            )
    return rows


@contextmanager
def checked_out(revision: str) -> Iterator[Path]:
    """The tree of a commit, in a temporary folder."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "tree").resolve()
        git = ("git", "-C", str(ROOT), "worktree")
        subprocess.run([*git, "add", "--quiet", "--detach", str(root), revision], check=True)
        try:
            yield root
        finally:
            subprocess.run([*git, "remove", "--force", str(root)], check=True)


def table(columns: dict[str, Figures]) -> str:
    """A Markdown table with a column for each tree; a row that one lacks is a dash there."""
    rows = list(dict.fromkeys(row for figures in columns.values() for row in figures))
    head = ["| |", *(f" {name} |" for name in columns)]
    body = [f"| {row} |" + "".join(f" {figures.get(row, '-')} |" for figures in columns.values()) for row in rows]
    return "\n".join(["".join(head), "|---|" + "---:|" * len(columns), *body])


@click.command()
@click.option("--against", metavar="REV", help="A commit whose tree is measured too, and printed first.")
@click.option("--tests", "with_tests", is_flag=True, help="Run the default tests of each tree: minutes.")
@click.option("--ttft", "with_ttft", is_flag=True, help="Time first tokens: 20 GB of disk, 12 GB of memory, minutes.")
@click.option("--rounds", type=click.IntRange(min=1), default=9, show_default=True, help="Answers that are timed.")
@click.option("--threads", type=click.IntRange(min=1), default=2, show_default=True, help="Of the answers.")
@click.option("--names", is_flag=True, help="List the literals that name a graph or a cache, and the circles.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def main(
    against: str | None, with_tests: bool, with_ttft: bool, rounds: int, threads: int, names: bool, as_json: bool
) -> None:
    """Measure the source tree, and that of another commit beside it."""
    if names:
        found = tree.probe(ROOT, "imports")
        for circle in tree.circles(tree.rooms(found["imports"], found["packages"])):
            print("circle:", ", ".join(circle))
        print(*tree.literals(ROOT), sep="\n")
        return
    with ExitStack() as stack:
        roots = {} if against is None else {against: stack.enter_context(checked_out(against))}
        roots["this tree"] = ROOT
        columns = {name: measure(root) for name, root in roots.items()}
        for name, root in roots.items() if with_tests else ():
            columns[name] |= tests(root)
        if with_ttft:
            timed = first_tokens(list(roots.values()), rounds, threads)
            columns = {name: columns[name] | more for name, more in zip(roots, timed, strict=True)}
    print(json.dumps(columns, indent=2, ensure_ascii=False) if as_json else table(columns))


if __name__ == "__main__":
    main()
