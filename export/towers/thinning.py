"""Rows that a tower drops between two of its blocks, as torch code that traces to standard operators."""

from __future__ import annotations

import torch


def most_salient(saliency: torch.Tensor, keep: int) -> torch.Tensor:
    """The body of :func:`clasp_trt.ops.most_salient`: float32 ``[batch, patches]`` to int64 ``[batch, keep]``.

    Traced, both choices are ``TopK``, by which equal values go to the lowest index; torch itself promises no order of
    equal values.
    """
    clean = torch.where(torch.isnan(saliency), torch.full_like(saliency, -torch.inf), saliency)
    best = torch.topk(clean, keep, dim=-1, largest=True, sorted=True).indices
    # as floats, which are exact here: not every backend sorts integers
    ascending = torch.topk(best.to(torch.float32), keep, dim=-1, largest=False, sorted=True).values
    return ascending.to(torch.int64)


def narrowed(states: torch.Tensor, kept: torch.Tensor, first: int) -> torch.Tensor:
    """The first ``first`` rows of ``states`` ``[batch, rows, width]``, and those that ``kept`` counts from there."""
    batch, rows, width = states.shape
    own = torch.arange(batch, device=states.device)[:, None] * rows + kept + first
    chosen = torch.index_select(states.reshape(-1, width), 0, own.reshape(-1)).reshape(batch, -1, width)
    return torch.cat([states[:, :first], chosen], dim=1) if first else chosen
