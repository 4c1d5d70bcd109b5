"""Where visual tokens stand in a prompt, one function for each kind of layout that a manifest may name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from clasp_trt.bundle.media import Run
from clasp_trt.runtime.media.seen import Block

Pieces = tuple[str | int, ...]
"""What takes the place of a picture's placeholder: texts, and numbers of visual tokens that follow one another."""


def run(layout: Run, blocks: Sequence[Block]) -> Pieces:
    """All tokens in one run."""
    return layout.before, sum(block.tokens for block in blocks), layout.after


KINDS: Mapping[str, Callable[[Any, Sequence[Block]], Pieces]] = MappingProxyType({Run.kind: run})
"""By the kind of the record in :mod:`clasp_trt.bundle.media`."""


def pieces(layout: Run, blocks: Sequence[Block]) -> Pieces:
    """What a manifest's layout puts in the place of a picture that became ``blocks``."""
    return KINDS[layout.kind](layout, blocks)
