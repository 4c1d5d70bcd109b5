"""The shipped router on prompts that somebody else wrote, who knew the paper alone."""

from __future__ import annotations

from collections import Counter

import pytest

from clasp_trt.policy import CATEGORY_NAMES, PRIOR_THRESHOLD
from clasp_trt.runtime.routing.folder import SHIPPED, load_router
from clasp_trt.tools.routers.phrases import Phrases
from clasp_trt.tools.routers.prompt_files import read_prompts
from clasp_trt.tools.routers.prompts import TRAIN, generate
from clasp_trt.tools.routers.train import PER_CATEGORY
from tests.house import ROOT

GOAL = 0.85
PROMPTS = read_prompts(ROOT / "benchmarks" / "router_prompts.jsonl")


def bare(prompt: str) -> str:
    return prompt.casefold().strip(" .?!")


def test_every_category_is_asked_for_alike() -> None:
    assert Counter(prompt.category for prompt in PROMPTS) == dict.fromkeys(CATEGORY_NAMES, 80)


@pytest.mark.full
def test_the_goal_is_reached_on_what_training_never_saw() -> None:
    """A few short questions, such as "Who wrote this book?", everybody asks in the same words."""
    trained = {bare(row.question) for row in generate(Phrases.load(), per_category=PER_CATEGORY, seed=0)[TRAIN]}
    unseen = [prompt for prompt in PROMPTS if bare(prompt.text) not in trained]
    assert len(unseen) > 0.95 * len(PROMPTS)
    router = load_router(SHIPPED, CATEGORY_NAMES, PRIOR_THRESHOLD)
    right = sum(router.route(prompt.text).name == prompt.category for prompt in unseen)
    assert right / len(unseen) >= GOAL
