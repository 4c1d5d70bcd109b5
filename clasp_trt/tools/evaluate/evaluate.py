"""Asks a bundle every question with every method, and sums up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from clasp_trt import methods as pruning
from clasp_trt.progress import Progress, silent
from clasp_trt.tools.evaluate.answers import DEFAULT_MAX_NEW_TOKENS, Forgetful, Run, Store, answer
from clasp_trt.tools.evaluate.questions import Questions, assign, check_categories
from clasp_trt.tools.evaluate.report import Report, summarise

if TYPE_CHECKING:
    from clasp_trt.runtime.pipeline import Pipeline


def evaluate(
    pipeline: Pipeline,
    questions: Questions,
    methods: Sequence[str] | None = None,
    *,
    max_new_tokens: int = DEFAULT_MAX_NEW_TOKENS,
    route: bool = False,
    store: Store | None = None,
    progress: Progress = silent,
) -> Report:
    """Answers every question greedily with every method, and sums up.

    Args:
        pipeline: its policy says which categories there are.
        methods: names of :data:`clasp_trt.methods.METHODS`, each once (None: the pipeline's own).
        route: answer under the category that the router gives, also where the row has one.
        store: holds the answers of an earlier run and hears each new one (None: forgets them).
        progress: hears a phase, answers that there are and answers in all.

    Raises:
        DataError: a category that the policy does not have, before anything is answered; or a row whose picture or
            prompt cannot be used, by ``file:line``, when its turn comes.
        MethodError: an unknown method, or one that the bundle cannot follow.
    """
    store = store or Forgetful()
    check_categories(questions, pipeline.policy)
    variants = {name: pipeline.variant(method=pruning.get(name)) for name in methods or (pipeline.method.name,)}
    assigned = assign(questions, lambda prompt: pipeline.route(prompt).name, route=route)
    runs = [Run(name, variant, assigned) for name, variant in variants.items()]
    answers = answer(questions, runs, max_new_tokens=max_new_tokens, store=store, progress=progress)
    names = [category.name for category in pipeline.policy.categories]
    return summarise(assigned, answers, tuple(variants), names, pipeline.bundle.manifest.schedule)
