"""Corrupted bundles: bytes of every file, and manifests and other JSON changed by their structure, often hashed anew.

A bundle whose listed bytes changed without its hashes must be refused. What was hashed anew may answer anything, or is
refused in one line; and what ``verify`` finds whole, ``run`` can run.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import clasp_trt
from clasp_trt.bundle import MANIFEST, Bundle
from clasp_trt.errors import ClaspError
from clasp_trt.tools.profile.workload import noise
from clasp_trt.tools.verify.integrity import check
from tests.attack import judging, mutate

PROMPT = "What is this?"
SEALED = 0.8
"""Share of the bundles that are hashed anew: those that are not seldom come far."""
VERIFIED = 0.2
"""Share of them whose ``verify`` is held against ``run``."""
TEXTS = ("policy.json", "router.json", "special_tokens_map.json", "tokenizer.json", "preprocessor_config.json")


@dataclass
class _Target:
    """A copy of a bundle, whose ``manifest`` is what will be written. ``told``: the manifest says what was changed."""

    root: Path
    manifest: Any
    told: bool = True

    def write(self, name: str, data: bytes) -> None:
        """A file of its own, for the others are links to the original's."""
        path = self.root / name
        path.unlink(missing_ok=True)
        path.write_bytes(data)

    def seal(self) -> None:
        """Sizes and hashes of what lies there."""
        for name in self.manifest["files"]:
            path = self.root / name
            if path.is_file():
                data = path.read_bytes()
                self.manifest["files"][name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


class Attack:
    """Damages copies of one bundle, and asks each what the bundle itself was asked."""

    def __init__(self, material: Path) -> None:
        self._bundle = Bundle.open(material / "bundle")
        self._picture = noise(self._bundle)
        self._manifest = json.loads((self._bundle.root / MANIFEST).read_text())
        self._files = sorted(self._manifest["files"])
        self._right = self._answer(self._bundle.root)

    def __call__(self, draw: random.Random) -> str | None:
        with tempfile.TemporaryDirectory(prefix="attacked-") as folder:
            root = Path(folder) / "bundle"
            shutil.copytree(self._bundle.root, root, copy_function=os.link)
            target = _Target(root, json.loads(json.dumps(self._manifest)))
            way = draw.choice(
                (
                    *(self._bytes, self._bytes, self._swap, self._text, self._structure, self._structure),
                    *(self._manifest_bytes, self._place, self._forged, self._graph),
                )
            )
            way(draw, target)
            return self._judge(draw, target)

    def _judge(self, draw: random.Random, target: _Target) -> str | None:
        whole = False
        if target.told and draw.random() < VERIFIED:
            try:
                check(Bundle.open(target.root))
                whole = True
            except ClaspError as error:
                if (wrong := judging.of_error(error)) is not None:
                    return wrong
        try:
            found = self._answer(target.root)
        except ClaspError as error:
            if whole:
                return f"verify finds whole what run refuses: {error}"
            return judging.of_error(error)
        if not target.told and found != self._right:
            return "bytes that differ from their hashes gave another answer"
        return None

    def _answer(self, root: Path) -> tuple[int, ...]:
        with clasp_trt.load(root, verify=True, threads=1) as pipeline:
            answer = pipeline.generate(self._picture, PROMPT, max_new_tokens=2, ignore_stop=True)
            return answer.token_ids

    # --- ways -----------------------------------------------------------------------------------------------

    def _finish(self, draw: random.Random, target: _Target) -> None:
        """The manifest, as a stranger would write it or as it was."""
        target.told = draw.random() < SEALED
        if target.told:
            target.seal()
        target.write(MANIFEST, json.dumps(target.manifest).encode())

    def _bytes(self, draw: random.Random, target: _Target) -> None:
        """Bytes of one file."""
        name, other = draw.choice(self._files), draw.choice(self._files)
        data = mutate.damaged(draw, (target.root / name).read_bytes(), (target.root / other).read_bytes())
        target.write(name, data)
        self._finish(draw, target)

    def _swap(self, draw: random.Random, target: _Target) -> None:
        """Two files in each other's place."""
        name, other = draw.sample(self._files, 2)
        datas = [(target.root / each).read_bytes() for each in (other, name)]
        for each, data in zip((name, other), datas, strict=True):
            target.write(each, data)
        self._finish(draw, target)

    def _text(self, draw: random.Random, target: _Target) -> None:
        """Another JSON file of the bundle."""
        name = draw.choice([each for each in TEXTS if each in self._files])
        content = mutate.mutated(draw, json.loads((target.root / name).read_text(encoding="utf-8")))
        target.write(name, json.dumps(content).encode())
        self._finish(draw, target)

    def _structure(self, draw: random.Random, target: _Target) -> None:
        """The manifest, whose hashes are right where they still stand."""
        target.manifest = mutate.mutated(draw, target.manifest)
        target.write(MANIFEST, json.dumps(target.manifest).encode())

    def _manifest_bytes(self, draw: random.Random, target: _Target) -> None:
        """The manifest, byte by byte."""
        data = (target.root / MANIFEST).read_bytes()
        target.write(MANIFEST, mutate.damaged(draw, data, (target.root / draw.choice(self._files)).read_bytes()))

    def _place(self, draw: random.Random, target: _Target) -> None:
        """Something else where a file belongs, or something that is not listed."""
        path = target.root / draw.choice(self._files)
        more = target.root / draw.choice(("more", "graphs/more", "clasp.json.bak"))
        kind = draw.choice(("missing", "folder", "link", "pipe", "more", "nested"))
        if kind not in ("more", "nested"):
            path.unlink()
        if kind == "folder":
            path.mkdir()
        elif kind == "link":
            path.symlink_to(draw.choice(("/etc/passwd", "nowhere", path.name)))
        elif kind == "pipe":
            os.mkfifo(path)
        elif kind == "more":
            more.write_bytes(draw.randbytes(10))
        elif kind == "nested":
            (target.root / "/".join("d" * draw.choice((1, 50, 500)))).mkdir(parents=True)

    def _forged(self, draw: random.Random, target: _Target) -> None:
        """Numbers that manifest and graphs agree on: capacities, counts or widths of every port that has them."""
        import onnx

        old = draw.choice([size for graph in self._manifest["graphs"] for size in _sizes(graph)])
        new = draw.choice((old + 1, max(1, old - 1), old * 2, 10**6, 10**9, 2**40, 2**62))
        graphs = self._manifest["graphs"]
        chosen = graphs if draw.random() < 0.5 else [draw.choice(graphs)]
        for graph in chosen:
            model = onnx.load(target.root / graph["path"], load_external_data=False)
            for value in (*model.graph.input, *model.graph.output):
                for dim in value.type.tensor_type.shape.dim:
                    if dim.dim_value == old:
                        dim.dim_value = new
            target.write(graph["path"], model.SerializeToString())
        target.manifest = _replaced(target.manifest, old, new)
        target.seal()
        target.write(MANIFEST, json.dumps(target.manifest).encode())

    def _graph(self, draw: random.Random, target: _Target) -> None:
        """A graph that keeps its ports, and computes something else: one output lacks its first, or has it twice."""
        import numpy as np
        import onnx

        graph = draw.choice(self._manifest["graphs"])
        model = onnx.load(target.root / graph["path"], load_external_data=False)
        name = draw.choice(graph["outputs"])["name"]
        for node in model.graph.node:
            node.output[:] = [f"{name}_before" if each == name else each for each in node.output]
        axis = draw.choice((0, 1, -1))
        if draw.random() < 0.7:
            numbers = {"starts": [1], "ends": [2**40], "axes": [axis]}
            for key, value in numbers.items():
                model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(value), f"{name}_{key}"))
            words = [f"{name}_before", *(f"{name}_{key}" for key in numbers)]
            model.graph.node.append(onnx.helper.make_node("Slice", words, [name]))
        else:
            twice = [f"{name}_before"] * 2
            model.graph.node.append(onnx.helper.make_node("Concat", twice, [name], axis=axis))
        target.write(graph["path"], model.SerializeToString())
        target.seal()
        target.write(MANIFEST, json.dumps(target.manifest).encode())


def _sizes(graph: Any) -> list[int]:
    return [size for port in (*graph["inputs"], *graph["outputs"]) for size in port["shape"] if isinstance(size, int)]


def _replaced(value: Any, old: int, new: int) -> Any:
    if isinstance(value, dict):
        return {key: _replaced(inner, old, new) for key, inner in value.items()}
    if isinstance(value, list):
        return [_replaced(inner, old, new) for inner in value]
    return new if type(value) is int and value == old else value
