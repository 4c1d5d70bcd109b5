"""Ray's question which replica to ask, answered by :mod:`clasp_trt.runtime.serving.cluster.affinity`."""

from __future__ import annotations

import random
from typing import Any

from ray.serve.request_router import PendingRequest, RequestRouter, RunningReplica

from clasp_trt.runtime.serving.cluster.affinity import ranked


class PictureRouter(RequestRouter):  # type: ignore[misc]  # Ray ships no types
    """Asks the replica that had the pictures first, and the next one by rank where it has no place. The key is the
    first argument of the call; without one, any replica may be asked."""

    async def choose_replicas(
        self, candidate_replicas: list[RunningReplica], pending_request: PendingRequest | None = None
    ) -> list[list[RunningReplica]]:
        """Ranks of replicas; Ray asks those of the next where none of a rank takes the request."""
        by_name: dict[str, Any] = {each.replica_id.unique_id: each for each in candidate_replicas}
        key = pending_request.args[0] if pending_request is not None and pending_request.args else None
        if not isinstance(key, str):
            return [random.sample(candidate_replicas, len(candidate_replicas))]
        return [[by_name[name]] for name in ranked(key, by_name)]
