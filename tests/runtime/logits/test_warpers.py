"""Every setting of sampling keeps the tokens that transformers keeps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from clasp_trt.generation import Generation
from clasp_trt.runtime.sampling import Sampler


def kept(logits: Any, **settings: Any) -> list[int]:
    tokens, _ = Sampler(Generation(do_sample=True, **settings)).distribution(np.asarray(logits, np.float32))
    return sorted(tokens.tolist())


WARPERS: dict[str, tuple[str, dict[str, Any]]] = {
    "top_h": ("TopHLogitsWarper", {"top_h": 0.4}),
    "top_h of all": ("TopHLogitsWarper", {"top_h": 0.95}),
    "top_k": ("TopKLogitsWarper", {"top_k": 7}),
    "top_k beyond the vocabulary": ("TopKLogitsWarper", {"top_k": 1000}),
    "top_p": ("TopPLogitsWarper", {"top_p": 0.7}),
    "top_p of none": ("TopPLogitsWarper", {"top_p": 0.0}),
    "min_p": ("MinPLogitsWarper", {"min_p": 0.1}),
    "min_p of the likeliest": ("MinPLogitsWarper", {"min_p": 1.0}),
    "typical_p": ("TypicalLogitsWarper", {"mass": 0.6}),
    "typical_p of little": ("TypicalLogitsWarper", {"mass": 0.02}),
    "epsilon_cutoff": ("EpsilonLogitsWarper", {"epsilon": 0.02}),
    "epsilon_cutoff above all": ("EpsilonLogitsWarper", {"epsilon": 0.99}),
    "eta_cutoff": ("EtaLogitsWarper", {"epsilon": 0.02}),
    "eta_cutoff that follows the entropy": ("EtaLogitsWarper", {"epsilon": 0.6}),
}


@pytest.mark.parametrize("name", WARPERS)
def test_the_kept_tokens_are_those_of_transformers(name: str) -> None:
    import torch
    from transformers.generation import logits_process

    kind, values = WARPERS[name]
    theirs = getattr(logits_process, kind)(**values)
    ours = {name.split()[0]: next(iter(values.values()))}
    rng = np.random.default_rng(11)
    for spread in (0.1, 1.0, 3.0):
        for _ in range(10):
            logits = rng.normal(0, spread, 150).astype(np.float32)
            logits[rng.integers(150, size=20)] = -np.inf
            scores = theirs(torch.zeros(1, 1, dtype=torch.long), torch.from_numpy(logits)[None])[0].numpy()
            assert kept(logits, **ours) == np.flatnonzero(scores > -np.inf).tolist()


def test_all_of_them_apply_one_after_another() -> None:
    """In transformers' order, each to what the one before left: the order is that of ``_get_logits_processor``."""
    import torch
    from transformers.generation import logits_process as theirs

    rng = np.random.default_rng(3)
    settings = {"temperature": 1.7, "top_k": 40, "top_p": 0.9, "min_p": 0.02, "typical_p": 0.8, "epsilon_cutoff": 0.02}
    chain = (
        theirs.TemperatureLogitsWarper(1.7),
        theirs.TopKLogitsWarper(40),
        theirs.TopPLogitsWarper(0.9),
        theirs.MinPLogitsWarper(0.02),
        theirs.TypicalLogitsWarper(0.8),
        theirs.EpsilonLogitsWarper(0.02),
    )
    for _ in range(20):
        logits = rng.normal(0, 2, 150).astype(np.float32)
        scores = torch.from_numpy(logits)[None]
        for warp in chain:
            scores = warp(torch.zeros(1, 1, dtype=torch.long), scores)
        assert kept(logits, **settings) == np.flatnonzero(scores[0].numpy() > -np.inf).tolist()
        probabilities = Sampler(Generation(do_sample=True, **settings)).distribution(logits)[1]
        expected = np.sort(scores.softmax(-1)[0].numpy())[::-1][: len(probabilities)]
        np.testing.assert_allclose(probabilities, expected, rtol=1e-5)  # of float32
