"""Which router answers: by the kind that a folder names, for the categories of the policy and no others."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from clasp_trt.bundle import Bundle
from clasp_trt.errors import RouterError
from clasp_trt.policy import CATEGORY_NAMES, prior
from clasp_trt.runtime.pipeline import load
from clasp_trt.runtime.routing import folder as folders
from clasp_trt.runtime.routing.folder import SHIPPED, RouterSpec, bundled, load_router, router_for, unreachable
from clasp_trt.runtime.routing.learned import LearnedRouter
from clasp_trt.runtime.routing.router import Route, RuleRouter, decided, forced

NAMES = ("dents", "labels", "default")
POLICY = prior([2, 3], 3)


class Fixed:
    """A router that always says the same, and notes the threshold that it was made with."""

    def __init__(self, names: Sequence[str], category: int, threshold: float = 0.0) -> None:
        self.names, self.category, self.threshold = tuple(names), category, threshold

    def route(self, prompt: str) -> Route:
        return forced(self.names, self.category)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A router of a kind that this test registers, by one line."""

    def made(spec: RouterSpec, threshold: float) -> Fixed:
        return Fixed(spec.categories, int(str(spec.fields["says"])), threshold)

    monkeypatch.setitem(sys.modules, "a_kind", SimpleNamespace(load=made))  # type: ignore[arg-type]
    monkeypatch.setattr(folders, "KINDS", {**folders.KINDS, "fixed": "a_kind"})
    return write(tmp_path / "router")


def write(folder: Path, **changes: object) -> Path:
    spec = {"schema": 1, "kind": "fixed", "categories": list(NAMES), "says": 1, **changes}
    folder.mkdir(exist_ok=True)
    (folder / "router.json").write_text(json.dumps({key: value for key, value in spec.items() if value is not None}))
    return folder


def test_the_kind_decides(folder: Path) -> None:
    router = load_router(folder, NAMES, 0.25)
    assert isinstance(router, Fixed)
    assert router.route("hello").name == "labels"
    assert router.threshold == 0.25


def test_without_a_folder_the_shipped_router_answers_or_else_the_rules() -> None:
    assert isinstance(router_for(POLICY), LearnedRouter)
    assert router_for(POLICY).names == CATEGORY_NAMES
    assert isinstance(router_for(replace(POLICY, categories=POLICY.categories[3:])), RuleRouter)
    assert unreachable(POLICY, None) == ()


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("dents", "default"), "it has 'labels', which the policy has not; make the router with the names of this"),
        (("dents", "labels", "scratches", "default"), "it has no 'scratches'; make the router"),
        (("labels", "dents", "default"), "it has another order; make the router"),
        (CATEGORY_NAMES, "it has no 'object identification', has no 'attribute"),
    ],
)
def test_other_names_are_refused_by_their_difference(folder: Path, names: Sequence[str], expected: str) -> None:
    with pytest.raises(RouterError, match=expected) as caught:
        load_router(folder, names, 0.5)
    assert str(caught.value).endswith("or give the policy that it was made for with --policy")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"schema": 2}, "schema: expected 1, the one this version reads, got 2"),
        ({"schema": None}, "missing key 'schema'"),
        ({"kind": "oracle"}, "kind: expected one of classifier, ngram, fixed, got 'oracle'"),
        ({"kind": ["fixed"]}, "kind: expected one of"),
        ({"kind": None}, "missing key 'kind'"),
        ({"categories": "default"}, "categories: expected an array"),
        ({"categories": []}, "categories: expected names that differ"),
        ({"categories": ["a", 3, "default"]}, "categories[1]: expected a string"),
        ({"categories": ["a", "a", "default"]}, "categories: expected names that differ"),
        ({"categories": ["a", "b"]}, "categories: expected names that differ, the last of them 'default'"),
    ],
)
def test_malformed_specs(folder: Path, changes: dict[str, object], expected: str) -> None:
    write(folder, **changes)
    with pytest.raises(RouterError) as caught:
        RouterSpec.read(folder)
    assert str(caught.value).startswith(f"{folder}/router.json: {expected}")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "blank"),
        ("[]", "expected an object"),
        ("{", "not JSON"),
        ("\xff", "not UTF-8"),
        ("[" * 100_000, "nested too deeply"),
        (" " * (1 << 20) + "{}", "larger than 1 MiB"),
        ('{"schema": 1, "kind": "ngram", "kind": "classifier"}', "the key 'kind' occurs twice"),
        ('{"schema": 1, "provenance": {"seed": 1, "seed": 2}}', "provenance: the key 'seed' occurs twice"),
    ],
    ids=lambda text: text[:30],
)
def test_what_is_no_spec(tmp_path: Path, text: str, expected: str) -> None:
    (tmp_path / "router.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(RouterError, match=expected) as caught:
        RouterSpec.read(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path}/router.json: ")


def test_no_router_there(tmp_path: Path) -> None:
    with pytest.raises(RouterError, match="No such file"):
        RouterSpec.read(tmp_path)


def test_files_and_their_hash(folder: Path) -> None:
    before = RouterSpec.read(folder).sha256
    for name in ("router.onnx", "notes.txt", "router.\u00fc", "routerx.json"):
        (folder / name).write_text(name)
    spec = RouterSpec.read(folder)
    assert [path.name for path in spec.files()] == ["router.json", "router.onnx"]
    assert spec.sha256 != before


def test_the_likeliest_that_reaches_the_threshold() -> None:
    assert decided(NAMES, (0.2, 0.5, 0.3), 0.5, ("x",)) == Route(1, "labels", 0.5, ("x",), (0.2, 0.5, 0.3))
    assert decided(NAMES, (0.2, 0.5, 0.3), 0.51) == Route(2, "default", 0.5, (), (0.2, 0.5, 0.3))
    assert decided(NAMES, (0.1, 0.4, 0.5), 0.3) == Route(2, "default", 0.6, (), (0.1, 0.4, 0.5))
    assert decided(("default",), (1.0,), 0.5) == Route(0, "default", 1.0, (), (1.0,))


def test_a_bundle_brings_its_router(built: Callable[..., Bundle], router: Path) -> None:
    plain, bundle = built(), built(router=str(router))
    assert RouterSpec.read(plain.root).sha256 == RouterSpec.read(SHIPPED).sha256
    assert RouterSpec.read(bundle.root).sha256 == RouterSpec.read(router).sha256
    assert bundled(bundle) == bundle.root
    pipe = load(bundle.root, threads=1)
    prompt = "how many dogs are there?"
    assert pipe.route(prompt) == load_router(router, CATEGORY_NAMES, bundle.policy.threshold).route(prompt)
    assert pipe.route(prompt) != load(plain.root, threads=1).route(prompt)
    assert set(unreachable(bundle.policy, bundled(bundle))) == set(CATEGORY_NAMES[:-1]) - {
        "counting",
        "text / symbol recognition",
    }


def test_a_router_of_ones_own(built: Callable[..., Bundle], router: Path, tmp_path: Path) -> None:
    bundle = built()
    mine = Fixed(CATEGORY_NAMES, 3)
    pipe = load(bundle.root, router=mine, threads=1)
    assert pipe.generate(None, "how many?", max_new_tokens=1).category == "scene understanding"
    assert pipe.variant(policy=bundle.policy).route("x").category == 3
    with pytest.raises(RouterError, match="the router knows the categories dents, labels, default, but the policy has"):
        load(bundle.root, router=Fixed(NAMES, 0), threads=1)
    folder = load(bundle.root, router=router, threads=1)
    assert (
        folder.route("how many").probabilities
        == load_router(router, CATEGORY_NAMES, 0.5).route("how many").probabilities
    )


def test_a_router_follows_the_policy_of_a_variant(built: Callable[..., Bundle], router: Path) -> None:
    pipe = load(built(router=str(router)).root, threads=1)
    prompt = "how many dogs are there?"
    assert pipe.route(prompt).name != "default"
    strict = pipe.variant(policy=replace(pipe.policy, threshold=1.0))
    assert strict.route(prompt).name == "default"
    assert strict.route(prompt).probabilities == pipe.route(prompt).probabilities
    renamed = (replace(pipe.policy.categories[0], name="dents"), *pipe.policy.categories[1:])
    other = replace(pipe.policy, categories=renamed)
    assert pipe.variant(policy=other).route(prompt) == RuleRouter(("dents", *CATEGORY_NAMES[1:]), 0.5).route(prompt)
    asked_for = load(built().root, router=router, threads=1)
    with pytest.raises(RouterError, match="has no 'dents', has 'object identification'"):
        asked_for.variant(policy=other)


def test_damage_is_found_when_it_is_opened(router: Path, tmp_path: Path) -> None:
    for name, expected in (
        ("router.onnx", "router.onnx: missing; make the router again"),
        ("router.tokenizer.json", "cannot read the tokenizer"),
    ):
        folder = Path(shutil.copytree(router, tmp_path / name))
        (folder / name).unlink()
        with pytest.raises(RouterError, match=expected):
            load_router(folder, CATEGORY_NAMES, 0.5)
