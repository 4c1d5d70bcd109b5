"""Weights between disk and graph.

:mod:`~clasp_trt.export.weights.stored` finds the tensors of a checkpoint, each known by name, shape and type before it
is read. :mod:`~clasp_trt.export.weights.transforms` are functions from such a mapping to another, so they compose::

    tensors = tied(renamed(stored(checkpoint), LAYOUTS), "lm_head.weight", "embed_tokens.weight")
    weights = Weights(cast(tensors, "float16"))

:mod:`~clasp_trt.export.weights.graph` makes of the last one what a graph holds. Nothing here ever holds more than one
weight.
"""
