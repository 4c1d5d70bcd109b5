"""The training: the tower on labels, then the decoder on a frozen tower, then both.

Every step's data and randomness follow from the seed, the stage and the step alone, and each step's pictures are cut
into the same SHARDS however many processes work, so a run that was stopped goes on where its last checkpoint stands.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import distributed, nn
from torch.nn import functional
from transformers import LlavaForConditionalGeneration

from examples.clasp_tiny import forward
from examples.clasp_tiny.architecture import TOKENS, new_model
from examples.clasp_tiny.batches import IGNORE, Quota, load
from examples.clasp_tiny.dropping import depths
from examples.clasp_tiny.heads import Heads
from examples.clasp_tiny.products import use_bfloat_products

SHARDS = 2
ROWS = 196
"""Rows for the questions of a picture: as many as the longest of the first thousand pictures need."""


@dataclass(frozen=True)
class Stage:
    """One part of the training.

    Attributes:
        batch: pictures a step.
        muon, adam: peak learning rates of the matrices and of all else.
        tower: share of those rates at which the tower learns; 0 freezes it.
        labels: weight of the label losses.
        by_thing: whether each thing of a picture, large or small, has the same weight among the patches.
        answers: whether the decoder learns.
        questions: the most questions of a category that a picture is asked, and those of categories apart.
        dropping: share of pictures that lose visual tokens.
        early: decoder layers after which a word should know where the thing that it names stands.
        all_names: whether that goes for all names, or for the kinds of shapes alone.
    """

    name: str
    steps: int
    batch: int
    muon: float
    adam: float
    tower: float
    labels: float
    by_thing: bool = False
    answers: bool = True
    questions: Quota = field(default_factory=lambda: Quota(2))
    dropping: float = 0.0
    early: int = 3
    all_names: bool = False


RELATIONS = Quota(1, {"spatial relations": 4, "text / symbol recognition": 2, "default": 3})
"""More of what a decoder learns last: relations, text, and comparing two things."""

BROAD = Quota(2, {"spatial relations": 3})

_Seeing = partial(Stage, batch=32, muon=0.02, adam=2e-3, tower=1.0, labels=1.0, answers=False)
_Both = partial(Stage, batch=32, tower=0.2, labels=0.2, by_thing=True, questions=BROAD)

STAGES = (
    _Seeing("tower", 1800),
    _Seeing("things", 900, by_thing=True),
    Stage("decoder", 1200, 32, muon=0.02, adam=2e-3, tower=0.0, labels=0.0, questions=RELATIONS),
    _Both("joint", 700, muon=0.02, adam=2e-3),
    _Both("dropping", 800, muon=0.01, adam=1e-3, dropping=0.6, early=1, all_names=True),
)
WORDS = 0.3
"""Weight of what words know about the things they name."""

FIGURES = ("patch", "picture", "what", "words", "answer", "token_accuracy")
"""What a step tells: losses, the share of patches and of answers' tokens that are right."""

WARMUP = 100
CHECKPOINT_EVERY = 200
GATE = 0.95
"""Share of patches with something in them that the tower must name before a decoder can learn from it."""


class Trainer:
    """A model in training, with its optimisers; one in each process, all equal after each step."""

    def __init__(self, seed: int, rank: int, workers: int, *, compiled: bool) -> None:
        self.seed, self.rank, self.workers = seed, rank, workers
        self.model, self.heads = new_model(seed), Heads(seed)
        use_bfloat_products(self.model)
        self._see: Callable[..., Any] = torch.compile(forward.see) if compiled else forward.see
        self._answer: Callable[..., Any] = torch.compile(forward.answer) if compiled else forward.answer
        tower = list(self.model.model.vision_tower.parameters())
        decoder = [*self.model.model.multi_modal_projector.parameters()]
        decoder += [*self.model.model.language_model.parameters(), *self.model.lm_head.parameters()]
        embeddings = {id(self.model.lm_head.weight), id(self.model.model.language_model.embed_tokens.weight)}
        embeddings |= {id(p) for p in self.model.model.vision_tower.embeddings.parameters()}
        self.groups = {"tower": tower, "decoder": decoder, "heads": list(self.heads.parameters())}
        self.embeddings = embeddings
        self.begin()

    def begin(self) -> None:
        """Makes the optimisers anew: each stage starts without the momentum of the one before."""
        matrices, others = [], []
        for name, parameters in self.groups.items():
            is_matrix = [p.ndim == 2 and id(p) not in self.embeddings and name != "heads" for p in parameters]
            if any(is_matrix):
                chosen = [p for p, m in zip(parameters, is_matrix, strict=True) if m]
                matrices.append({"params": chosen, "name": name})
            others.append({"params": [p for p, m in zip(parameters, is_matrix, strict=True) if not m], "name": name})
        self.muon = torch.optim.Muon(matrices, lr=1.0, weight_decay=0.02, momentum=0.95, adjust_lr_fn="original")
        self.adam = torch.optim.AdamW(others, lr=1.0, weight_decay=0.0, betas=(0.9, 0.98))

    def step(self, stage: Stage, number: int, first_seed: int) -> dict[str, float]:
        """One step; returns its means over all shards."""
        self._rates(stage, number)
        for parameter in self._parameters():
            parameter.grad = None
        sums = torch.zeros(len(FIGURES))
        for shard in range(self.rank, SHARDS, self.workers):
            sums += self._shard(stage, number, first_seed, shard)
        self._reduce(sums)
        nn.utils.clip_grad_norm_(self._parameters(), 1.0)
        self.muon.step()
        self.adam.step()
        return dict(zip(FIGURES, (sums / SHARDS).tolist(), strict=True))

    def _shard(self, stage: Stage, number: int, first_seed: int, shard: int) -> torch.Tensor:
        each = stage.batch // SHARDS
        start = first_seed + number * stage.batch + shard * each
        pictures, packed, _ = load(
            range(start, start + each), "train", stage.questions, ROWS, all_names=stage.all_names
        )
        with torch.set_grad_enabled(stage.tower > 0):
            features, summary = self._see(self.model, pictures.pixels)
        loss = torch.zeros(())
        told = torch.zeros(len(FIGURES))
        if stage.labels:
            patch, picture, what = self.heads(features, summary, pictures, by_thing=stage.by_thing)
            loss = stage.labels * (patch + picture)
            told[:3] = torch.stack([patch.detach(), picture.detach(), what])
        if stage.answers:
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + start)
            depth = depths(pictures.thing, stage.dropping, generator)
            logits, hidden = self._answer(self.model, features, packed, depth, stage.early)
            words = self.heads.words(hidden, packed.meant)
            logits = logits.flatten(0, 1)
            targets = packed.targets.flatten()
            answer = functional.cross_entropy(logits, targets, ignore_index=IGNORE)
            due = targets != IGNORE
            token_accuracy = (logits.argmax(-1) == targets)[due].float().mean()
            told[3:] = torch.stack([words.detach(), answer.detach(), token_accuracy])
            loss = loss + WORDS * words + answer
        (loss / SHARDS).backward()
        return told

    def _parameters(self) -> Iterator[nn.Parameter]:
        return (p for group in (*self.muon.param_groups, *self.adam.param_groups) for p in group["params"])

    def _reduce(self, sums: torch.Tensor) -> None:
        """Adds up gradients and sums over the processes."""
        if self.workers == 1:
            return
        having = [p.grad for p in self._parameters() if p.grad is not None]
        flat = torch.cat([g.flatten() for g in having] + [sums])
        distributed.all_reduce(flat)
        *parts, total = flat.split([g.numel() for g in having] + [len(sums)])
        for gradient, part in zip(having, parts, strict=True):
            gradient.copy_(part.view_as(gradient))
        sums.copy_(total)

    def _rates(self, stage: Stage, number: int) -> None:
        """Warm-up, then a cosine to a fiftieth."""
        cosine = 0.5 * (1 + math.cos(math.pi * number / stage.steps))
        now = min(1.0, (number + 1) / WARMUP) * (0.02 + 0.98 * cosine)
        scale = {"tower": stage.tower, "heads": 1.0, "decoder": float(stage.answers)}
        for optimiser, peak in ((self.muon, stage.muon), (self.adam, stage.adam)):
            for group in optimiser.param_groups:
                group["lr"] = peak * now * scale[group["name"]]

    def state(self) -> dict[str, Any]:
        """All that a later process needs to go on."""
        parts = {"model": self.model, "heads": self.heads, "muon": self.muon, "adam": self.adam}
        return {name: part.state_dict() for name, part in parts.items()}

    def restore(self, state: dict[str, Any]) -> None:
        """The opposite of :meth:`state`."""
        for name, part in (("model", self.model), ("heads", self.heads), ("muon", self.muon), ("adam", self.adam)):
            part.load_state_dict(state[name])


@torch.no_grad()
def accuracy(model: LlavaForConditionalGeneration, seeds: range, split: str) -> dict[str, float]:
    """Share of questions of each category whose whole answer is the likeliest, token by token; nothing is dropped."""
    right: dict[str, list[bool]] = {}
    for start in range(seeds.start, seeds.stop, 32):
        pictures, packed, asked = load(range(start, min(start + 32, seeds.stop)), split, Quota(1), ROWS)
        features, _ = forward.see(model, pictures.pixels)
        stays = torch.full((len(features), TOKENS), forward.NEVER)
        said = forward.answer(model, features, packed, stays)[0].argmax(-1)
        wrong = (said != packed.targets) & (packed.targets != IGNORE)
        for row, questions in enumerate(asked):
            for number, question in enumerate(questions):
                missed = bool((wrong[row] & (packed.owner[row] == number)).any())
                right.setdefault(question.category, []).append(not missed)
    each = {name: sum(values) / len(values) for name, values in sorted(right.items())}
    return each | {"all": sum(map(sum, right.values())) / sum(map(len, right.values()))}


def train(folder: Path, *, seed: int, workers: int, compiled: bool) -> None:
    """Trains in ``folder``, going on where an earlier run stopped; leaves ``folder/trained.pt``."""
    folder.mkdir(parents=True, exist_ok=True)
    if workers == 1:
        _work(0, folder, seed, 1, compiled, "")
        return
    with tempfile.TemporaryDirectory() as meeting:
        torch.multiprocessing.spawn(_work, (folder, seed, workers, compiled, f"file://{meeting}/store"), nprocs=workers)


def _work(rank: int, folder: Path, seed: int, workers: int, compiled: bool, meeting: str) -> None:
    torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // workers))
    if workers > 1:
        distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=workers)
    trainer = Trainer(seed, rank, workers, compiled=compiled)
    saved = folder / "checkpoint.pt"
    at_stage, at_step = 0, 0
    if saved.is_file():
        state = torch.load(saved, weights_only=True)
        trainer.restore(state)
        at_stage, at_step = state["stage"], state["step"]
    first_seed = 0
    for index, stage in enumerate(STAGES):
        if index >= at_stage:
            _run_stage(trainer, stage, index, at_step if index == at_stage else 0, first_seed, folder)
        first_seed += stage.steps * stage.batch
    if rank == 0:
        _save(folder / "trained.pt", {"model": trainer.model.state_dict()})


def _run_stage(trainer: Trainer, stage: Stage, index: int, at: int, first_seed: int, folder: Path) -> None:
    began, smooth = time.monotonic(), dict[str, float]()
    if at == 0:
        trainer.begin()
        if stage.answers and not STAGES[index - 1].answers:  # a decoder begins to read from the tower
            forward.settle(trainer.model, load(range(first_seed, first_seed + 64), "train", Quota(1), ROWS)[0].pixels)
    for number in range(at, stage.steps):
        told = trainer.step(stage, number, first_seed)
        smooth = {name: 0.98 * smooth.get(name, value) + 0.02 * value for name, value in told.items()}
        done = number + 1
        if trainer.rank:
            continue
        if done % 50 == 0:
            rate = (done - at) * stage.batch / (time.monotonic() - began)
            figures = {name: round(value, 4) for name, value in smooth.items()}
            _log(folder, {"stage": stage.name, "step": done, "pictures_per_s": round(rate, 1)} | figures)
        if done % CHECKPOINT_EVERY == 0 or done == stage.steps:
            whole = done == stage.steps
            place = {"stage": index + whole, "step": 0 if whole else done}
            _save(folder / "checkpoint.pt", trainer.state() | place)
        if stage.answers and done % 400 == 0:
            each = accuracy(trainer.model, range(64), "calibration")
            _log(folder, {"stage": stage.name, "step": done, "accuracy": {k: round(v, 3) for k, v in each.items()}})
    if not stage.answers and smooth.get("what", 1.0) < GATE:
        raise SystemExit(f"the tower names {smooth['what']:.1%} of the patches, expected {GATE:.0%}: train it longer")


def _log(folder: Path, entry: dict[str, Any]) -> None:
    line = json.dumps(entry)
    print(line, flush=True)
    with (folder / "log.jsonl").open("a") as file:
        file.write(line + "\n")


def _save(path: Path, state: dict[str, Any]) -> None:
    beside = path.with_suffix(".tmp")
    torch.save(state, beside)
    os.replace(beside, path)
