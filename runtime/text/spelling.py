"""What each token adds to a text, byte for byte: where a stop string begins, and what a grammar may be spelled with."""

from __future__ import annotations

import json
import re

import tokenizers

_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_BASE = "abcdef"  # what stands before a token whose text is asked for, so that it is not the first


class Spelling:
    """The bytes of each token of a tokenizer in the midst of a text, special tokens as they are written.

    Worked out as by transformers' ``StopStringCriteria``: a token's own bytes with byte-level vocabularies and for byte
    tokens, else what decoding makes of it behind another text.
    """

    def __init__(self, inner: tokenizers.Tokenizer) -> None:
        self._inner = inner
        self._base = inner.encode(_BASE, add_special_tokens=False).tokens
        self._before = self._text(self._base)
        kinds = _kinds(json.loads(inner.to_str()).get("decoder"))
        self._byte_tokens = "ByteFallback" in kinds
        self._bytes = _byte_alphabet() if "ByteLevel" in kinds and not self._byte_tokens else {}
        self._known: dict[int, bytes] = {}

    def __call__(self, id: int) -> bytes:
        """The bytes of a token; none for an id that is no token's."""
        if id not in self._known:
            self._known[id] = self._spell(self._inner.id_to_token(id))
        return self._known[id]

    def _spell(self, token: str | None) -> bytes:
        if token is None:
            return b""
        if self._bytes and all(character in self._bytes for character in token):
            return bytes(self._bytes[character] for character in token)
        if self._byte_tokens and (found := _BYTE.fullmatch(token)):
            return bytes([int(found[1], 16)])
        text = self._text([*self._base, token])
        return text[len(self._before) :].encode() if text.startswith(self._before) else token.encode()

    def _text(self, tokens: list[str]) -> str:
        decoder = self._inner.decoder
        return " ".join(tokens) if decoder is None else str(decoder.decode(tokens))


def _kinds(decoder: object) -> set[str]:
    """The types of a decoder and of those in it, as ``tokenizer.json`` names them."""
    if isinstance(decoder, dict):
        own = {decoder["type"]} if isinstance(decoder.get("type"), str) else set()
        return own.union(*map(_kinds, decoder.values()))
    return set[str]().union(*map(_kinds, decoder)) if isinstance(decoder, list) else set()


def _byte_alphabet() -> dict[str, int]:
    """GPT-2's characters for bytes: printable ones stand for themselves, the others for 256 and on."""
    own = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in own]
    return {chr(byte): byte for byte in own} | {chr(256 + n): byte for n, byte in enumerate(others)}
