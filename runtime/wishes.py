"""The keywords that every way of asking has in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypedDict

from clasp_trt.runtime.sampling import Sampling


class Wishes(TypedDict, total=False):
    """See :meth:`clasp_trt.runtime.pipeline.Pipeline.stream`; what is missing is None there, or False."""

    max_new_tokens: int | None
    sampling: Sampling | None
    stop: Sequence[str] | None
    choices: Sequence[str] | None
    regex: str | None
    json_schema: Mapping[str, Any] | None
    category: str | None
    ignore_stop: bool
    logprobs: bool
    top_logprobs: int
    cancelled: Callable[[], bool] | None
    lookup: int | None
    draft: int | None
