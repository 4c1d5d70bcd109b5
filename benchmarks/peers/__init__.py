"""Every peer on one machine, in turn: ``python -m benchmarks.peers`` (docs/peers.md)."""
