"""Builds that are ended at any moment, have no room, or meet one another: an older bundle is never lost.

The builds run in forks of one process that has everything imported, so that one takes a fraction of a second, and a
signal may fall anywhere in it.
"""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import clasp_trt.engines.onnxruntime
import clasp_trt.runtime.pipeline
import clasp_trt.tools.build.compiler  # noqa: F401  all of them before the forks
from clasp_trt.bundle import MANIFEST, Bundle
from clasp_trt.cli import main
from clasp_trt.errors import ClaspError
from clasp_trt.storage import leftovers
from tests.attack import judging
from tests.house import ROOT
from tests.started import own_environment

PATIENCE_S = 40.0
SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
THREAD_DATA = "cannot allocate memory for thread-local data: ABORT"
"""With these words the C library itself ends a process, which no program can keep it from."""
PICTURE = ROOT / "examples" / "photos" / "coffee.jpg"


class Fork:
    """A command in a fork; ``prepare`` runs there first."""

    def __init__(self, words: list[str], folder: Path, prepare: Callable[[], object] = lambda: None) -> None:
        self._said = folder / f"stderr-{time.monotonic_ns()}"
        self.pid = os.fork()
        if self.pid == 0:
            code = 99
            try:
                self._become(words, prepare)
            except SystemExit as ended:
                code = int(ended.code or 0)
            except BaseException:
                import traceback

                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(code)

    def _become(self, words: list[str], prepare: Callable[[], object]) -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        sys.stderr = self._said.open("w", buffering=1, encoding="utf-8")
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - for the rest of the process
        prepare()
        main.main(words, "clasp-trt")

    def end(self, number: int | None = None) -> tuple[int, str]:
        """Exit code, negative for a signal, and what was said; with ``number``, after that signal."""
        if number is not None:
            os.kill(self.pid, number)
        until = time.monotonic() + PATIENCE_S
        while True:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                break
            if time.monotonic() > until:
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
                return -999, "hang"
            time.sleep(0.002)
        said = self._said.read_text(encoding="utf-8") if self._said.exists() else ""
        return os.waitstatus_to_exitcode(status), said


class Attack:
    """Completes a portable bundle over an older one that is told apart from it."""

    def __init__(self, material: Path) -> None:
        self._portable, self._bundle = material / "portable", material / "bundle"
        self._new = (self._bundle / MANIFEST).read_bytes()
        self._can_mount = os.geteuid() == 0 and shutil.which("mount") is not None
        with tempfile.TemporaryDirectory(prefix="attacked-") as folder:
            began = time.monotonic()
            code, said = self._build(Path(folder) / "out", Path(folder)).end()
            self._seconds = time.monotonic() - began
            if code != 0 or (Path(folder) / "out" / MANIFEST).read_bytes() != self._new:
                raise RuntimeError(f"a build that nobody disturbs: {code} {said}")

    def __call__(self, draw: random.Random) -> str | None:
        ways = [self._signal, self._signal, self._signal, self._file_limit, self._two_at_once, self._elsewhere,
                self._memory]  # fmt: skip
        if self._can_mount:
            ways += [self._small_disk, self._mounted]
        way = draw.choice(ways)
        with tempfile.TemporaryDirectory(prefix="attacked-") as folder:
            wrong = way(draw, Path(folder))
        return None if wrong is None else f"{way.__name__.strip('_')}: {wrong}"

    # --- ways -----------------------------------------------------------------------------------------------

    def _signal(self, draw: random.Random, folder: Path) -> str | None:
        """At any moment, seldom after the end; and then what the next build finds."""
        number, had = draw.choice(SIGNALS), draw.random() < 0.7
        place = self._place(folder, had)
        build = self._build(place, folder)
        time.sleep(draw.random() * self._seconds * 1.05)
        code, said = build.end(number)
        allowed = (0, -number) if number == signal.SIGKILL else (0, -number, 128 + number)
        wrong = judging.of_command(code, said, allowed) or self._found(place, had)
        if wrong is None and number != signal.SIGKILL:
            wrong = self._alone(place)
        if wrong is None and draw.random() < 0.2:
            code, said = self._build(place, folder).end()
            wrong = judging.of_command(code, said, (0,)) or self._alone(place)
        if wrong is None:
            leftovers.sweep(place)
            wrong = self._alone(place) or self._found(place, had)
        return wrong

    def _file_limit(self, draw: random.Random, folder: Path) -> str | None:
        """A limit on the size of files, which ends a write half way."""
        sizes = sorted(entry["bytes"] for entry in json.loads(self._new)["files"].values())
        limit = draw.randrange(1, sizes[-1] + 1)
        had = draw.random() < 0.7
        place = self._place(folder, had)
        build = self._build(place, folder, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
        return judging.of_command(*build.end(), (0, 2)) or self._found(place, had) or self._alone(place)

    def _small_disk(self, draw: random.Random, folder: Path) -> str | None:
        """A disk that ends anywhere in the build."""
        total = sum(entry["bytes"] for entry in json.loads(self._new)["files"].values())
        disk = folder / "disk"
        disk.mkdir()
        size = draw.randrange(64 << 10, 2 * total)
        with _Mounted(disk, f"size={size}") as mounted:
            if not mounted:
                return None
            code, said = self._build(disk / "new" / "out", folder).end()
            wrong = judging.of_command(code, said, (0, 2))
            if wrong is None and code == 2:
                wrong = None if os.listdir(disk) == [] else f"leftovers {os.listdir(disk)}"
            return wrong or self._found(disk / "new" / "out", False)

    def _mounted(self, draw: random.Random, folder: Path) -> str | None:
        """A destination that cannot be renamed, for it is a mount of its own."""
        place = folder / "in" / "out"
        place.mkdir(parents=True)
        with _Mounted(place, "size=64m") as mounted:
            if not mounted:
                return None
            had = draw.random() < 0.5
            if had:
                self._older(place)
            code, said = self._build(place, folder).end()
            wrong = judging.of_command(code, said, (2,)) or self._alone(place)
            return wrong or (self._found(place, had) if had else None)

    def _two_at_once(self, draw: random.Random, folder: Path) -> str | None:
        """Two builds of one place, of which one at least wins."""
        had = draw.random() < 0.5
        place = self._place(folder, had)
        first = self._build(place, folder)
        time.sleep(draw.random() * self._seconds)
        second = self._build(place, folder)
        ends = [first.end(), second.end()]
        for code, said in ends:
            if (wrong := judging.of_command(code, said, (0, 2))) is not None:
                return wrong
        if all(code for code, _ in ends):
            return f"neither won: {ends}"
        return self._found(place, had, (self._new,)) or self._alone(place)

    def _elsewhere(self, draw: random.Random, folder: Path) -> str | None:
        """A link that leads to another file system, which no rename crosses."""
        shared = Path("/dev/shm")
        if not os.access(shared, os.W_OK):
            return None
        with tempfile.TemporaryDirectory(prefix="attacked-", dir=shared) as other:
            had = draw.random() < 0.5
            place = self._place(Path(other), had)
            (folder / "in").mkdir()
            link = folder / "in" / "link"
            link.symlink_to(place)
            build = self._build(link, folder)
            kill = draw.random() < 0.5
            time.sleep(draw.random() * self._seconds if kill else 0)
            code, said = build.end(signal.SIGKILL if kill else None)
            wrong = judging.of_command(code, said, (0, -signal.SIGKILL) if kill else (0,))
            leftovers.sweep(place)
            wrong = wrong or self._found(place, had) or self._alone(place)
            return wrong or (None if link.is_symlink() else "the link is gone")

    def _memory(self, draw: random.Random, folder: Path) -> str | None:
        """An answer in an address space that ends anywhere."""
        limit = draw.randrange(250, 800) << 20
        words = ["run", self._bundle, "--image", PICTURE, "--prompt", "What is this?", "--max-new-tokens", 2]
        done = subprocess.run(
            [sys.executable, "-m", "clasp_trt", *map(str, words)],
            env=own_environment(PYTHONPATH=str(ROOT), OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1"),
            cwd=folder,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=PATIENCE_S,
            check=False,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
        )
        if done.returncode == 0:
            return None
        if THREAD_DATA in done.stderr:
            return None
        wrong = judging.of_command(done.returncode, done.stderr, (2,))
        if wrong is None and any(word in done.stderr for word in ("damaged", "pip install", "rebuild")):
            wrong = f"memory is called something else: {done.stderr}"
        return wrong and f"{limit >> 20} MiB: {wrong}"

    # --- what is there --------------------------------------------------------------------------------------

    def _build(self, place: Path, folder: Path, prepare: Callable[[], object] = lambda: None) -> Fork:
        return Fork(["build", str(self._portable), "-o", str(place), "--force"], folder, prepare)

    def _place(self, folder: Path, had: bool) -> Path:
        place = folder / "in" / "out"
        place.parent.mkdir()
        if had:
            place.mkdir()
            self._older(place)
        return place

    def _older(self, place: Path) -> None:
        """An older bundle: the same but for a word of its manifest."""
        shutil.copytree(self._bundle, place, dirs_exist_ok=True)
        (place / MANIFEST).write_bytes(self._old)

    @property
    def _old(self) -> bytes:
        content = json.loads(self._new)
        content["versions"]["clasp-trt"] = "older"
        return json.dumps(content).encode()

    def _found(self, place: Path, had: bool, may_be: tuple[bytes, ...] = ()) -> str | None:
        """A reader finds the older bundle or the new one, whole; nothing only where there was nothing."""
        may_be = may_be or ((self._old, self._new) if had else (self._new,))
        try:
            Bundle.open(place, verify=True)
        except ClaspError as error:
            if not had and not place.exists():
                return None
            return f"a reader finds: {error}"
        return None if (place / MANIFEST).read_bytes() in may_be else "a bundle that nobody wrote"

    def _alone(self, place: Path) -> str | None:
        """Nothing lies beside."""
        beside = [name for name in os.listdir(place.parent) if name != place.name] if place.parent.exists() else []
        return f"leftovers {beside}" if beside else None


class _Mounted:
    """A file system of its own at ``place``; false where none may be mounted."""

    def __init__(self, place: Path, options: str) -> None:
        self._place = place
        line = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
        done = subprocess.run(line, env=own_environment(), check=False, capture_output=True)
        self._done = done.returncode == 0

    def __enter__(self) -> bool:
        return self._done

    def __exit__(self, *error: object) -> None:
        if self._done:
            subprocess.run(["umount", self._place], env=own_environment(), check=True)
