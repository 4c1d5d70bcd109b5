"""The key ``generation`` of a manifest, and bundles from before it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from clasp_trt import bundle as b
from clasp_trt.bundle import Bundle
from clasp_trt.errors import BundleError
from clasp_trt.generation import Generation
from tests.bundle.written import build, manifest
from tests.mistakes import says

ALL = Generation(
    do_sample=True, temperature=0.5, top_h=0.4, top_k=5, top_p=0.9, min_p=0.1, typical_p=0.8, epsilon_cutoff=0.01,
    eta_cutoff=0.02, sequence_bias=(((1, 2), -1.5),), encoder_repetition_penalty=1.1, repetition_penalty=1.2,
    no_repeat_ngram_size=3, encoder_no_repeat_ngram_size=4, bad_words_ids=((3,), (4, 5)), min_length=6,
    min_new_tokens=0, max_length=70, max_new_tokens=8, forced_bos_token_id=1, forced_eos_token_ids=(2,),
    exponential_decay_length_penalty=(9, 1.01), suppress_tokens=(7,), begin_suppress_tokens=(8, 99),
    stop_strings=("###", "\n"),
)  # fmt: skip


@pytest.mark.parametrize("settings", [ALL, Generation()], ids=["all", "none"])
def test_what_was_written_is_what_opens(tmp_path: Path, settings: Generation) -> None:
    build(tmp_path / "out", made_of=replace(manifest(), generation=settings))
    assert Bundle.open(tmp_path / "out", verify=True).generation == settings


def test_every_setting_is_written() -> None:
    assert set(ALL.stated()) == set(vars(ALL))


def test_what_is_off_is_not_written() -> None:
    assert Generation().stated() == {}
    assert Generation(temperature=0.5, repetition_penalty=1.2).effective() == {"repetition_penalty": 1.2}


def altered(root: Path, record: object) -> None:
    content = json.loads((root / "clasp.json").read_text())
    content["generation"] = record
    (root / "clasp.json").write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("record", "malformation", "named"),
    [
        ([], b.ManifestField, "generation"),
        ({"num_beams": 4}, b.ManifestField, "num_beams"),
        ({"temperature": 0}, b.ManifestField, "temperature"),
        ({"top_p": 1.5}, b.ManifestField, "top_p"),
        ({"top_p": None}, b.ManifestField, "top_p"),
        ({"top_p": "0.5"}, b.ManifestField, "top_p"),
        ({"min_new_tokens": -1}, b.ManifestField, "min_new_tokens"),
        ({"bad_words_ids": [[]]}, b.ManifestField, "bad_words_ids"),
        ({"stop_strings": [""]}, b.ManifestField, "stop_strings"),
        ({"stop_strings": ["\ud800"]}, b.ManifestField, "stop_strings"),
        ({"bad_words_ids": [[32]]}, b.InconsistentManifest, "generation.bad_words_ids"),
    ],
)
def test_a_record_that_breaks_the_rules(
    tmp_path: Path, record: object, malformation: type[BundleError], named: str
) -> None:
    altered(build(tmp_path / "out").root, record)
    with pytest.raises(malformation) as error:
        Bundle.open(tmp_path / "out")
    says(error, named)


def older(root: Path, content: str) -> Path:
    """A bundle without the record, which brings the checkpoint's file."""

    def add(folder: Path) -> None:
        (folder / "generation_config.json").write_text(content)

    return build(root, edit=add, made_of=replace(manifest(), generation=Generation())).root


def without_record(root: Path) -> Path:
    content = json.loads((root / "clasp.json").read_text())
    del content["generation"]
    (root / "clasp.json").write_text(json.dumps(content))
    return root


def test_an_older_bundle_is_read_by_the_file_that_it_brings(tmp_path: Path) -> None:
    root = older(tmp_path / "out", '{"eos_token_id": 2, "repetition_penalty": 1.5}')
    assert Bundle.open(root).generation == Generation(), "beside the record the file is for the record"
    assert Bundle.open(without_record(root)).generation == Generation(repetition_penalty=1.5)


def test_an_older_bundle_without_a_file_is_greedy(tmp_path: Path) -> None:
    assert Bundle.open(build(tmp_path / "out").root).generation == Generation()


@pytest.mark.parametrize(
    ("content", "malformation", "named"),
    [
        ('{"num_beams": 4}', b.InconsistentManifest, "num_beams"),
        ('{"repetition_penalty": "x"}', b.InconsistentManifest, "repetition_penalty"),
        ('{"bad_words_ids": [[32]]}', b.InconsistentManifest, "bad_words_ids"),
        ("{", b.Unreadable, "generation_config.json"),
        ("[]", b.Unreadable, "generation_config.json"),
    ],
)
def test_an_older_bundle_that_asks_for_what_cannot_be(
    tmp_path: Path, content: Any, malformation: type[BundleError], named: str
) -> None:
    root = without_record(older(tmp_path / "out", content))
    with pytest.raises(malformation) as error:
        Bundle.open(root)
    says(error, "generation_config.json", named)
