"""Other implementations of the selection, for ``benchmarks/selection_gpu.py``: all compute the same function.

Each takes saliency float32 ``[tokens]``, tokens ``[tokens, width]`` in any float type, the number of pivots, and
``keep``, which is larger, and returns the kept tokens, int64 ``[keep]``, ascending. Similarities are summed in float32.
They are for tokens that are all valid, and leave ties to torch, other than :mod:`clasp_trt.ops`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from clasp_trt.ops import GRAM_STEPS, ITERATIONS

Select = Callable[[Tensor, Tensor, int, int], Tensor]


@dataclass(frozen=True)
class Start:
    """What every iteration starts from: pivots ``best``, all other tokens ascending in ``rest``, and best seed first in
    ``order``."""

    best: Tensor
    rest: Tensor
    order: Tensor


@dataclass(frozen=True)
class Clusters:
    """Of the tokens in ``rest``: ``members`` ``[clusters, rest]`` one-hot, ``cosine`` ``[clusters, rest]``."""

    members: Tensor
    cosine: Tensor


def paper_loop(saliency: Tensor, x: Tensor, pivots: int, keep: int) -> Tensor:
    """As research code has it: vectors, and a Python loop over clusters in every iteration. Waits for the device."""
    u = F.normalize(x.float(), dim=-1)
    start = _start(saliency, u, pivots)
    v, centers = u[start.rest], u[start.order[: keep - pivots]]
    for _ in range(ITERATIONS):
        owner = (v @ centers.T).argmax(dim=1)
        for cluster in range(len(centers)):
            members = v[owner == cluster]
            if len(members):
                centers[cluster] = F.normalize(members.mean(dim=0), dim=0)
    chosen = [start.best]
    for cluster in range(len(centers)):
        members = (owner == cluster).nonzero()[:, 0]
        if len(members):
            chosen.append(start.rest[members[(v[members] @ centers[cluster]).argmax()]][None])
    kept = torch.cat(chosen)
    spare = start.order[~torch.isin(start.order, kept)]
    return torch.cat([kept, spare[: keep - len(kept)]]).sort().values


def direct(saliency: Tensor, x: Tensor, pivots: int, keep: int) -> Tensor:
    """On vectors, without loops over clusters or waits, so that a CUDA graph can capture it."""
    u = F.normalize(x.float(), dim=-1)
    start = _start(saliency, u, pivots)
    v, centers = u[start.rest], u[start.order[: keep - pivots]]
    for _ in range(ITERATIONS):
        members = _one_hot((v @ centers.T).argmax(dim=1), len(centers))
        centers = torch.where(members.any(dim=1)[:, None], F.normalize(members.float() @ v, dim=-1), centers)
    return _kept(start, Clusters(members, centers @ v.T), keep)


def gram(saliency: Tensor, x: Tensor, pivots: int, keep: int) -> Tensor:
    """On the Gram matrix of the tokens, clusters as a one-hot matrix, so that a CUDA graph can capture it."""
    start, clusters = on_gram(saliency, _similarity(x), pivots, keep)
    return _kept(start, clusters, keep)


def whole_steps(x: Tensor) -> Tensor:
    """Cosines as the operators take them, :func:`clasp_trt.ops.token_gram`: symmetric, in whole steps, 1 by itself."""
    upper = _similarity(x).triu()
    steps = (upper + upper.triu(1).T).clamp(-1.0, 1.0).mul(GRAM_STEPS).round().div(GRAM_STEPS)
    return steps.fill_diagonal_(1.0)


def on_gram(saliency: Tensor, similarity: Tensor, pivots: int, keep: int) -> tuple[Start, Clusters]:
    """The iterations on a Gram matrix, in its precision."""
    best = saliency.topk(pivots).indices
    rest = _others(best, len(similarity))
    start = Start(best, rest, _order(similarity[rest][:, best], rest))
    seeds = start.order[: keep - pivots]
    sums, squared, similarity = similarity[seeds][:, rest], similarity.diagonal()[seeds], similarity[rest][:, rest]
    for _ in range(ITERATIONS):
        members = _one_hot(_cosine(sums, squared).argmax(dim=0), len(seeds))
        weights, filled = members.to(similarity.dtype), members.any(dim=1)
        updated = weights @ similarity
        sums = torch.where(filled[:, None], updated, sums)
        squared = torch.where(filled, (updated * weights).sum(dim=1), squared)
    return start, Clusters(members, _cosine(sums, squared))


def flash(saliency: Tensor, x: Tensor, pivots: int, keep: int) -> Tensor:
    """The iterations by flash-kmeans; pivots, seeds and medoids by torch."""
    from flash_kmeans import batch_kmeans_Cosine

    u = F.normalize(x.float(), dim=-1)
    start = _start(saliency, u, pivots)
    v, centers = u[start.rest], u[start.order[: keep - pivots]]
    owner, centers, *_ = batch_kmeans_Cosine(v[None], len(centers), ITERATIONS, init_centroids=centers[None])
    centers = F.normalize(centers[0].float(), dim=-1)
    return _kept(start, Clusters(_one_hot(owner[0].long(), len(centers)), centers @ v.T), keep)


def faiss(saliency: Tensor, x: Tensor, pivots: int, keep: int) -> Tensor:
    """The iterations by FAISS, which takes them from the host; pivots, seeds and medoids by torch.

    FAISS splits a large cluster where one is empty; that is another function.
    """
    from faiss import Kmeans

    u = F.normalize(x.float(), dim=-1)
    start = _start(saliency, u, pivots)
    v, seeds = u[start.rest], u[start.order[: keep - pivots]]
    on_host, count = v.cpu().numpy(), len(seeds)
    kmeans = Kmeans(
        x.shape[1], count, niter=ITERATIONS - 1, spherical=True, gpu=x.is_cuda, min_points_per_centroid=1,
        max_points_per_centroid=len(on_host),
    )  # fmt: skip
    kmeans.train(on_host, init_centroids=seeds.cpu().numpy())
    members = _one_hot(torch.from_numpy(kmeans.assign(on_host)[1]).to(x.device), count)  # the last assignment
    last = torch.from_numpy(kmeans.centroids).to(x.device)
    centers = torch.where(members.any(dim=1)[:, None], F.normalize(members.float() @ v, dim=-1), last)
    return _kept(start, Clusters(members, centers @ v.T), keep)


def _similarity(x: Tensor) -> Tensor:
    """Cosines, from products in the tokens' own type that are summed in float32."""
    if x.is_cuda and x.dtype != torch.float32:
        products = torch.mm(x, x.T, out_dtype=torch.float32)
    else:
        products = x.float() @ x.float().T
    scale = products.diagonal().rsqrt()
    return products * scale[:, None] * scale


def _start(saliency: Tensor, u: Tensor, pivots: int) -> Start:
    best = saliency.topk(pivots).indices
    rest = _others(best, len(u))
    return Start(best, rest, _order(u[rest] @ u[best].T, rest))


def _others(best: Tensor, tokens: int) -> Tensor:
    """All tokens but ``best``, ascending; how many is known on the host."""
    marks = torch.zeros(tokens, dtype=torch.int8, device=best.device).index_fill(0, best, 1)
    return marks.argsort(stable=True)[: tokens - len(best)]


def _order(similarity: Tensor, rest: Tensor) -> Tensor:
    """``rest`` by its largest ``similarity`` ``[rest, pivots]`` to a pivot, smallest first."""
    redundancy = similarity.amax(dim=1) if similarity.shape[1] else similarity.new_zeros(len(rest))
    return rest[redundancy.argsort(stable=True)]


def _cosine(sums: Tensor, squared: Tensor) -> Tensor:
    return sums * squared.clamp_min(1e-12).rsqrt()[:, None]


def _one_hot(owner: Tensor, clusters: int) -> Tensor:
    return owner[None] == torch.arange(clusters, device=owner.device)[:, None]


def _kept(start: Start, clusters: Clusters, keep: int) -> Tensor:
    """The first ``keep`` of: pivots, a medoid of each cluster with members, the others in the order of seeds."""
    count = len(start.rest)
    place = torch.empty(count + len(start.best), dtype=torch.int64, device=start.rest.device)
    place.index_fill_(0, start.best, -2)
    place[start.order] = torch.arange(count, device=place.device)
    medoids = start.rest[clusters.cosine.masked_fill(~clusters.members, -2.0).argmax(dim=1)]
    is_filled = clusters.members.any(dim=1)
    place.scatter_reduce_(0, medoids, torch.full_like(medoids, count).masked_fill(is_filled, -1), "amin")
    return place.topk(keep, largest=False).indices.sort().values
