"""Bundles that are right: opened and verified."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from clasp_trt import schedule
from clasp_trt.bundle import (
    MANIFEST,
    POLICY,
    Bundle,
    HashMismatch,
    InconsistentManifest,
    Media,
    MissingFile,
    Segment,
    Source,
    tree,
    write,
)
from clasp_trt.errors import PolicyError
from clasp_trt.policy import prior
from clasp_trt.storage import hashes
from tests.bundle.written import WEIGHTS, build, fill, graphs_of, manifest
from tests.mistakes import says


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


def test_another_method_is_kept_with_the_ports_that_it_reads(tmp_path: Path) -> None:
    assert "method" not in json.loads((build(tmp_path / "clasp").root / MANIFEST).read_text())
    other = replace(manifest(), method="fastv")
    opened = build(tmp_path / "fastv", made_of=replace(other, graphs=graphs_of(other))).manifest
    assert opened.method == "fastv"
    with pytest.raises(RuntimeError, match="gram"):
        build(tmp_path / "mixed", made_of=other)


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


def test_the_manifest_is_json_a_person_can_read(tmp_path: Path) -> None:
    text = (build(tmp_path / "out").root / MANIFEST).read_text(encoding="utf-8")
    assert json.loads(text)["schema"] == 2
    assert text.endswith("}\n")
    assert "\n  " in text
