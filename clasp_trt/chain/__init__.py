"""The chain of graphs that a bundle is: every name, every port, the order, and what reaches each of them.

A request runs ``vision``, ``projector``, ``embed``, ``gram`` and then the decoder: segment after segment, with a prune
where the schedule has a stage, and ``greedy`` after the last. :mod:`~clasp_trt.chain.names` has the names of graphs,
:mod:`~clasp_trt.chain.port` those of ports and symbolic dimensions, :mod:`~clasp_trt.chain.ports` the ports of each
graph, and :class:`Chain` where the decoder is cut and how many visual tokens reach each cut.
"""

from __future__ import annotations

from clasp_trt.chain.cuts import Chain, Cut, Prune

__all__ = ["Chain", "Cut", "Prune"]
