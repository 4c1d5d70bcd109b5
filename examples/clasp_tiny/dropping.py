"""Visual tokens that training leaves out, so that the model counts things and not the tokens that show them.

A decoder that was trained on all tokens learns to count by density, and falls apart when a method keeps more tokens of
one thing than of another. Here tokens leave at the depths where stages stand, in an order between random and strongly
biased to things, uneven from thing to thing. No pruning method is imitated.
"""

from __future__ import annotations

import torch

from examples.clasp_tiny.architecture import TOKENS
from examples.clasp_tiny.forward import NEVER

STAGES = (1, 2, 4)
"""First layers that no longer see what a stage dropped: the stages stand after layers 0, 1 and 3."""


def depths(thing: torch.Tensor, share: float, generator: torch.Generator) -> torch.Tensor:
    """Drop depths int64 [batch, TOKENS] for :func:`forward.answer`; ``share`` of the pictures lose tokens.

    A picture that does keeps a share ``r`` in [0.03, 0.6] at the last stage and more before it, or, once in four, ``r``
    from the start.
    """
    batch = len(thing)

    def uniform(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=generator)

    bias = 5 * uniform(batch, 1)
    uneven = 2 * uniform(batch, 1) * torch.randn(batch, 32, generator=generator)
    order = -torch.log(-torch.log(uniform(batch, TOKENS).clamp_min(1e-9)))  # Gumbel: a random choice without return
    order = order + bias * (thing >= 0) + torch.gather(uneven, 1, (thing + 1).clamp_max(31))
    rank = order.argsort(dim=1, descending=True).argsort(dim=1)

    keep = 0.03 + 0.57 * uniform(batch)
    early = uniform(batch) < 0.25
    depth = torch.full((batch, TOKENS), NEVER)
    for leaves, power in zip(reversed(STAGES), (1.0, 0.8, 0.6), strict=True):
        depth[rank >= (keep**power * TOKENS).ceil().clamp_min(1)[:, None]] = leaves
    depth[early[:, None] & (rank >= (keep * TOKENS).ceil().clamp_min(1)[:, None])] = 0
    depth[uniform(batch) >= share] = NEVER
    return depth
