"""What a request kept of its picture, in words and in JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clasp_trt.runtime.result import Result


def kept_line(result: Result) -> str:
    """Category, visual tokens, and how many each stage left of them."""
    if not result.visual_tokens:
        return f"[{result.category}] text alone"
    counts = (result.visual_tokens, *(len(stage.indices) for stage in result.kept))
    return f"[{result.category}] {counts[0]} visual tokens" + "".join(f" -> {count}" for count in counts[1:])


def kept_json(result: Result) -> list[dict[str, object]]:
    """For each stage the indices of its tokens in raster order, and which of them are pivots; of what the tower left,
    after which of its blocks."""
    return [
        {
            "after_layer": stage.after_layer,
            **({} if stage.tower_block is None else {"tower_block": stage.tower_block}),
            "indices": stage.indices.tolist(),
            "is_pivot": stage.is_pivot.tolist(),
        }
        for stage in result.kept
    ]
