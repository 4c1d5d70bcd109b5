"""The words of ``serve run`` become a cluster, or one line says which is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from clasp_trt.errors import RequestError
from clasp_trt.runtime.serving.cluster.wanted import wanted
from tests.mistakes import says


def test_words_are_read(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("secret\n")
    found = wanted(
        {"bundle": "a,b", "replicas": "2", "max_replicas": "4", "slots": "8", "queue": "0", "gpus": "0.5"}
        | {"cpus": "0", "threads": "1", "model_name": "m", "api_key_file": str(tmp_path / "key")}
    )
    assert (found.bundles, found.replicas, found.max_replicas, found.slots) == (("a", "b"), 2, 4, 8)
    assert (found.queue, found.gpus, found.cpus, found.threads, found.model_name) == (0, 0.5, 0, 1, "m")
    assert found.settings.key == "secret"
    assert "secret" not in repr(found)
    assert wanted({"bundle": "a"}).settings.key is None


@pytest.mark.parametrize(
    ("args", "facts"),
    [
        ({}, ["bundle"]),
        ({"bundle": ""}, ["bundle"]),
        ({"bundle": "a", "replica": "2"}, ["replica=2", "replicas"]),
        ({"bundle": "a", "replicas": "0"}, ["replicas=0"]),
        ({"bundle": "a", "slots": "-1"}, ["slots=-1"]),
        ({"bundle": "a", "gpus": "all"}, ["gpus=all"]),
        ({"bundle": "a", "gpus": "nan"}, ["gpus=nan"]),
        ({"bundle": "a", "api_key_file": "/nowhere/key"}, ["/nowhere/key"]),
        ({"bundle": "a", "api_key_file": "/dev/null"}, ["/dev/null", "empty"]),
    ],
    ids=str,
)
def test_mistakes_name_the_word(args: dict[str, str], facts: list[str]) -> None:
    with pytest.raises(RequestError) as error:
        wanted(args)
    says(error, *facts)
