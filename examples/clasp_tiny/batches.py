"""Pictures with labels and, packed behind each, its questions.

A picture's questions share one prefix (``<s> user : <image>``) and cannot see each other: every question continues the
prefix at the prefix's last position, as if it were alone. So one pass over a picture trains all of them.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch

from examples.clasp_tiny.architecture import PATCH, TOKENS
from examples.clasp_tiny.labels import label
from examples.clasp_tiny.words import PREFIX, VOCABULARY, answer_ids, encode, question_ids
from examples.shapesvqa import Question, Scene, draw_questions, render
from examples.shapesvqa.scene import COLOURS, Arrow, Person, Shape, Sign, Tool

IMAGE_MEAN = (0.48145466, 0.4578275, 0.40821073)
IMAGE_STD = (0.26862954, 0.26130258, 0.27577711)
IGNORE = -100
LENGTH = len(PREFIX) + TOKENS
"""Rows of the prefix; its last TOKENS rows are the picture's."""


@dataclass(frozen=True)
class Quota:
    """The most questions that a picture is asked in each category: ``most``, but for those ``apart``."""

    most: int
    apart: Mapping[str, int] = field(default_factory=dict)

    def of(self, questions: list[Question]) -> list[Question]:
        """The first questions of each category that fit the quota."""
        taken: Counter[str] = Counter()
        chosen = []
        for question in questions:
            taken[question.category] += 1
            if taken[question.category] <= self.apart.get(question.category, self.most):
                chosen.append(question)
        return chosen

    @property
    def greatest(self) -> int:
        return max(self.most, *self.apart.values(), 0)


@dataclass(frozen=True)
class Pictures:
    """Pictures with their labels.

    Attributes:
        pixels: float32 [batch, 3, size, size], normalised.
        patches: int64 [batch, labels, TOKENS]; see :data:`labels.PATCH_CLASSES`.
        picture: int64 [batch, labels].
        thing: int64 [batch, TOKENS].
    """

    pixels: torch.Tensor
    patches: torch.Tensor
    picture: torch.Tensor
    thing: torch.Tensor


@dataclass(frozen=True)
class Packed:
    """Questions behind their pictures' prefixes, padded to ``rows`` rows.

    Attributes:
        ids: int64 [batch, rows], token ids after the prefix.
        positions: int64 [batch, rows], rotary positions.
        owner: int64 [batch, rows], which question a row belongs to; -1 for padding.
        targets: int64 [batch, rows], the next token where an answer is due, else IGNORE.
        meant: int64 [batch, 3, rows], row and column of the patch grid and colour of the one thing that a row names,
            else IGNORE.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    owner: torch.Tensor
    targets: torch.Tensor
    meant: torch.Tensor


def load(
    seeds: range, split: str, quota: Quota, rows: int, *, all_names: bool = False
) -> tuple[Pictures, Packed, list[list[Question]]]:
    """The scenes of these seeds. Questions that do not fit into ``rows`` are left out, which few are.

    Words that name a thing are the kinds of shapes, or with ``all_names`` also colours and what is no shape.
    """
    pixels, patches, picture, thing, packs, meant, asked = [], [], [], [], [], [], []
    for seed in seeds:
        scene, questions = draw_questions(seed, split, quota.greatest)
        found = label(scene)
        pixels.append(np.asarray(render(scene), np.uint8))
        patches.append(found.patches)
        picture.append(found.picture)
        thing.append(found.thing)
        pack, fitting = _pack(quota.of(questions), rows, seed)
        packs.append(pack)
        meant.append(_meant(pack[0], scene, all_names=all_names))
        asked.append(fitting)
    image = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).float().div_(255)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (IMAGE_MEAN, IMAGE_STD))
    pictures = Pictures(
        (image - mean) / std, *(torch.from_numpy(np.stack(values)) for values in (patches, picture, thing))
    )
    packed = torch.from_numpy(np.stack(packs, axis=1)).unbind(0)
    return pictures, Packed(*packed, torch.from_numpy(np.stack(meant))), asked


def _pack(questions: list[Question], rows: int, seed: int) -> tuple[np.ndarray, list[Question]]:
    """int64 [4, rows]: ids, positions, owner, targets."""
    pack = np.zeros((4, rows), dtype=np.int64)
    pack[0], pack[2], pack[3] = VOCABULARY["<pad>"], -1, IGNORE
    order = random.Random(seed).sample(range(len(questions)), len(questions))
    start, fitting = 0, []
    for number in order:
        question, answer = question_ids(questions[number].prompt), answer_ids(questions[number].answer)
        ids = [*question, *answer][:-1]
        end = start + len(ids)
        if end > rows:
            continue
        pack[0, start:end] = ids
        pack[1, start:end] = np.arange(LENGTH, LENGTH + len(ids))
        pack[2, start:end] = len(fitting)
        pack[3, end - len(answer) : end] = answer
        fitting.append(questions[number])
        start = end
    return pack, fitting


def _meant(ids: np.ndarray, scene: Scene, *, all_names: bool) -> np.ndarray:
    """int64 [3, rows]; see :class:`Packed`."""
    meant = np.full((3, len(ids)), IGNORE, dtype=np.int64)
    for name, thing in (names(scene) if all_names else _kinds(scene)).items():
        where = int(thing.at.y // PATCH), int(thing.at.x // PATCH), COLOURS.index(thing.colour)
        meant[:, ids == VOCABULARY[name]] = np.array(where)[:, None]
    return meant


def _kinds(scene: Scene) -> dict[str, Shape]:
    """The shapes that are alone of their kind, by it."""
    times = Counter(shape.kind for shape in scene.shapes)
    return {shape.kind: shape for shape in scene.shapes if times[shape.kind] == 1}


def names(scene: Scene) -> dict[str, Shape | Tool | Sign | Arrow | Person]:
    """Also those alone of their colour, and the tool, the sign, the arrow and the person."""
    times = Counter(shape.colour for shape in scene.shapes)
    colours = {shape.colour: shape for shape in scene.shapes if times[shape.colour] == 1}
    tool = {"tool": scene.tool, scene.tool.kind: scene.tool} if scene.tool else {}
    others = {"sign": scene.sign, "arrow": scene.arrow, "person": scene.person}
    return {**_kinds(scene), **colours, **tool, **{name: thing for name, thing in others.items() if thing}}


PREFIX_IDS = torch.tensor(encode(PREFIX))
