"""Random pruning: the floor that a method must rise above.

The draw depends on the stage, the number of tokens and the image alone. It is the same for every question about an
image and in every run, but a device whose [CLS] saliency differs in its last bits draws others.
"""

from __future__ import annotations

import zlib

import numpy as np

from clasp_trt.methods.interface import Method, Selection, View, selection


def select(view: View) -> Selection:
    """``keep`` tokens, each with the same chance; none is a pivot."""
    seed = (view.stage, view.tokens, zlib.crc32(view.cls_saliency.tobytes()))
    lots = np.random.PCG64(seed).random_raw(view.tokens)  # raw: numpy may change its distributions, not this stream
    return selection(np.argsort(lots, kind="stable")[: view.keep])


RANDOM = Method("random", "keep tokens drawn by lot", select)
