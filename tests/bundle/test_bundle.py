"""Bundles that are right: opened, verified and written; and destinations that survive whatever interrupts a build."""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import stat
import subprocess
import sys
import textwrap
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from clasp_trt import schedule
from clasp_trt.bundle import (
    MANIFEST,
    POLICY,
    Bundle,
    DecoderDims,
    Graph,
    HashMismatch,
    InconsistentManifest,
    Manifest,
    Media,
    Medium,
    MissingFile,
    ModelInfo,
    NotABundle,
    Run,
    Segment,
    Sequential,
    Source,
    Square,
    VisionDims,
    tree,
    write,
    writer,
)
from clasp_trt.chain import Chain, ports
from clasp_trt.errors import OutputError, PolicyError
from clasp_trt.policy import prior
from clasp_trt.storage import folders, hashes, leftovers
from tests.mistakes import says
from tests.started import own_environment

WEIGHTS = bytes(range(256)) * 8


def manifest(label: str = "first") -> Manifest:
    tokens, layers = 16, 4
    without = Manifest(
        model=ModelInfo(
            model_type="llava",
            name="tiny",
            vision=VisionDims(4, 8, feature_layer=3, saliency="cls"),
            tokens=(tokens,) * 3,
            decoder=DecoderDims(layers, 8, heads=2, kv_heads=1, head_dim=4, vocab_size=32, axes=1, visible="causal"),
            stop_token_ids=(2,),
        ),
        media=Media(
            Medium(
                Square(24, 6, 24, None, "bicubic", 1 / 255, (0.48, 0.46, 0.41), (0.27, 0.26, 0.28)),
                Run("<image>", "<image>", 31, "", "\n"),
                Sequential(0),
            )
        ),
        precision="fp32",
        prune_at="decoder",
        schedule=schedule.given(tokens, layers, (8, 2), prune_layers=(0, 2)),
        budget=None,
        max_context=64,
        opset=24,
        graphs=(),
        segments=(Segment("segment_0", 0, 0, 64), Segment("segment_1", 1, 2, 56), Segment("segment_2", 3, 3, 50)),
        backend="onnxruntime",
        target="cpu",
        versions={"clasp-trt": "0.1.0", "label": label},
    )
    return replace(without, graphs=graphs_of(without))


def graphs_of(made_of: Manifest) -> tuple[Graph, ...]:
    """The graphs that the schedule and the segments of a manifest ask for."""
    chain = Chain.of(made_of.schedule, [(each.first_layer, each.last_layer) for each in made_of.segments])
    found = [
        ("vision", ports.square_vision(24, 2, 16, 8, 3, "float32")),
        ("projector", ports.projector(2, 16, 8, 8, "float32")),
        *ports.decoder(chain, made_of.model.decoder, made_of.max_context, "float32"),
    ]
    return tuple(
        Graph(name, f"graphs/{name}.onnx", *(tuple(each.spec for each in side) for side in (given, made)))
        for name, (given, made) in found
    )


def fill(root: Path) -> None:
    (root / "graphs").mkdir()
    for graph in manifest().graphs:
        (root / graph.path).write_bytes(WEIGHTS)
    (root / POLICY).write_text(prior((1, 3), 3).dumps(), encoding="utf-8")


def build(
    destination: Path,
    label: str = "first",
    *,
    force: bool = False,
    made_of: Manifest | None = None,
    edit: Callable[[Path], object] = lambda root: None,
) -> Bundle:
    """Write the sample, or a bundle ``made_of`` another manifest, with its staging folder edited."""
    with write(destination, force=force) as making:
        fill(making.root)
        edit(making.root)
        return making.commit(made_of or manifest(label))


def label(bundle: Bundle) -> str:
    return bundle.manifest.versions["label"]


# Opening


def test_what_was_written_is_what_opens(tmp_path: Path) -> None:
    written = build(tmp_path / "out")
    opened = Bundle.open(tmp_path / "out", verify=True)
    assert opened.manifest == written.manifest == replace(manifest(), files=written.manifest.files)
    assert sorted(opened.manifest.files) == sorted([*(graph.path for graph in manifest().graphs), POLICY])
    assert opened.path("graphs/segment_1.onnx").read_bytes() == WEIGHTS
    assert opened.graph("segment_2").inputs[0].shape == ("slots", "sequence", 8)
    assert opened.policy.layers == (1, 3)


@pytest.mark.parametrize("source", [Source("llava-hf/llava", "main", "0" * 40), Source("me/mine", None, None)])
def test_where_a_model_was_fetched_from_is_kept(tmp_path: Path, source: Source) -> None:
    made = replace(manifest(), model=replace(manifest().model, source=source))
    assert build(tmp_path / "bundle", made_of=made).manifest.model.source == source


def test_a_square_of_two_edges_is_kept(tmp_path: Path) -> None:
    image = manifest().media.image
    square = replace(image.processor, longest_edge=48)
    made = replace(manifest(), media=Media(replace(image, processor=square)))
    assert build(tmp_path / "bundle", made_of=made).manifest.media.image.processor == square


def test_how_many_pictures_is_kept(tmp_path: Path) -> None:
    assert "images" not in json.loads((build(tmp_path / "one").root / MANIFEST).read_text())["media"]
    several = replace(manifest(), media=replace(manifest().media, images=3))
    several = replace(several, model=replace(several.model, tokens=several.media.token_range))
    several = replace(several, schedule=schedule.none(48, 4), prune_at="none", budget=None)
    several = replace(several, max_context=96, segments=(Segment("segment_0", 0, 3, 96),))
    opened = build(tmp_path / "several", made_of=replace(several, graphs=graphs_of(several))).manifest
    assert (opened.media.images, opened.model.tokens, opened.model.varies) == (3, (16, 16, 48), True)


def test_equal_builds_are_equal_bytes_and_a_bundle_can_be_moved(tmp_path: Path) -> None:
    one, two = build(tmp_path / "one").root, build(tmp_path / "two").root
    assert (one / MANIFEST).read_bytes() == (two / MANIFEST).read_bytes()
    assert str(tmp_path).encode() not in (one / MANIFEST).read_bytes()
    one.rename(tmp_path / "moved")
    Bundle.open(tmp_path / "moved", verify=True)


@pytest.mark.parametrize(
    ("at", "stages"),
    [("encoder", schedule.encoder(16, 4, 5)), ("none", schedule.none(16, 4))],
)
def test_one_segment_without_stages_in_the_decoder(tmp_path: Path, at: str, stages: schedule.Schedule) -> None:
    capacity = 64 - (16 - min(stages.keeps, default=16))
    segments = (Segment("segment_0", 0, 3, capacity),)
    whole = replace(manifest(), prune_at=at, schedule=stages, segments=segments)
    build(tmp_path / "out", made_of=replace(whole, graphs=graphs_of(whole)))
    assert Bundle.open(tmp_path / "out").manifest.schedule == stages


def test_segments_may_be_cut_finer_than_the_schedule(tmp_path: Path) -> None:
    capacities = enumerate((64, 56, 56, 50))
    finer = replace(manifest(), segments=tuple(Segment(f"segment_{i}", i, i, slots) for i, slots in capacities))
    build(
        tmp_path / "out",
        made_of=replace(finer, graphs=graphs_of(finer)),
        edit=lambda root: (root / "graphs/segment_3.onnx").write_bytes(WEIGHTS),
    )
    assert len(Bundle.open(tmp_path / "out").manifest.segments) == 4


def test_opening_does_not_hash_and_verifying_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = build(tmp_path / "out").root
    (root / "graphs/segment_1.onnx").write_bytes(WEIGHTS[::-1])  # the same size
    with monkeypatch.context() as patch:
        patch.setattr(tree, "sha256", lambda *_: pytest.fail("opening must not hash"))
        opened = Bundle.open(root)
    with pytest.raises(HashMismatch, match=r"out: graphs/segment_1\.onnx"):
        opened.verify()
    with pytest.raises(HashMismatch):
        Bundle.open(root, verify=True)


def test_progress_counts_every_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashes, "_CHUNK_BYTES", 1000)
    heard: list[tuple[int, int]] = []
    with write(tmp_path / "out") as making:
        fill(making.root)
        bundle = making.commit(manifest(), lambda done, total: heard.append((done, total)))
    size = sum(entry.bytes for entry in bundle.manifest.files.values())
    assert heard == sorted(heard)
    assert heard[-1] == (2 * size, 2 * size)
    heard.clear()
    bundle.verify(lambda done, total: heard.append((done, total)))
    assert len(heard) > len(bundle.manifest.files)
    assert heard[-1] == (size, size)


def test_names_that_the_bundle_lacks(tmp_path: Path) -> None:
    bundle = build(tmp_path / "out")
    with pytest.raises(MissingFile, match=r"'\.\./secret'"):
        bundle.path("../secret")
    with pytest.raises(InconsistentManifest, match=r"no 'segment_3' \(there are: .*segment_2"):
        bundle.graph("segment_3")


def test_a_policy_for_a_deeper_tower_is_refused(tmp_path: Path) -> None:
    deeper = prior((3, 5), 3).dumps()
    with pytest.raises(PolicyError, match=r"5.*4 layers"):
        build(tmp_path / "out", edit=lambda root: (root / POLICY).write_text(deeper, encoding="utf-8"))
    assert os.listdir(tmp_path) == []


def test_a_policy_of_other_than_the_graphs_layers_is_refused(tmp_path: Path) -> None:
    fewer = prior((3,), 3).dumps()
    with pytest.raises(PolicyError) as error:
        build(tmp_path / "out", edit=lambda root: (root / POLICY).write_text(fewer, encoding="utf-8"))
    says(error, "policy.json", "1 vision layers", "'vision' gives 2")


# Writing


def test_nothing_is_visible_before_the_commit(tmp_path: Path) -> None:
    with write(tmp_path / "out") as making:
        fill(making.root)
        assert making.root.parent == tmp_path  # the same file system, so that a rename suffices
        assert str(os.getpid()) in making.root.name
        assert not (tmp_path / "out").exists()
        making.commit(manifest())
    assert os.listdir(tmp_path) == ["out"]


@pytest.mark.parametrize("error", [None, ValueError, KeyboardInterrupt, SystemExit])
def test_without_a_commit_nothing_stays(tmp_path: Path, error: type[BaseException] | None) -> None:
    def start() -> None:
        with write(tmp_path / "a" / "b" / "out") as making:
            fill(making.root)
            if error is not None:
                raise error

    if error is None:
        start()
    else:
        with pytest.raises(error):
            start()
    assert os.listdir(tmp_path) == []


def test_parents_are_made_and_a_link_is_followed(tmp_path: Path) -> None:
    build(tmp_path / "a" / "b" / "out")
    (tmp_path / "link").symlink_to(tmp_path / "a" / "b" / "out")
    build(tmp_path / "link", "second", force=True)
    assert (tmp_path / "link").is_symlink()
    assert label(Bundle.open(tmp_path / "link")) == label(Bundle.open(tmp_path / "a/b/out")) == "second"
    assert os.listdir(tmp_path / "a" / "b") == ["out"]


@pytest.mark.parametrize(("umask", "file", "folder"), [(0o022, 0o644, 0o755), (0o077, 0o600, 0o700)])
def test_modes_follow_the_umask_whatever_the_sources_had(tmp_path: Path, umask: int, file: int, folder: int) -> None:
    before = os.umask(umask)
    try:
        with write(tmp_path / "out") as making:
            fill(making.root)
            (making.root / "graphs").chmod(0o700)
            for i, mode in enumerate((0o600, 0o777, 0o444)):
                (making.root / f"graphs/segment_{i}.onnx").chmod(mode)
            making.commit(manifest())
    finally:
        os.umask(before)
    for path in [tmp_path / "out", *(tmp_path / "out").rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (folder if path.is_dir() else file), path


def test_an_existing_bundle_is_replaced_by_force_alone(tmp_path: Path) -> None:
    build(tmp_path / "out")
    with pytest.raises(OutputError, match="--force"):
        build(tmp_path / "out", "second")
    assert label(Bundle.open(tmp_path / "out", verify=True)) == "first"
    build(tmp_path / "out", "second", force=True)
    assert label(Bundle.open(tmp_path / "out", verify=True)) == "second"
    assert os.listdir(tmp_path) == ["out"]


def test_force_replaces_a_damaged_bundle_and_an_empty_folder(tmp_path: Path) -> None:
    (build(tmp_path / "damaged").root / MANIFEST).write_text("{")
    (tmp_path / "empty").mkdir()
    for name in ("damaged", "empty"):
        assert label(build(tmp_path / name, "second", force=True)) == "second"


def _notes(root: Path) -> None:
    root.mkdir()
    (root / "notes.txt").write_text("mine")


def _notes_in_a_bundle(root: Path) -> None:
    build(root)
    (root / "notes.txt").write_text("mine")


def _link_in_a_bundle(root: Path) -> None:
    build(root)
    (root / "notes").symlink_to("elsewhere")


def _link_as_manifest(root: Path) -> None:
    root.mkdir()
    (root / MANIFEST).symlink_to("elsewhere")


@pytest.mark.parametrize(
    "occupy",
    [_notes, _notes_in_a_bundle, _link_in_a_bundle, _link_as_manifest, lambda root: root.write_text("mine")],
)
@pytest.mark.parametrize("force", [False, True])
def test_what_is_not_the_bundle_s_is_never_removed(
    tmp_path: Path, occupy: Callable[[Path], object], force: bool
) -> None:
    occupy(tmp_path / "out")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(OutputError) as refused:
        build(tmp_path / "out", force=force)
    assert "--force" not in str(refused.value)  # it would not help
    assert sorted(tmp_path.rglob("*")) == before


def test_a_destination_that_appears_meanwhile_is_kept(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="exists"):
        build(tmp_path / "out", "slower", edit=lambda _: build(tmp_path / "out", "faster"))
    assert label(Bundle.open(tmp_path / "out", verify=True)) == "faster"
    assert os.listdir(tmp_path) == ["out"]


def test_two_builds_do_not_replace_the_same_bundle_at_once(tmp_path: Path) -> None:
    held = leftovers.Lock()
    assert held.acquire(build(tmp_path / "out").root)
    with pytest.raises(OutputError, match="another run is replacing"):
        build(tmp_path / "out", "second", force=True)
    held.release()
    assert label(Bundle.open(tmp_path / "out", verify=True)) == "first"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"precision": "fp64"}, "precision: expected one of fp32"),
        ({"graphs": ()}, "there is no graph 'segment_0'"),
        ({"stop_tokens": [2]}, "reads back as another manifest"),
    ],
)
def test_a_builder_s_mistake_is_a_traceback(tmp_path: Path, change: dict[str, Any], problem: str) -> None:
    tokens = change.pop("stop_tokens", None)
    wrong = replace(manifest(), **change)
    if tokens is not None:
        wrong = replace(wrong, model=replace(wrong.model, stop_token_ids=tokens))
    with pytest.raises(RuntimeError, match=problem):
        build(tmp_path / "out", made_of=wrong)
    assert os.listdir(tmp_path) == []


# A disk that refuses


@pytest.mark.parametrize("name", ["/", "a\0b", "file/out", "x" * 250])
def test_a_place_that_cannot_be(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError) as refused:
        build(tmp_path / name)
    assert "\n" not in str(refused.value)
    assert str(refused.value).isprintable()
    assert os.listdir(tmp_path) == ["file"]


def test_a_parent_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def mkdir(path: str, mode: int = 0o777) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)  # root obeys no mode bits

    monkeypatch.setattr(os, "mkdir", mkdir)
    with pytest.raises(OutputError, match=r"permission denied at.*building"):
        build(tmp_path / "out")


def test_a_file_that_does_not_fit_is_one_line(tmp_path: Path) -> None:
    def write_too_much(root: Path) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
        try:
            (root / "weights").write_bytes(bytes(8192))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    build(tmp_path / "out")
    with pytest.raises(OutputError, match=r"file-size.*0\.00 GB.*make room"):
        build(tmp_path / "out", "second", force=True, edit=write_too_much)
    assert label(Bundle.open(tmp_path / "out", verify=True)) == "first"
    assert os.listdir(tmp_path) == ["out"]


@pytest.mark.parametrize("error", [OSError(errno.EPIPE, "pipe"), FileNotFoundError(errno.ENOENT, "no", "/source")])
def test_errors_about_other_files_pass(tmp_path: Path, error: OSError) -> None:
    with pytest.raises(OSError) as raised, write(tmp_path / "out"):  # noqa: PT011 (identity is asserted)
        raise error
    assert raised.value is error


def test_a_disk_that_fills_at_any_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each system call in turn that can need room fails once."""
    calls, failing = 0, 0

    def fails(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == failing:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return function(*arguments, **options)

        return call

    for name in ("mkdir", "rename", "fsync", "chmod"):
        monkeypatch.setattr(os, name, fails(getattr(os, name)))
    out = tmp_path / "out"
    refused = 0
    build(out)
    while calls >= failing:
        before = label(Bundle.open(out, verify=True))
        calls, failing = 0, failing + 1
        said = ""
        try:
            build(out, f"{failing}", force=True)
        except OutputError as error:
            said = str(error)
            refused += 1
        assert not said or "no space left on the device" in said
        now = label(Bundle.open(out, verify=True))
        assert now in (before, f"{failing}")
        assert os.listdir(tmp_path) == ["out"]
    assert refused > 10


# Interruptions at every line

TRACED = {writer.__file__, folders.__file__, leftovers.__file__}


def strike(at: int, act: Callable[[FrameType], None]) -> Callable[[], int]:
    """Run ``act`` on the ``at``-th line that the writer executes; returns a function that stops and counts lines.

    Of a line that is executed often (once per file, or for each caller), the first two times count.
    """
    lines = 0
    times: Counter[tuple[str, int]] = Counter()

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal lines
        if frame.f_code.co_filename not in TRACED or "__del__" in (frame.f_code.co_name, _caller(frame)):
            return None  # whatever is raised in a finalizer, Python drops
        if event == "line":
            here = (frame.f_code.co_filename, frame.f_lineno)
            times[here] += 1
            if times[here] <= 2:
                lines += 1
                if lines == at:
                    act(frame)
        return trace

    sys.settrace(trace)

    def stop() -> int:
        sys.settrace(None)
        return lines

    return stop


def _caller(frame: FrameType) -> str:
    return frame.f_back.f_code.co_name if frame.f_back else ""


@pytest.fixture
def _no_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)  # hundreds of builds; a power cut is not simulated


@pytest.fixture
def _keep_tracer() -> Iterator[None]:
    before = sys.gettrace()  # a coverage tool's
    yield
    sys.settrace(before)


CLEANING = {"remove", "discard", "retire", "sweep", "restore", "_if_dead", "siblings", "release"}


@pytest.mark.usefixtures("_no_fsync", "_keep_tracer")
@pytest.mark.parametrize(
    ("older", "step"),
    [
        (False, 19),
        (True, 19),
        pytest.param(True, 1, marks=pytest.mark.full),
        pytest.param(False, 1, marks=pytest.mark.slow),
    ],
)
def test_an_interrupt_anywhere_leaves_nothing_behind(tmp_path: Path, older: bool, step: int) -> None:
    out, at, lines, dirty = tmp_path / "out", 0, 1, 0
    where = ""

    def interrupt(frame: FrameType) -> None:
        nonlocal where
        where = frame.f_code.co_name
        raise KeyboardInterrupt

    build(out, "older")
    while at < lines:
        at += step
        if not older:
            leftovers.discard(out)
        stop = strike(at, interrupt)
        try:
            build(out, "newer", force=True)
            lines = stop()
        except KeyboardInterrupt:
            lines = stop() + 1
        if os.listdir(tmp_path) not in ([], ["out"]):  # the interrupt hit the cleaning itself
            assert where in CLEANING | {"write"}
            dirty += 1
        try:
            assert label(Bundle.open(out, verify=True)) in ("older", "newer")
        except NotABundle:
            assert not older
        build(out, "older", force=True)
        assert os.listdir(tmp_path) == ["out"]
    assert at > 100
    assert dirty < at / step / 4


@pytest.mark.usefixtures("_no_fsync", "_keep_tracer")
@pytest.mark.parametrize(
    ("older", "step"),
    [
        (False, 29),
        (True, 29),
        pytest.param(True, 1, marks=pytest.mark.full),
        pytest.param(False, 1, marks=pytest.mark.slow),
    ],
)
def test_a_kill_anywhere_loses_no_bundle(tmp_path: Path, older: bool, step: int) -> None:
    """A child kills itself with SIGKILL at every ``step``-th line; the parent then opens, and builds again."""
    out, at, survived, restored = tmp_path / "out", 0, False, 0
    build(out, "older")
    while not survived:
        at += step
        if not older:
            leftovers.discard(out)
        child = os.fork()
        if child == 0:
            strike(at, lambda _: os.kill(os.getpid(), signal.SIGKILL))
            build(out, "newer", force=True)
            os._exit(0)
        survived = os.waitpid(child, 0)[1] == 0
        restored += older and not out.exists()
        try:
            assert label(Bundle.open(out, verify=True)) in (("older", "newer") if older else ("newer",))
        except NotABundle:
            assert not older
        build(out, "older", force=True)
        assert os.listdir(tmp_path) == ["out"]
    assert at > 100
    assert restored or not older or step > 1  # some kill did fall between the two renames


def test_a_killed_build_in_another_process_is_swept_and_a_living_one_is_not(tmp_path: Path) -> None:
    build(tmp_path / "out")
    script = f"""
        import sys, time
        from clasp_trt.bundle import write
        with write({str(tmp_path / "out")!r}, force=True) as making:
            (making.root / "half").write_bytes(bytes(1000))
            print(making.root.name, flush=True)
            time.sleep(60)
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    other = subprocess.Popen(command, env=own_environment(), stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout is not None
        staging = other.stdout.readline().strip()
        build(tmp_path / "out", "second", force=True)
        assert sorted(os.listdir(tmp_path)) == sorted([staging, "out"])
        assert (tmp_path / staging / "half").exists()
    finally:
        other.kill()
        other.communicate()
    assert label(Bundle.open(tmp_path / "out", verify=True)) == "second"
    build(tmp_path / "out", "third", force=True)
    assert os.listdir(tmp_path) == ["out"]


def test_a_half_removed_bundle_never_counts_as_an_older_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[Path]] = []
    discard = leftovers.discard

    def watch(folder: Path) -> None:
        seen.append(leftovers.siblings(tmp_path / "out", leftovers.REPLACED))
        discard(folder)

    build(tmp_path / "out")
    monkeypatch.setattr(leftovers, "discard", watch)
    build(tmp_path / "out", "second", force=True)
    assert seen
    assert not any(seen)


def test_folders_that_only_look_like_leftovers_are_kept(tmp_path: Path) -> None:
    kept = [".out.building-1-notours", ".out.building", ".out2.building-1-00000000", "x.out.building-1-00000000"]
    for name in kept:
        (tmp_path / name).mkdir()
    build(tmp_path / "out")
    assert sorted(os.listdir(tmp_path)) == sorted([*kept, "out"])


def test_a_replacement_under_way_is_said_to_be(tmp_path: Path) -> None:
    aside = tmp_path / f".out.replaced-{os.getpid()}-00000000"
    build(tmp_path / "out").root.rename(aside)
    held = leftovers.Lock()
    assert held.acquire(aside)
    with pytest.raises(NotABundle, match="is being replaced"):
        Bundle.open(tmp_path / "out")
    held.release()
    assert label(Bundle.open(tmp_path / "out", verify=True)) == "first"


def test_the_manifest_is_json_a_person_can_read(tmp_path: Path) -> None:
    text = (build(tmp_path / "out").root / MANIFEST).read_text(encoding="utf-8")
    assert json.loads(text)["schema"] == 2
    assert text.endswith("}\n")
    assert "\n  " in text
