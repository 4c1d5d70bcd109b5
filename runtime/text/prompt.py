"""A request's text as the decoder takes it: chat template, token ids, and which rows are visual tokens."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clasp_trt.bundle import Bundle
from clasp_trt.errors import BundleError, PromptError
from clasp_trt.runtime.media.seen import Block, side_by_side
from clasp_trt.runtime.text.chat import ChatTemplate
from clasp_trt.runtime.text.layouts import pieces
from clasp_trt.runtime.text.messages import Dialogue
from clasp_trt.runtime.text.positions import positions
from clasp_trt.runtime.text.special import check_spelled
from clasp_trt.runtime.text.tokenizer import Tokenizer
from clasp_trt.runtime.text.visible import narrowed, visible
from clasp_trt.storage import foreign

NO_TEXT = -1
"""In place of the ids of visual tokens, where text alone matters."""


@dataclass(frozen=True, eq=False)
class Prompt:
    """A tokenised request.

    ``visual_index`` and ``reference_index`` are int64 rows of the sequence: the visual tokens, which are those of the
    blocks of all ``pictures`` in order, and the text after the last of them, of a conversation no more than the last
    message's, which is the reference set of the saliency. ``pictures`` are in the order of the prompt, and ``order``
    says which of the images, and of the clips after these, each one is. ``positions`` is int64 ``[axes, rows]``;
    ``next_position`` is that of the first token of the answer. ``visible`` is int64 ``[2, 1, rows]``, see
    :func:`clasp_trt.runtime.text.visible.visible`. ``kept`` int64 ``[tokens]``, ascending, are the visual tokens that
    the tower left, where it dropped some: those of ``visual_index``, counted among all that ``pictures`` have.
    """

    input_ids: NDArray[np.int64]
    visual_index: NDArray[np.int64]
    reference_index: NDArray[np.int64]
    positions: NDArray[np.int64]
    next_position: int
    pictures: tuple[tuple[Block, ...], ...] = ()
    order: tuple[int, ...] = ()
    visible: NDArray[np.int64] | None = None
    kept: NDArray[np.int64] | None = None

    @property
    def visual_tokens(self) -> int:
        """How many visual tokens the pictures have, whether the tower dropped some or not."""
        return len(self.visual_index) if self.kept is None else sum(b.tokens for p in self.pictures for b in p)

    @property
    def boxes(self) -> NDArray[np.float32]:
        """Where each visual token of ``visual_index`` looks, float32 ``[tokens, 4]``, pictures side by side."""
        every = side_by_side(self.pictures)
        return every if self.kept is None else every[self.kept]

    def keeping(self, kept: NDArray[np.int64]) -> Prompt:
        """The same without the rows of visual tokens that are not among ``kept``, ascending indices of them; what
        stays has its own positions."""
        stays = np.ones(len(self.input_ids), np.bool_)
        stays[np.delete(self.visual_index, kept)] = False
        new_row = np.cumsum(stays) - 1
        return replace(
            self,
            input_ids=self.input_ids[stays],
            visual_index=new_row[self.visual_index[kept]],
            reference_index=new_row[self.reference_index],
            positions=self.positions[..., stays],
            visible=None if self.visible is None else narrowed(self.visible, stays),
            kept=kept,
        )

    @property
    def text_before(self) -> NDArray[np.int64]:
        """The ids before the first visual token; all of a prompt without one."""
        return self.input_ids[: self.visual_index[0]] if len(self.visual_index) else self.input_ids

    @property
    def text(self) -> NDArray[np.int64]:
        """The ids ``[rows]``, -1 in place of those of visual tokens."""
        ids: NDArray[np.int64] = self.input_ids.copy()
        ids[self.visual_index] = NO_TEXT
        return ids

    def after(self, rows: int) -> Prompt:
        """What follows the first ``rows``, text all of them, with indices that count from there."""
        return replace(
            self,
            input_ids=self.input_ids[rows:],
            visual_index=self.visual_index - rows,
            reference_index=self.reference_index - rows,
            positions=self.positions[..., rows:],
        )

    @property
    def position_ids(self) -> NDArray[np.int64]:
        """``positions`` as the decoder takes them, of one slot: ``[1, rows]``, or ``[axes, 1, rows]`` of several."""
        return self.positions if len(self.positions) == 1 else self.positions[:, None]

    def known(self, vocabulary: int) -> NDArray[np.int64]:
        """The ids, 0 in place of those that a ``vocabulary`` of this size lacks, as the token of an image may be."""
        return np.where(self.input_ids < vocabulary, self.input_ids, 0)


class PromptReader:
    """Makes a :class:`Prompt` of what a user wrote, by the bundle's chat template and :attr:`tokenizer`."""

    def __init__(self, bundle: Bundle) -> None:
        self._medium, video = bundle.manifest.media.image, bundle.manifest.media.video
        self._layouts = [self._medium.layout, *([] if video is None else [video.layout])]
        self._decoder = bundle.manifest.model.decoder
        self._asks = any(stage.after_layer >= 0 for stage in bundle.manifest.schedule.stages)
        self.tokenizer = Tokenizer.from_file(bundle.path("tokenizer.json"))
        template = foreign.read_text(bundle.path("chat_template.jinja"), BundleError, "rebuild the bundle")
        special = read_object(bundle, "special_tokens_map.json")
        moving = None if video is None else video.layout.placeholder
        self._chat = ChatTemplate(template, self._medium.layout.placeholder, special, video_token=moving)

    def read(self, prompt: str | Dialogue, *images: Sequence[Block], clips: Sequence[Sequence[Block]] = ()) -> Prompt:
        """Token ids with one id for each visual token, and where these are. Each of ``images`` and ``clips`` is the
        blocks that one became. Raises :class:`PromptError`."""
        given, turn = (images, clips), 0
        if isinstance(prompt, str):
            rendered = self._chat.render(prompt, images=len(images), clips=len(clips))
        else:
            rendered, turn = self._chat.converse(prompt)
        check_spelled(prompt, self.tokenizer, {layout.placeholder: layout.id for layout in self._layouts})
        spelled, order, counts = self._spelled(rendered, given) if any(given) else (rendered, [], [])
        ids, ends = self.tokenizer.placed_chat(spelled, self._chat.bos)
        vocabulary, own = self._decoder.vocab_size, sorted({layout.id for layout in self._layouts})
        if len(beyond := ids[(ids >= vocabulary) & ~np.isin(ids, own)]):
            raise PromptError(
                f"the prompt holds {self.tokenizer.written(int(beyond[0]))!a}, a token beyond the {vocabulary} of the "
                "model; leave it out"
            )
        places = np.flatnonzero(np.isin(ids, own))
        if len(places) != len(counts):
            raise PromptError(
                f"the rendered prompt holds {len(places)} image tokens, expected {len(counts)}; "
                "check the bundle's chat_template.jinja"
                if order
                else f"the prompt contains {self.tokenizer.written(int(ids[places[0]]))}, but there is no image"
            )
        repeats = np.ones(len(ids), dtype=np.int64)
        repeats[places] = counts
        # a turn begins after all images, or else it does not matter
        begun = ends > len(spelled) - (len(rendered) - turn)
        asked = int(repeats[: np.argmax(begun)].sum()) if begun.any() else 0
        ids = np.repeat(ids, repeats)
        visual = np.flatnonzero(np.isin(ids, own))
        reference = np.arange(max(visual[-1] + 1, asked) if order else len(ids), len(ids))
        if order and self._asks and not len(reference):
            raise PromptError(
                "no text follows the image, so nothing can say which of its tokens matter; put the question after it"
            )
        pictures = tuple(tuple((*images, *clips)[number]) for number in order)
        blocks = tuple(block for picture in pictures for block in picture)
        placed = positions(self._medium.positions, len(ids), blocks, visual)
        seen = visible(self._decoder.visible, len(ids), visual, self._decoder.window)
        return Prompt(ids, visual, reference, *placed, pictures, tuple(order), seen)

    def _spelled(self, rendered: str, given: Sequence[Sequence[Sequence[Block]]]) -> tuple[str, list[int], list[int]]:
        """``rendered`` with each placeholder replaced by what the layout puts there, one visual token in place of
        several that follow one another; which of what is ``given``, images and then clips, each stands for; and how
        many tokens each of those that follow one another."""
        layouts = dict(zip((layout.placeholder for layout in self._layouts), self._layouts, strict=True))
        first = dict(zip(layouts, (0, len(given[0])), strict=False))
        spelled, order, counts = list[str](), list[int](), list[int]()
        shown = [*given[0], *given[1]]
        for text in re.split(f"({'|'.join(map(re.escape, layouts))})", rendered):
            if text not in layouts:
                spelled.append(text)
                continue
            order.append(first[text])
            first[text] += 1
            layout = layouts[text]
            for part in pieces(layout, shown[order[-1]]):
                spelled.append(layout.token if isinstance(part, int) else part)
                if isinstance(part, int):
                    counts.append(part)
        return "".join(spelled), order, counts


def read_object(bundle: Bundle, name: str) -> dict[str, Any]:
    """The JSON object in a bundle's file ``name``. Raises :class:`BundleError` for anything else."""
    return foreign.read_object(bundle.path(name), BundleError, "rebuild the bundle")
