"""What can be told of a bundle by itself: its files are those that were written, and its graphs load."""

from __future__ import annotations

import posixpath
from contextlib import nullcontext
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

from clasp_trt.brief import shown
from clasp_trt.bundle.manifest import MANIFEST
from clasp_trt.errors import BackendError, BundleError, ClaspError
from clasp_trt.extras import remedy
from clasp_trt.progress import Progress, silent
from clasp_trt.runtime.backends.find import backend_for
from clasp_trt.runtime.media.clip import Clip
from clasp_trt.runtime.media.processors import processor
from clasp_trt.runtime.media.processors.clips import clip_processor
from clasp_trt.runtime.pipeline import Pipeline
from clasp_trt.runtime.routing.folder import router_for
from clasp_trt.runtime.text.prompt import PromptReader
from clasp_trt.targets import COMPILED
from clasp_trt.tools.profile.workload import noise
from clasp_trt.tools.verify.passing import Passing

if TYPE_CHECKING:
    import onnx

    from clasp_trt.bundle import Bundle, Graph
    from clasp_trt.tools.verify.zeros import Counted


_PROMPT = "What is this?"


@dataclass(frozen=True)
class Integrity:
    """What was found to be in order: numbers of files and graphs, and the ``zeros`` of a decoder that is sparse;
    ``skipped`` says what could not be looked at."""

    files: int
    graphs: int
    skipped: tuple[str, ...]
    zeros: Counted | None = None

    def to_json(self) -> dict[str, object]:
        """A JSON object."""
        zeros = {} if self.zeros is None else {"zeros": self.zeros.to_json()}
        return {"files": self.files, "graphs": self.graphs, "skipped": list(self.skipped), **zeros}


def check(bundle: Bundle, *, provider: str | None = None, progress: Progress = silent) -> Integrity:
    """Hashes every file, checks every graph, then passes a request through one graph after the other, so that whatever
    a first request would stumble over is said here. Engines, which are used without ``provider``, are loaded and not
    asked.

    Raises a :class:`BundleError` or :class:`BackendError` that names the first file at fault.
    """
    manifest, skipped = bundle.manifest, []
    bundle.verify(lambda done, total: progress("hash", done, total))
    has_onnx = find_spec("onnx") is not None
    if not has_onnx:
        skipped.append(f"graphs were not checked against the ONNX standard; {remedy('build')}")
    backend = None
    try:
        backend = backend_for(bundle, provider=provider)
    except BackendError as error:
        if provider is not None:  # it was asked for
            raise
        skipped.append(f"graphs were not loaded: {error}")
    with backend or nullcontext():
        for number, graph in enumerate(manifest.graphs):
            progress(f"check {graph.name}", number, len(manifest.graphs))
            if has_onnx:
                _check_graph(bundle, graph)
        _check_companions(bundle)
        if backend is not None:
            passing = Passing(backend, bundle, progress)
            if manifest.backend not in COMPILED or provider is not None:
                _check_request(bundle, passing)
            passing.load_others()
    return Integrity(len(manifest.files), len(manifest.graphs), tuple(skipped), _zeros(bundle, skipped))


def _zeros(bundle: Bundle, skipped: list[str]) -> Counted | None:
    if bundle.manifest.sparse is None:
        return None
    if find_spec("onnx_ir") is None:
        skipped.append(f"zeros were not counted; {remedy('build')}")
        return None
    from clasp_trt.tools.verify.zeros import counted

    return counted(bundle)


def _check_companions(bundle: Bundle) -> None:
    """Tokenizer, chat template, router and processor do what a request asks of them."""
    try:
        blocks = processor(bundle.manifest.media.image.processor)(noise(bundle)).blocks
        reader = PromptReader(bundle)
        for count in (0, 1, bundle.manifest.media.images):
            reader.read(_PROMPT, *[blocks] * count)
        if (video := bundle.manifest.media.video) is not None:
            clip = Clip((noise(bundle),) * 2, (0.0, 1.0))
            reader.read(_PROMPT, clips=[clip_processor(video.processor)(clip).blocks])
        router_for(bundle.policy, bundle).route(_PROMPT)
    except ClaspError as error:
        raise BundleError(f"{bundle.root}: {error}") from error


def _check_request(bundle: Bundle, passing: Passing) -> None:
    """The shortest answer about a picture, and one about a clip where that goes through other graphs."""
    try:
        pipeline = Pipeline(bundle, passing)
        pipeline.generate(noise(bundle), _PROMPT, max_new_tokens=1)
        if bundle.manifest.own_to_clips:
            pipeline.generate(None, _PROMPT, video=Clip((noise(bundle),), (0.0,)), max_new_tokens=1)
    except (BackendError, BundleError):
        raise
    except ClaspError as error:
        raise BundleError(f"{bundle.root}: a request fails: {error}") from error


def _take_weights_out(model: onnx.ModelProto) -> set[str]:
    """Makes inputs of the weights that lie in other files, which the checker would read, and not through links. Returns
    where they lie."""
    import onnx

    apart = [tensor for tensor in model.graph.initializer if tensor.data_location == onnx.TensorProto.EXTERNAL]
    for tensor in apart:
        model.graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
        model.graph.initializer.remove(tensor)
    return {entry.value for tensor in apart for entry in tensor.external_data if entry.key == "location"}


def _check_graph(bundle: Bundle, graph: Graph) -> None:
    """The graph obeys ONNX, and has the ports that the manifest states."""
    import onnx

    path = bundle.path(graph.path)
    try:
        model = onnx.load(path, load_external_data=False)
        inputs = [*model.graph.input]
        for location in _take_weights_out(model):
            beside = posixpath.normpath(posixpath.join(posixpath.dirname(graph.path), location))
            if beside not in bundle.manifest.files:
                raise ValueError(f"its weights are in {shown(beside)}, which {MANIFEST} does not list")
        onnx.checker.check_model(model)
    except Exception as error:  # of the checker, of protobuf, or of the file system
        lines = str(error).strip().splitlines()
        reason = lines[0] if lines else type(error).__name__
        raise BundleError(f"{bundle.root}: {graph.path}: not a valid ONNX graph ({reason}); rebuild it") from error
    for side, stated, values in (
        ("input", graph.inputs, inputs),
        ("output", graph.outputs, model.graph.output),
    ):
        ports = [f"{port.name}: {port.dtype}[{', '.join(map(str, port.shape))}]" for port in stated]
        found = [_port(value) for value in values]
        if ports != found:
            differs = next((pair for pair in zip(ports, found, strict=False) if pair[0] != pair[1]), None)
            told = (
                f"{side} {differs[1]}, where the manifest states {differs[0]}"
                if differs
                else (f"{len(found)} {side}s, where the manifest states {len(ports)}")
            )
            raise BundleError(f"{bundle.root}: {graph.path}: has {told}; rebuild the bundle")


def _port(value: onnx.ValueInfoProto) -> str:
    import onnx

    tensor = value.type.tensor_type
    kind = onnx.TensorProto.DataType.Name(tensor.elem_type).lower()
    names = {"float": "float32"}
    shape = [dim.dim_param or str(dim.dim_value) for dim in tensor.shape.dim]
    return f"{value.name}: {names.get(kind, kind)}[{', '.join(shape)}]"
