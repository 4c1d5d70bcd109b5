"""The names of ports, which are also those of the tensors that pass from graph to graph, and of symbolic dimensions."""

from __future__ import annotations

from collections.abc import Iterable

# vision and projector
PIXEL_VALUES = "pixel_values"
FEATURES = "features"
CLS_SALIENCY = "cls_saliency"
PATCH_SALIENCY = "patch_saliency"
ALPHA = "alpha"
VISUAL = "visual"
ROW_INDEX = "row_index"
ROW_WEIGHT = "row_weight"
TOKEN_SALIENCY = "token_saliency"

# vision of patches in a grid of any size
PATCHES = "patches"
POSITIONS = "positions"
WINDOW_ROWS = "window_rows"
WINDOW_VALID = "window_valid"
ROW_SLOTS = "row_slots"
TABLE_INDEX = "table_index"
TABLE_WEIGHT = "table_weight"
DEEPSTACK = "deepstack"

# embed, segments and prunes
INPUT_IDS = "input_ids"
HIDDEN = "hidden"
POSITION_IDS = "position_ids"
WRITE_INDEX = "write_index"
KV_LENGTH = "kv_length"
VISIBLE = "visible"
SCORED = "scored"
VISUAL_INDEX = "visual_index"
REFERENCE_INDEX = "reference_index"
GRAM = "gram"
SALIENCY = "saliency"
PIVOT_COUNT = "pivot_count"
RANKS = "ranks"
KEPT = "kept"
IS_PIVOT = "is_pivot"
LOGITS = "logits"
TOKEN = "token"

# dimensions
BATCH = "batch"
FRAMES = "frames"
WINDOWS = "windows"
WINDOW_SLOTS = "window_slots"
SLOTS = "slots"
"""Requests that the decoder serves in one call, each with a cache of its own: one in prefill, any number in a step."""
SEQUENCE = "sequence"
SCORES = "scores"
"""Rows that logits are of: the last one of a prompt, and every row of a step."""
KEPT_SEQUENCE = "kept_sequence"
VISUAL_TOKENS = "visual_tokens"
KEEP = "keep"
REFERENCE = "reference"

_OUT, _PAST, _PRESENT = "_out", "past_", "present_"
_PAST_KEY = f"{_PAST}key_"


def out(name: str) -> str:
    """What a graph gives back in place of its input ``name``."""
    return f"{name}{_OUT}"


HIDDEN_OUT = out(HIDDEN)
NARROWED = (HIDDEN, POSITION_IDS, VISIBLE, GRAM, CLS_SALIENCY, VISUAL_INDEX, REFERENCE_INDEX, DEEPSTACK)
"""What a prune takes and gives back narrowed to the rows or tokens that stay, as far as a chain has it."""


def caches(layer: int) -> tuple[str, str]:
    """The names of the keys and values of a decoder layer, without :func:`past` or :func:`present`."""
    return f"key_{layer}", f"value_{layer}"


def past(cache: str) -> str:
    """The input that is a cache as it was."""
    return f"{_PAST}{cache}"


def present(cache: str) -> str:
    """The output that is a cache with the new rows written; bound to the memory of its past."""
    return f"{_PRESENT}{cache}"


def is_past(name: str) -> bool:
    """Whether an input is a cache."""
    return name.startswith(_PAST)


def is_present(name: str) -> bool:
    """Whether an output is a cache."""
    return name.startswith(_PRESENT)


def past_of(name: str) -> str:
    """The input whose memory the output :func:`present` ``name`` is bound to."""
    return past(name.removeprefix(_PRESENT))


def present_of(name: str) -> str:
    """The output that is written over the input :func:`past` ``name``."""
    return present(name.removeprefix(_PAST))


def layers(inputs: Iterable[str]) -> int:
    """How many decoder layers a graph with these inputs holds: one for each cache of keys."""
    return sum(name.startswith(_PAST_KEY) for name in inputs)
