"""Text to token ids and back, from ``tokenizer.json`` alone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path

import numpy as np
import tokenizers
from numpy.typing import NDArray

from clasp_trt.charsmap import check_charsmaps
from clasp_trt.errors import BundleError, PromptError
from clasp_trt.growth import check_growth
from clasp_trt.panics import held_reports, panics_raise
from clasp_trt.runtime.text.spelling import Spelling

_BYTE_TOKEN = re.compile(r"<0x[0-9A-F]{2}>")
_UNFINISHED = "\ufffd"
_PROBE = "USER: What is in it? 3 cafés, 2 猫 and a 😀."


class Tokenizer:
    """A checkpoint's fast tokenizer, as ``transformers`` would run it.

    Special tokens written out in a text (``</s>``, ``<image>``) become those tokens, as in ``transformers``.
    """

    def __init__(self, inner: tokenizers.Tokenizer) -> None:
        inner.no_truncation()  # both may be saved in the file, and transformers resets them as well
        inner.no_padding()
        self._inner = inner
        self._special = frozenset(id for id, token in inner.get_added_tokens_decoder().items() if token.special)
        inner.encode("")
        with suppress(Exception):  # a panic, which is none, should not wait for a request
            inner.decode(inner.encode(_PROBE).ids)

    @classmethod
    def from_file(cls, path: str | Path) -> Tokenizer:
        """Read ``tokenizer.json``.

        Raises:
            BundleError: the file is missing or is no tokenizer.
        """
        told = f"{Path(path).name}: cannot read the tokenizer"
        try:
            with panics_raise(ValueError, "the tokenizers library cannot run it"), held_reports():
                text = Path(path).read_text("utf-8")
                check_charsmaps(text)
                read = tokenizers.Tokenizer.from_str(text)
                check_growth(read)
                return cls(read)
        except Exception as error:  # the Rust side raises bare Exception for a malformed file
            raise BundleError(f"{told}: {error}") from error

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        """Ids of `text`, by default with the special tokens that the checkpoint puts around one (``<s>`` for
        LLaVA).

        Raises:
            PromptError: `text` is not valid Unicode, or the tokenizer fails on it.
        """
        return self._encoded(text, add_special_tokens).ids

    def _encoded(self, text: str, add_special_tokens: bool) -> tokenizers.Encoding:
        try:
            with panics_raise(PromptError, "the tokenizer fails on this prompt"):
                return self._inner.encode(text, add_special_tokens=add_special_tokens)
        except (TypeError, UnicodeError) as error:  # lone surrogates cannot be UTF-8
            raise PromptError("the prompt is not valid Unicode: it holds half of a surrogate pair") from error

    def encode_chat(self, rendered: str, bos: str | None) -> list[int]:
        """The ids of :meth:`placed_chat`."""
        ids: list[int] = self.placed_chat(rendered, bos)[0].tolist()
        return ids

    def placed_chat(self, rendered: str, bos: str | None) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Ids of a rendered chat template, and where in it the text of each token ends (0 for one that was added); both
        int64 ``[tokens]``. Some templates write the checkpoint's `bos` token themselves: special
        tokens are then not added again, as in ``transformers``' ``processor.apply_chat_template``.

        Raises:
            PromptError: `rendered` is not valid Unicode.
        """
        written = bos is not None and rendered.startswith(bos)
        found = self._encoded(rendered, not written)
        return np.array(found.ids, np.int64), np.array([end for _, end in found.offsets], np.int64)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of `ids`, special tokens and ids outside the vocabulary left out."""
        with panics_raise(BundleError, "tokenizer.json: the tokenizer fails to decode"):
            return self._inner.decode([id for id in ids if self._has_text(id)], skip_special_tokens=True)

    @property
    def vocabulary(self) -> dict[str, int]:
        """The id of every token, added ones among them."""
        found: dict[str, int] = self._inner.get_vocab(with_added_tokens=True)
        return found

    @property
    def size(self) -> int:
        """One more than the greatest id of its vocabulary."""
        return max(self._inner.get_vocab().values(), default=0) + 1

    @cached_property
    def spelling(self) -> Spelling:
        """The bytes of each token in the midst of a text."""
        return Spelling(self._inner)

    @cached_property
    def strips(self) -> bool:
        """Whether decoding takes the space away from a first token that begins with one."""
        size = self._inner.get_vocab_size()
        spaced = (id for id in range(size) if self._has_text(id) and self.spelling(id)[:1] == b" " != self.spelling(id))
        first = next(spaced, None)
        return first is not None and not self.decode([first]).startswith(" ")

    def is_special(self, id: int) -> bool:
        """Whether a token is a special one, which no text spells."""
        return id in self._special

    def spells(self, text: str, *others: int) -> str | None:
        """A special token, or one of the ids `others`, that `text` spells out, as the vocabulary writes it; None of a
        text that spells none. What stands for unknown characters is not spelled by these.

        Raises :class:`PromptError` as :meth:`encode` does.
        """
        found = self._encoded(text, False)
        suspects = (self._special | {*others}).intersection(found.ids)
        if not suspects:
            return None
        normalizer = self._inner.normalizer
        for id, (start, end) in zip(found.ids, found.offsets, strict=True):
            written, here = self.written(id), text[start:end]
            same = here if normalizer is None else normalizer.normalize_str(here)
            if id in suspects and written is not None and (written in here or written in same):
                return written
        return None

    def written(self, id: int) -> str | None:
        """How the vocabulary writes the token `id`; None if it has none."""
        return self._inner.id_to_token(id)

    def stream(self) -> StreamDecoder:
        """A decoder for one answer, token by token."""
        return StreamDecoder(self)

    def _has_text(self, id: int) -> bool:
        # The Rust side takes unsigned 32-bit ids alone.
        return 0 <= id < 2**32 and id not in self._special and self._inner.id_to_token(id) is not None

    def _is_byte(self, id: int) -> bool:
        return _BYTE_TOKEN.fullmatch(self._inner.id_to_token(id) or "") is not None


class StreamDecoder:
    """Text as it becomes certain. The pieces of :meth:`push` and the last one of :meth:`finish`, joined, are
    exactly ``tokenizer.decode`` of all ids.

    What may still change is held back: a character whose bytes are not all there (byte-level BPE), and a run
    of byte tokens (``<0xE4>``, SentencePiece), which decodes as one. Each step decodes a short window rather
    than the whole answer. A window starts with a token that has text, because decoders strip the space in
    front of the first one.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._window: list[int] = []  # its text is `_sent` characters already given out, then what is new
        self._settled = 0  # how many ids of the window are given out for good
        self._sent = 0

    def push(self, id: int) -> str:
        """Add one token; returns the text that is now certain, often empty."""
        if not self._tokenizer._has_text(id):
            return ""
        self._window.append(id)
        if self._tokenizer._is_byte(id):
            return ""
        text = self._tokenizer.decode(self._window)
        certain = len(text) - text.endswith(_UNFINISHED)
        piece = text[self._sent : certain]
        self._sent = max(self._sent, certain)
        if certain == len(text):
            self._slide()
        return piece

    def finish(self) -> str:
        """The rest, once no more tokens come; the decoder can then be used for another answer."""
        piece = self._tokenizer.decode(self._window)[self._sent :]
        self._window, self._settled, self._sent = [], 0, 0
        return piece

    def _slide(self) -> None:
        """Drop the ids before the last settled ones, if those are enough for the next piece to follow."""
        recent = self._window[self._settled :]
        text = self._tokenizer.decode(recent)
        if text:
            self._window, self._sent = recent, len(text)
        self._settled = len(self._window)
