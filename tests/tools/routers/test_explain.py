"""Reasons for a router that gives none, and a router beside labels."""

from __future__ import annotations

import pytest

from clasp_trt.runtime.routing.router import Route, decided
from clasp_trt.tools.routers.agreement import Agreement
from clasp_trt.tools.routers.explain import MAX_PIECES, influences

NAMES = ("counting", "text", "default")


class Words:
    """Counting is likelier the more of its words a prompt has."""

    names = NAMES
    asked = 0

    def route(self, prompt: str) -> Route:
        self.asked += 1
        share = 0.1 + 0.4 * ("many" in prompt) + 0.3 * ("几" in prompt) + 0.1 * ("dogs" in prompt)
        return decided(NAMES, (share, 0.0, 1 - share), 0.5)


def test_words_that_counted_most_first() -> None:
    router = Words()
    prompt = "how many dogs 有几只"
    found = influences(router, prompt, router.route(prompt))
    assert [word for word, _ in found] == ["many", "几", "dogs"]
    assert [share for _, share in found] == pytest.approx([0.4, 0.3, 0.1])
    assert len(influences(router, prompt, router.route(prompt), most=1)) == 1


@pytest.mark.parametrize("prompt", ["", "   ", "?"])
def test_nothing_to_explain(prompt: str) -> None:
    router = Words()
    assert influences(router, prompt, router.route(prompt)) == ()


def test_a_long_prompt_costs_no_more() -> None:
    router = Words()
    prompt = "word " * 200 + "many " + "word " * 199
    found = influences(router, prompt, router.route(prompt))
    assert router.asked <= 1 + MAX_PIECES
    assert len(found) == 1
    assert "many" in found[0][0]


def test_agreement() -> None:
    pairs = [("counting", "counting"), ("counting", "default"), ("text", "counting"), ("default", "text")]
    found = Agreement.of(NAMES, [*pairs, ("default", "default")])
    assert found.counts == ((1, 0, 1), (1, 0, 0), (0, 1, 1))
    assert (found.total, found.right, found.fallbacks, found.wrong) == (5, 2, 1, 2)
