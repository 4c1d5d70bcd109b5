"""Why a router decided as it did, for one that gives no reasons: what it would have said without each word."""

from __future__ import annotations

import re

from clasp_trt.runtime.routing.router import Route, Router, ends

MAX_PIECES = 64
"""More words than that are taken together, so that an explanation costs at most as many decisions."""

_PIECE = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\s\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+")
_LEAST = 0.005  # a change that would be shown as 0.00


def influences(router: Router, prompt: str, route: Route, most: int = 5) -> tuple[tuple[str, float], ...]:
    """The words without which the likeliest category would be less likely, and by how much, most first.

    ``route`` is what ``router`` says to ``prompt``. Chinese, Japanese and Korean count by the character.
    """
    text = ends(prompt)
    found = list(_PIECE.finditer(text))
    step = -(-len(found) // MAX_PIECES) or 1
    best = max(range(len(route.probabilities)), key=lambda index: route.probabilities[index])
    losses = []
    for start in range(0, len(found), step):
        first, last = found[start].start(), found[min(start + step, len(found)) - 1].end()
        without = router.route(f"{text[:first]} {text[last:]}").probabilities[best]
        losses.append((text[first:last], route.probabilities[best] - without))
    losses.sort(key=lambda item: -item[1])
    return tuple(item for item in losses[:most] if item[1] >= _LEAST)
