"""Questions by which a decoder is rounded, or loses weights: read, seen and tokenised as requests are, by the bundle in
the making.

Vision tower, projector and embedding are the checkpoint's own modules; the pictures' tokens are mixed for the category
of the question, as an answer would have them, and none of them is pruned.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from clasp_trt.bundle import Bundle, roundings
from clasp_trt.bundle.roundings import ROUNDINGS
from clasp_trt.chain import names, port
from clasp_trt.errors import DataError, ImageError, PromptError
from clasp_trt.options import Options
from clasp_trt.progress import Progress
from clasp_trt.quantization import GPTQ, LEAST_ROWS, USUAL_ROWS, Calibration
from clasp_trt.runtime.media.image import load_image
from clasp_trt.sparsity import TAMP, Sparse, Sparsity, check_questions, zeros_of
from clasp_trt.tools.evaluate.questions import Questions, check_categories
from clasp_trt.tools.request import Request

if TYPE_CHECKING:
    from clasp_trt.export.family import Family
    from clasp_trt.export.reference import Reference
    from clasp_trt.export.requests import Requests
    from clasp_trt.export.weights.kept import Kept
    from clasp_trt.export.weights.masks import KeptMask
    from clasp_trt.tools.evaluate.dataset import Row

_SCRATCH = "calibration"


def questions_of(options: Options) -> Questions | None:
    """Those that a calibration takes, spread over their file; None without one. Raises
    :class:`~clasp_trt.errors.DataError`, or :class:`~clasp_trt.errors.SparsityError` where some are needed."""
    check_questions(options.sparse, options.calibration)
    if options.calibration is None:
        return None
    every = Questions.read(options.calibration, answered=False)
    there, wanted = len(every.rows), options.calibration_rows
    least = LEAST_ROWS if wanted is None else wanted
    if there < least:
        raise DataError(
            f"{every.name} has {there} questions, expected at least {least}: give more"
            + ("" if wanted is None else f", or --calibration-rows from {LEAST_ROWS} to {there}")
        )
    count = min(there, USUAL_ROWS) if wanted is None else wanted
    rows = tuple(every.rows[number * there // count] for number in range(count))
    for row in rows:
        if row.video is not None:
            raise DataError(f"{every.place(row)}: asks about a video; questions to calibrate with are about images")
    return Questions(rows, every.name, every.sha256)


@dataclass(frozen=True)
class Made:
    """What became of a decoder: how it was rounded by questions, and what of it is zero; None for what was not."""

    calibration: Calibration | None = None
    sparse: Sparse | None = None


@dataclass(frozen=True)
class Decoder:
    """What makes the decoder of ``family`` smaller by ``questions``: rounds ``matrices``, with scales in ``dtype``, and
    chooses zeros by ``sparsity`` for ``masks``. What it makes lies in a folder of ``root`` until :meth:`clear`."""

    family: Family
    questions: Questions
    root: Path
    dtype: str
    sparsity: Sparsity | None
    masks: Mapping[str, KeptMask]
    matrices: Mapping[str, Kept]

    @classmethod
    def of(cls, family: Family, questions: Questions, root: Path, dtype: str, sparsity: Sparsity | None) -> Decoder:
        """Graphs that ``family`` makes from now on hold what :meth:`calibrate` will find."""
        folder = root / _SCRATCH
        folder.mkdir()
        masks = {} if sparsity is None else family.sparse(sparsity, folder)
        return cls(family, questions, root, dtype, sparsity, masks, family.calibrated_in(folder))

    def calibrate(self, bundle: Bundle, progress: Progress) -> Made:
        """Goes through the decoder's layers, and writes what rounding did into the bundle. ``bundle`` is the one in the
        making, all there but its graphs. Raises :class:`DataError` for a question that cannot be asked."""
        from clasp_trt.export.calibrated import calibrate
        from clasp_trt.export.choosing import Chosen
        from clasp_trt.export.requests import Requests

        check_categories(self.questions, bundle.policy)
        folder = self.root / _SCRATCH / "requests"
        folder.mkdir()
        reference, requests, tokens = self.family.reference(), Requests(folder), 0
        reference.seeing()
        for done, row in enumerate(self.questions.rows):
            progress("calibrate: pictures and prompts", done, len(self.questions.rows))
            tokens += self._add(row, bundle, reference, requests)
        chosen = None
        if self.sparsity is not None:
            kept = {name: each for name, each in self.masks.items() if name not in self.matrices}
            chosen = Chosen(self.sparsity, kept, self._shares(self.sparsity, reference, requests, progress))
        found = calibrate(reference, requests, self.matrices, self.dtype, progress, chosen)
        shutil.rmtree(folder)
        calibration, sparse = None, None
        if self.matrices:
            (self.root / ROUNDINGS).write_text(roundings.dumps(found), encoding="utf-8")
            calibration = Calibration(GPTQ, self.questions.sha256, len(requests), tokens)
        if self.sparsity is not None and chosen is not None:
            by = (self.questions.sha256, len(requests), tokens) if self.sparsity.is_calibrated else (None, 0, 0)
            sparse = Sparse(self.sparsity, chosen.zeros, _weights(self.masks), *by)
        return Made(calibration, sparse)

    def _shares(
        self, sparsity: Sparsity, reference: Reference, requests: Requests, progress: Progress
    ) -> Mapping[str, float]:
        """What share of each matrix is zero, where these differ: for which all go through the dense decoder first."""
        if sparsity.scores != TAMP or sparsity.pattern is not None:
            return {}
        from clasp_trt.export.diversity import diversities, shares

        folder = self.root / _SCRATCH / "dense"
        folder.mkdir()
        found = diversities(reference, requests.branched(folder), progress)
        shutil.rmtree(folder)
        return shares(found, {name: _weights({name: each}) for name, each in self.masks.items()}, sparsity)

    def clear(self) -> None:
        """Once the graphs are written."""
        shutil.rmtree(self.root / _SCRATCH)

    def _add(self, row: Row, bundle: Bundle, reference: Reference, requests: Requests) -> int:
        """Adds a question as it enters the decoder; how many tokens it has."""
        try:
            request = Request.of(bundle, [load_image(image) for image in row.images], row.prompt)
        except (ImageError, PromptError) as error:
            raise DataError(f"{self.questions.place(row)}: {error}") from error
        categories = [category.name for category in bundle.policy.categories]
        category = request.route.category if row.category is None else categories.index(row.category)
        requests.add(_entering(bundle, self.family, reference, request, category))
        return len(request.prompt.input_ids)


def by_magnitude(family: Family, sparsity: Sparsity) -> Sparse:
    """Graphs that ``family`` makes from now on lack the decoder's smallest weights, for which it takes no questions."""
    masks = family.sparse(sparsity, None)
    zeros = sum(
        outputs * zeros_of(inputs, sparsity.share) for outputs, inputs in (each.shape for each in masks.values())
    )
    return Sparse(sparsity, zeros, _weights(masks))


def _weights(masks: Mapping[str, KeptMask]) -> int:
    return sum(each.shape[0] * each.shape[1] for each in masks.values())


def _entering(
    bundle: Bundle, family: Family, reference: Reference, request: Request, category: int
) -> dict[str, np.ndarray[Any, Any]]:
    """What the first layer of the decoder gets of a request."""
    import torch

    policy, prompt, dtype = bundle.policy, request.prompt, torch.float32
    alpha, layers = policy.alpha(category)[None], policy.layers
    taken = {each.name for each in bundle.graph(names.PROJECTOR).inputs}
    looks = []
    for seen in request.seen:
        outputs = reference.eyes.vision(seen.vision, layers, family.description.tower.saliency_layer(layers), dtype)
        given = {**outputs, port.ALPHA: alpha, **seen.pack}
        visual = reference.eyes.projector({name: given[name] for name in taken}, dtype)[port.VISUAL]
        looks.append({port.VISUAL: visual, **{name: outputs[name] for name in (port.DEEPSTACK,) if name in outputs}})
    joined = {name: np.concatenate([look[name] for look in looks], axis=1) for name in looks[0]}
    ids = prompt.known(bundle.manifest.model.decoder.vocab_size)[None]
    feed = {port.INPUT_IDS: ids, port.VISUAL: joined.pop(port.VISUAL), port.VISUAL_INDEX: prompt.visual_index}
    return {
        **joined,
        port.HIDDEN: reference.embed(feed, dtype)[port.HIDDEN],
        port.POSITION_IDS: prompt.position_ids,
        port.VISUAL_INDEX: prompt.visual_index,
        **({} if prompt.visible is None else {port.VISIBLE: prompt.visible}),
    }
