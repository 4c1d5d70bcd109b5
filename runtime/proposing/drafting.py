"""A smaller bundle of the same tokens answers first, greedily, and the other one verifies what it says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from os import fspath
from typing import Any

import numpy as np

from clasp_trt.bundle import Bundle
from clasp_trt.errors import BackendError, BundleError, ClaspError, ImageError
from clasp_trt.methods import Method
from clasp_trt.policy import Policy
from clasp_trt.runtime.asked import Asked
from clasp_trt.runtime.backends.interface import Backend
from clasp_trt.runtime.encoded import Encoded, Picture, Shown, Video
from clasp_trt.runtime.manner import Manner
from clasp_trt.runtime.proposing.interface import Pace
from clasp_trt.runtime.slots import Sequence as Slotted
from clasp_trt.runtime.steps import Steps
from clasp_trt.runtime.text.tokenizer import Tokenizer
from clasp_trt.runtime.timing import nothing


class Drafting:
    """A bundle that drafts, with caches for one request. It sees pictures through its own chain, and prunes by its own
    policy and router: what it says is a guess in any case."""

    def __init__(
        self, bundle: Bundle, backend: Backend[Any], policy: Policy | None = None, method: Method | None = None
    ) -> None:
        self.bundle, self._vocabulary = bundle, bundle.manifest.model.decoder.vocab_size
        self._manner = Manner(bundle, policy, method)
        self._steps = Steps(bundle, backend, image_cache_bytes=0, reuse_prompts=True)

    def check(self, target: Bundle, tokenizer: Tokenizer) -> None:
        """Raises :class:`BundleError` unless every token is what it is to ``target``."""
        ours, theirs = self._steps.prompts.tokenizer.vocabulary, tokenizer.vocabulary
        if ours != theirs:
            token, id = min(set(ours.items()) ^ set(theirs.items()), key=lambda each: each[1])
            raise BundleError(
                f"{fspath(self.bundle.root)} cannot draft for {fspath(target.root)}: token {id} is {token!a} in one of "
                "them alone; give a draft bundle of the same tokenizer"
            )

    def begin(
        self,
        images: Sequence[Picture],
        clips: Sequence[Video],
        asked: Asked,
        before: Callable[[], None] = nothing,
    ) -> Drafted:
        """Runs the prompt. Raises what the bundle has against the request, in its name, and
        :class:`~clasp_trt.runtime.draft.CancelledError`."""
        if any(isinstance(each, (Encoded, Shown)) for each in (*images, *clips)):
            raise ImageError("an encoded picture is of one bundle alone; with a draft bundle give the picture itself")
        own = replace(asked, category=None, constraint=None, draft=0)
        try:
            self._steps.check(images, clips)
            draft = self._steps.draft(images, clips, own, self._manner)
            self._steps.prefill(draft, before)
        except ClaspError as error:
            raise type(error)(f"the draft bundle: {error}") from error
        assert draft.sequence is not None
        return Drafted(self._steps, draft.sequence, asked.draft, self._vocabulary)

    def close(self) -> None:
        """Gives back what it holds."""
        try:
            self._steps.release()
        finally:
            self._manner.close()


class Drafted:
    """See :class:`~clasp_trt.runtime.proposing.interface.Proposer`: one answer's draft, whose prompt is in the caches.

    ``most`` tokens at a time; fewer after a wrong one, since each takes a step of the smaller bundle.
    """

    def __init__(self, steps: Steps, sequence: Slotted, most: int, vocabulary: int) -> None:
        self._decoder, self._backend = steps.decoder, steps.backend
        self._sequence, self._vocabulary = sequence, vocabulary
        self._pace, self._fed = Pace(most), list[int]()

    def propose(self, ids: Sequence[int], most: int) -> Sequence[int]:
        """Raises :class:`BackendError` where logits overflow."""
        same = 0
        while same < min(len(self._fed), len(ids) - 1) and self._fed[same] == ids[same]:
            same += 1
        self._sequence.forget(len(self._fed) - same)
        self._fed = self._fed[:same]
        found, following = list[int](), list(ids[same:])
        for _ in range(self._pace.next(most)):
            token = self._after(following)
            if token is None:
                break
            found.append(token)
            following = [token]
        self._pace.proposed(len(found))
        return found

    def accepted(self, count: int) -> None:
        self._pace.heard(count)

    def _after(self, ids: Sequence[int]) -> int | None:
        """The likeliest token after ``ids``; None where the caches are full, or a token is none of this bundle's."""
        decoder, scores, last = self._decoder, None, 0
        while ids:
            widest = decoder.widest_step()
            if widest < 1 or max(ids) >= self._vocabulary:
                return None
            part, ids = ids[:widest], ids[widest:]
            scores, last = decoder.step({self._sequence: part}), len(part) - 1
            self._fed += part
        assert scores is not None
        if scores.choice is not None:
            token = int(self._backend.download(scores.choice)[0, last])
        else:
            logits = self._backend.download(scores.logits)[0, last]
            token = int(np.argmax(logits)) if np.isfinite(logits.max()) else -1
        if token < 0:
            raise BackendError("the draft bundle: its logits are not finite; try another precision of it")
        return token
