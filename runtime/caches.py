"""Keys and values of every decoder layer, with a slot for each of several requests."""

from __future__ import annotations

from typing import Any, NamedTuple

from clasp_trt.bundle import Bundle
from clasp_trt.chain import names, port
from clasp_trt.runtime.backends.interface import Backend, Tensor
from clasp_trt.shortage import memory_for
from clasp_trt.tensors import BYTES


class Bound(NamedTuple):
    """The caches of a segment by the names of its inputs, and by those of its outputs: they are updated in place."""

    past: dict[str, Tensor]
    present: dict[str, Tensor]


class Caches:
    """The caches of all segments, ``[slots, kv_heads, capacity, head_dim]`` each, allocated once.

    Requests that answer stand in the first slots, so that a step of all of them is given one view of each cache; a slot
    that becomes free is filled from the last one (:meth:`move`).
    """

    def __init__(self, bundle: Bundle, backend: Backend[Any], slots: int) -> None:
        manifest, dims = bundle.manifest, bundle.manifest.model.decoder
        dtype = bundle.graph(names.EMBED).outputs[0].dtype
        self._backend: Backend[Tensor] = backend
        self.slots = slots
        places = sum(2 * each.capacity * (each.last_layer - each.first_layer + 1) for each in manifest.segments)
        needed = slots * places * dims.kv_heads * dims.head_dim * BYTES[dtype]
        what = f"for the key-value caches of a context of {manifest.max_context}"
        with memory_for(what if slots == 1 else f"{what} in {slots} slots", needed):
            self.whole: list[dict[str, Tensor]] = [
                {
                    name: backend.zeros((slots, dims.kv_heads, segment.capacity, dims.head_dim), dtype)
                    for layer in range(segment.first_layer, segment.last_layer + 1)
                    for name in port.caches(layer)
                }
                for segment in manifest.segments
            ]
        self._views: dict[tuple[int, int], list[dict[str, Tensor]]] = {(0, slots): self.whole}
        self._bound: dict[tuple[int, int], list[Bound]] = {}
        for slot in range(slots):  # now, and not in the midst of others' answers, if that cannot be
            self.of(slot, slot + 1)

    def of(self, start: int, stop: int) -> list[dict[str, Tensor]]:
        """The caches of slots ``start`` to ``stop``, by segment and name."""
        if (start, stop) not in self._views:
            part = self._backend.part
            self._views[start, stop] = [
                {name: part(cache, start, stop) for name, cache in segment.items()} for segment in self.whole
            ]
        return self._views[start, stop]

    def bound(self, start: int, stop: int) -> list[Bound]:
        """The caches of slots ``start`` to ``stop`` by segment, as its graph takes and gives them."""
        if (start, stop) not in self._bound:
            self._bound[start, stop] = [
                Bound(
                    {port.past(name): cache for name, cache in segment.items()},
                    {port.present(name): cache for name, cache in segment.items()},
                )
                for segment in self.of(start, stop)
            ]
        return self._bound[start, stop]

    def move(self, source: int, to: int) -> None:
        """Copies all that is in slot ``source`` into slot ``to``."""
        for here, there in zip(self.of(source, source + 1), self.of(to, to + 1), strict=True):
            for name, cache in there.items():
                self._backend.copy(cache, here[name])

    def clear(self, slot: int) -> None:
        """Sets a slot to 0."""
        for segment in self.of(slot, slot + 1):
            for cache in segment.values():
                self._backend.clear(cache)

    def release(self) -> None:
        """Lets the caches go."""
        for segment in self.whole:
            segment.clear()
        self._views.clear()
        self._bound.clear()
