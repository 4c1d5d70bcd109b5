"""A bundle against its checkpoint, stage by stage.

Every stage gets the inputs that the checkpoint's own computation gives it, not those of the bundle's stage before: so
a drift shows where it arises, and a tie between tokens that falls the other way changes nothing later.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import is_dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from polygraphy.backend.base import BaseRunner

from clasp_trt.bundle import Bundle, Graph, Segment
from clasp_trt.chain import names, port
from clasp_trt.errors import CheckpointError
from clasp_trt.export.checkpoint import Checkpoint
from clasp_trt.export.family import Family, family_of
from clasp_trt.export.generation import generation
from clasp_trt.export.rounded import RoundedModules, linear_shapes
from clasp_trt.generation import Generation
from clasp_trt.ops import GRAM_STEPS, most_salient, token_gram
from clasp_trt.progress import Progress, silent
from clasp_trt.quantization import DECODER
from clasp_trt.runtime.backends.find import backend_for
from clasp_trt.runtime.backends.interface import Backend
from clasp_trt.tensors import FLOATS
from clasp_trt.thinning import AskedThinning
from clasp_trt.tools.profile.runner import GraphRunner
from clasp_trt.tools.request import Request
from clasp_trt.tools.verify import selection
from clasp_trt.tools.verify.calibrated import Calibrated
from clasp_trt.tools.verify.inputs import inputs_against_stock, other_inputs
from clasp_trt.tools.verify.integers import Found, integers
from clasp_trt.tools.verify.report import FACTOR, Check, Report
from clasp_trt.tools.verify.runners import Arrays, FunctionRunner, largest_difference, run
from clasp_trt.tools.verify.stepping import as_step, last_unseen
from clasp_trt.tools.verify.steps import stepped
from clasp_trt.tools.verify.without import take_out

if TYPE_CHECKING:
    from PIL.Image import Image

    from clasp_trt.export.reference import Eyes
    from clasp_trt.runtime.media.seen import Seen

_Reference = Callable[[Arrays, torch.dtype], Arrays]

_TORCH = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
_TRUTH = {"fp32": torch.float64, "fp16": torch.float32, "bf16": torch.float32}
_GRAM_TOLERANCE = 2 / GRAM_STEPS
"""Similarities are rounded to steps, and a rounding may fall the other way; a second step is for float32."""


def compare(
    bundle: Bundle,
    model: str,
    images: Sequence[Image],
    prompt: str,
    *,
    revision: str | None = None,
    provider: str | None = None,
    progress: Progress = silent,
) -> Report:
    """Compares every graph of ``bundle`` with the checkpoint ``model`` on one request: what the bundle is built for, or
    its graphs by ONNX Runtime with ``provider``. Before that, what the request becomes, with transformers' processor.
    The checkpoint's weights are rounded as the bundle's are, and integers of the decoder's graphs are compared with
    them layer by layer; where a calibration rounded these, integers are the bundle's, once it is known that they are
    those that it made of this checkpoint. Of a checkpoint that is quantised already it is what its integers stand for.

    Raises :class:`CheckpointError` if it is no checkpoint of this architecture, :class:`PolicyError` if the policy does
    not fit the graphs, and :class:`~clasp_trt.errors.BackendError` for a bundle that cannot run here. What drifts is
    in the report.
    """
    with backend_for(bundle, provider=provider) as backend:
        checkpoint = Checkpoint.open(model, revision)
        media = bundle.manifest.media
        frames = None if media.video is None else media.video.sampling.frames
        tower = bundle.manifest.schedule.tower
        asked = None if tower is None else AskedThinning(tower.after_block, tower.keep)
        family = family_of(
            checkpoint, max(media.image.processor.token_range), media.images, frames, thinning=asked,
            fp8=bundle.manifest.quantization.has_fp8,
        )  # fmt: skip
        _check_same_model(bundle, family, generation(checkpoint, family.info.decoder.vocab_size), model)
        request = Request.of(bundle, images, prompt)
        comparison = _Comparison(bundle, backend, family, progress)
        capped = family.description.capped(None).tokens != family.description.tokens
        inputs, skipped = inputs_against_stock(bundle, checkpoint, request, images, prompt, capped=capped)
        comparison.answer(request)
    return Report(
        bundle=str(bundle.root),
        checkpoint=model,
        precision=bundle.manifest.precision,
        category=request.route.name,
        prompt_tokens=len(request.prompt.input_ids),
        checks=(*inputs, *comparison.checks),
        cause=comparison.cause(model) if all(check.passed for check in inputs) else other_inputs(model),
        skipped=skipped,
        rounding=comparison.rounding,
    )


def _check_same_model(bundle: Bundle, there: Family, chosen: Generation, model: str) -> None:
    here = {**_flat(bundle.manifest.model), **_flat(bundle.manifest.media), **_flat(bundle.generation)}
    for name, value in {**_flat(there.info), **_flat(there.media), **_flat(chosen)}.items():
        if name != "name" and not name.startswith("source") and here[name] != value:
            raise CheckpointError(
                f"{model} is not what {bundle.root} was built from: its {name} is {value}, and the bundle's "
                f"{here[name]}; give the checkpoint that the bundle was built from"
            )


def _flat(record: object) -> dict[str, object]:
    """The fields of a record and of the records in it, by their names, such as ``vision width``."""
    found: dict[str, object] = {}
    for name, value in vars(record).items():
        inner = _flat(value) if is_dataclass(value) else {}
        found.update({f"{name} {part}": inner[part] for part in inner} or {name: value})
    return found


class _Comparison:
    """Walks the stages of one request, collecting checks."""

    def __init__(self, bundle: Bundle, backend: Backend[Any], family: Family, progress: Progress) -> None:
        self.checks: list[Check] = []
        self._bundle, self._backend, self._progress = bundle, backend, progress
        self._tower, self._reference = family.description.tower, family.reference()
        self._manifest = bundle.manifest
        floats = FLOATS[self._manifest.precision]
        self._calibrated = None if self._manifest.calibration is None else Calibrated(bundle)
        if self._manifest.sparse is not None:
            take_out(self._reference, bundle, () if self._calibrated is None else self._calibrated.integers)
        self._rounded = RoundedModules(
            self._reference.parts, self._manifest.quantization, floats, self._integers(),
            given=self._calibrated is not None, held=family.quantization.schemes,
        )  # fmt: skip
        self.rounding = self._rounded.errors
        self._dtype, self._truth = _TORCH[self._manifest.precision], _TRUTH[self._manifest.precision]
        self._layers = bundle.policy.layers
        self._read_instead: dict[int, int] = {}  # a layer of the policy to the one that the graph gives in its place

    def _integers(self) -> Mapping[str, Found]:
        """What the graphs of the decoder hold, by the names of the matrices."""
        if self._calibrated is not None:
            return self._calibrated.integers
        if self._manifest.quantization.of(DECODER) is None:
            return {}
        return integers(self._bundle, linear_shapes(self._reference.parts))

    def answer(self, request: Request) -> None:
        """All stages of a prefill."""
        bundle, prompt, reference = self._bundle, request.prompt, self._reference
        seen = self._seen(request)
        keeps = self._manifest.schedule.keeps_of(prompt.visual_tokens)
        if (thinning := self._manifest.schedule.tower) is not None:
            own = seen.pop(port.KEPT)[0]
            prompt = prompt.keeping(own + np.repeat(np.arange(len(request.seen)), thinning.keep) * thinning.of)
        visual, ids = seen[port.VISUAL], prompt.known(self._manifest.model.decoder.vocab_size)
        feed = {port.INPUT_IDS: ids[None], port.VISUAL: visual, port.VISUAL_INDEX: prompt.visual_index}
        state: dict[str, NDArray[Any]] = {
            port.HIDDEN: self._modules(names.EMBED, feed, reference.embed)[port.HIDDEN],
            port.POSITION_IDS: prompt.position_ids,
            port.VISUAL_INDEX: prompt.visual_index,
            port.REFERENCE_INDEX: prompt.reference_index,
            **seen,
        }
        if prompt.visible is not None:
            state[port.VISIBLE] = prompt.visible
        stages = self._manifest.schedule.stages
        if any(graph.name == names.GRAM for graph in self._manifest.graphs):
            state[port.GRAM] = self._gram(visual)
        counts = bundle.policy.pivot_counts(request.route.category, keeps)
        after = {stage.after_layer: number for number, stage in enumerate(stages)}
        if -1 in after:
            self._prune(0, state, keeps[0], counts[0])
        for segment in self._manifest.segments:
            self._segment(segment, state)
            if segment.last_layer in after:
                number = after[segment.last_layer]
                self._prune(number, state, keeps[number], counts[number])
        if any(graph.name == names.GREEDY for graph in self._manifest.graphs):
            self._choice(state[port.LOGITS])

    def cause(self, model: str) -> str | None:
        """What explains the drifts as a whole, if anything does."""
        if self._read_instead:
            layer, given = next(iter(self._read_instead.items()))
            return (
                f"policy.json reads vision layer {layer} where the graph gives layer {given}: it is not the policy "
                "that the bundle was built with"
            )
        weighted = {*names.OF_CLIPS, *self._manifest.own_to_clips, *(each.graph for each in self._manifest.segments)}
        if weighted <= {check.stage for check in self.checks if not check.passed}:
            return f"every stage with weights of its own drifts: the bundle was not built from {model}"
        return None

    # --- stages ---------------------------------------------------------------------------------------------

    def _seen(self, request: Request) -> dict[str, NDArray[Any]]:
        """``visual`` ``[1, tokens, width]`` of all images, the ``saliency`` ``[1, tokens]`` of these tokens,
        ``deepstack`` ``[layers, tokens, width]`` if the tower gives one, and ``kept`` ``[1, tokens]``, which of the
        tokens of their image these are, if it drops some. Graphs that clips alone go through are
        compared on the way."""
        alpha = self._bundle.policy.alpha(request.route.category)[None]
        found = [self._look(each, alpha, self._reference.eyes, *names.OF_CLIPS) for each in request.seen]
        watching = [self._manifest.for_clips(name) for name in names.OF_CLIPS]
        for each in request.steps:
            self._look(each, alpha, self._reference.watching, *watching)
        return {name: np.concatenate([each[name] for each in found], axis=1) for name in found[0]}

    def _look(
        self, seen: Seen, alpha: NDArray[np.float32], eyes: Eyes, vision: str, projector: str
    ) -> dict[str, NDArray[Any]]:
        """What comes of one image, or a step of a clip, by the graphs of these names."""
        outputs = self._vision(seen.vision, eyes, vision)
        given = {**outputs, port.ALPHA: alpha, **seen.pack}
        taken = {each.name: given[each.name] for each in self._bundle.graph(projector).inputs}
        projected = self._modules(projector, taken, eyes.projector)
        saliency = projected.get(port.TOKEN_SALIENCY, outputs[port.CLS_SALIENCY])
        stacked = {name: outputs[name] for name in (port.DEEPSTACK, port.KEPT) if name in outputs}
        return {port.VISUAL: projected[port.VISUAL], port.SALIENCY: saliency, port.CLS_SALIENCY: saliency, **stacked}

    def _vision(self, feed: Arrays, eyes: Eyes, name: str) -> Arrays:
        layers, saliency_layer = self._layers, self._tower.saliency_layer(self._layers)

        graph = self._bundle.graph(name)
        kept = self._thinned(graph, feed)

        def vision(feed: Arrays, dtype: torch.dtype) -> Arrays:
            return eyes.vision({**feed, **kept}, layers, saliency_layer, dtype)

        truth, rough, found = self._run(graph, feed, vision)
        for column, layer in enumerate(layers):
            seen = found[port.FEATURES][:, column]
            check = self._judge(
                graph, f"layer {layer}", truth[port.FEATURES][:, column], seen, rough[port.FEATURES][:, column]
            )
            if not check.passed:
                given = self._layer_like(seen, {**feed, **kept}, eyes, saliency_layer)
                if given is not None and given != layer:
                    self._read_instead[layer] = given
        for output in (each for each in truth if each not in (port.FEATURES, port.KEPT)):
            self._judge(graph, output, truth[output], found[output], rough[output])
        return self._as_ports(truth, graph)

    def _thinned(self, graph: Graph, feed: Arrays) -> Arrays:
        """What a tower that drops patches keeps of these, ``kept`` ``[tiles, tokens]``, by the saliency that it says:
        compared index for index. The checkpoint's blocks after it are given the same, whatever its own saliency is."""
        thinning = self._manifest.schedule.tower
        if thinning is None:
            return {}
        (found,) = run([GraphRunner(self._backend, self._bundle.path(graph.path), graph)], feed)
        kept = most_salient(found[port.PATCH_SALIENCY], thinning.keep)
        error = largest_difference(kept, found[port.KEPT])
        self.checks.append(Check(graph.name, port.KEPT, graph.path, error, _relative(error, kept), 0.0, 0.0))
        return {port.KEPT: kept}

    def _layer_like(self, seen: NDArray[Any], feed: Arrays, eyes: Eyes, saliency_layer: int) -> int | None:
        """The vision layer that ``seen`` is, but for the precision."""
        every = range(self._tower.layers + 1)
        states = eyes.vision(feed, every, saliency_layer, self._truth)[port.FEATURES]
        errors = [largest_difference(states[:, layer], seen) / np.abs(states[:, layer]).max() for layer in every]
        best = int(np.nanargmin(errors)) if np.isfinite(errors).any() else 0
        # half of the digits: far above what any precision costs, far below what lies between two layers
        return best if errors[best] <= torch.finfo(self._dtype).eps ** 0.5 else None

    def _gram(self, visual: NDArray[Any]) -> NDArray[np.float32]:
        """Similarities, which both sides round to the same steps."""
        graph = self._bundle.graph(names.GRAM)
        gram = token_gram(visual)
        (found,) = run([GraphRunner(self._backend, self._bundle.path(graph.path), graph)], {port.VISUAL: visual})
        error = largest_difference(gram, found[port.GRAM])
        self.checks.append(Check(names.GRAM, port.GRAM, graph.path, error, error, 1 / GRAM_STEPS, _GRAM_TOLERANCE))
        return gram

    def _segment(self, segment: Segment, state: dict[str, NDArray[Any]]) -> None:
        """Runs a segment on all rows with empty caches and leaves what follows it in ``state``."""
        graph, rows = self._bundle.graph(segment.graph), state[port.POSITION_IDS].shape[-1]
        if self._calibrated is not None:
            self.checks.extend(self._calibrated.checks(graph, segment, self._rounded.changed))
        self.checks.extend(stepped(graph, segment, self._rounded.steps))
        given = {
            **state,
            port.WRITE_INDEX: np.zeros(1, np.int64),
            port.KV_LENGTH: np.array([rows]),
            port.SCORED: np.array([rows - 1]),
        }
        feed = {}
        for each in graph.inputs:
            sizes = [dim if isinstance(dim, int) else 1 for dim in each.shape]  # of a cache: a single slot
            feed[each.name] = np.zeros(sizes, each.dtype) if port.is_past(each.name) else given[each.name]

        def layers(feed: Arrays, dtype: torch.dtype) -> Arrays:
            return self._reference.segment(feed, segment.first_layer, segment.last_layer, dtype)

        truth, rough, found = self._run(graph, feed, layers)
        for output, expected in truth.items():
            self._judge(graph, output, expected, found[output], rough[output])
        outputs = self._as_ports(truth, graph)
        if rows > 1:
            main = port.HIDDEN_OUT if port.HIDDEN_OUT in truth else port.LOGITS
            causal = last_unseen(feed)
            if causal is not feed:
                truth, rough = layers(causal, self._truth), self._rough(layers, causal)
            step = as_step(self._backend, self._bundle, graph, causal, rows - 1)[main]
            self._judge(graph, f"{main}, one step", truth[main][:, -1:], step, rough[main][:, -1:])
        state[port.HIDDEN] = outputs.get(port.HIDDEN_OUT, state[port.HIDDEN])
        state[port.SALIENCY] = outputs.get(port.SALIENCY, state[port.SALIENCY])
        if port.LOGITS in outputs:
            state[port.LOGITS] = outputs[port.LOGITS]

    def _prune(self, number: int, state: dict[str, NDArray[Any]], keep: int, pivot_count: int) -> None:
        """Compares what a stage keeps, index for index, and narrows ``state`` to it."""
        graph, stages = self._bundle.graph(names.prune(number)), self._manifest.schedule.stages
        given = {**state, port.PIVOT_COUNT: np.array([pivot_count]), port.RANKS: np.arange(keep)}
        feed = {each.name: given[each.name] for each in graph.inputs}

        def prune(feed: Arrays) -> Arrays:
            return selection.prune(feed, keep, self._manifest.method, pivot_count, last=number == len(stages) - 1)

        on_graph = GraphRunner(self._backend, self._bundle.path(graph.path), graph)
        self._progress(graph.name, len(self.checks), self._total())
        truth, found = run([FunctionRunner("definition", on_graph.get_input_metadata_impl(), prune), on_graph], feed)
        for name, expected in truth.items():
            error = largest_difference(expected, found[name])
            self.checks.append(Check(graph.name, name, graph.path, error, _relative(error, expected), 0.0, 0.0))
            state[name.removesuffix("_out")] = expected

    def _choice(self, logits: NDArray[np.float32]) -> None:
        """The most likely token is that of the same logits."""
        graph = self._bundle.graph(names.GREEDY)
        (found,) = run([GraphRunner(self._backend, self._bundle.path(graph.path), graph)], {port.LOGITS: logits})
        error = largest_difference(logits.argmax(-1), found[port.TOKEN])
        self.checks.append(Check(graph.name, port.TOKEN, graph.path, error, error, 0.0, 0.0))

    # --- comparing ------------------------------------------------------------------------------------------

    def _modules(self, name: str, feed: Arrays, reference: _Reference) -> Arrays:
        """Checks every output of a graph that stands for modules; the checkpoint's, in the types of the graph."""
        graph = self._bundle.graph(name)
        truth, rough, found = self._run(graph, feed, reference)
        for output, expected in truth.items():
            self._judge(graph, output, expected, found[output], rough[output])
        return self._as_ports(truth, graph)

    def _run(self, graph: Graph, feed: Arrays, reference: _Reference) -> tuple[Arrays, Arrays, Arrays]:
        """The outputs in a wider type, in the bundle's precision by the same modules, and by the graph."""
        self._progress(graph.name, len(self.checks), self._total())
        on_graph = GraphRunner(self._backend, self._bundle.path(graph.path), graph)
        inputs = on_graph.get_input_metadata_impl()
        runners: list[BaseRunner] = [
            FunctionRunner("checkpoint", inputs, lambda feed: reference(feed, self._truth)),
            FunctionRunner("precision", inputs, lambda feed: self._rough(reference, feed)),
            on_graph,
        ]
        truth, rough, found = run(runners, feed)
        return truth, rough, found

    def _rough(self, reference: _Reference, feed: Arrays) -> Arrays:
        """What the modules give in the bundle's precision and, where it rounds rows, of rounded rows."""
        with self._rounded.rounding_rows() if self._manifest.multiplies_integers else nullcontext():
            return reference(feed, self._dtype)

    def _judge(self, graph: Graph, output: str, truth: NDArray[Any], found: NDArray[Any], rough: NDArray[Any]) -> Check:
        baseline = largest_difference(truth, rough)
        # a baseline may come out as 0 by luck: one rounding of the largest value is the least that a precision costs
        least = float(np.abs(truth).max(initial=0)) * torch.finfo(self._dtype).eps
        error = largest_difference(truth, found)
        tolerance = FACTOR * max(baseline, least)
        check = Check(graph.name, output, graph.path, error, _relative(error, truth), baseline, tolerance)
        self.checks.append(check)
        return check

    def _as_ports(self, arrays: Arrays, graph: Graph) -> dict[str, NDArray[Any]]:
        kinds = {port.name: port.dtype for port in graph.outputs}
        return {name: array.astype(kinds[name]) for name, array in arrays.items()}

    def _total(self) -> int:
        """About how many checks there will be."""
        return len(self._layers) + sum(len(graph.outputs) for graph in self._manifest.graphs)


def _relative(error: float, expected: NDArray[Any]) -> float:
    """``error`` over the largest magnitude; 0 for no error whatever the magnitude."""
    largest = float(np.abs(expected.astype(np.float64)).max(initial=0))
    return error / largest if error and largest else error
