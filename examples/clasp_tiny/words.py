"""The word-level vocabulary: ShapesVQA's closed word list behind a few special tokens."""

from __future__ import annotations

from examples.shapesvqa import tokenize, vocabulary

PAD, BOS, EOS, UNKNOWN, IMAGE = "<pad>", "<s>", "</s>", "<unk>", "<image>"
SPECIAL = (PAD, BOS, EOS, UNKNOWN, IMAGE)
ROLES = ("user", "assistant", ":")

VOCABULARY: dict[str, int] = {
    word: index for index, word in enumerate((*SPECIAL, *ROLES, *(w for w in vocabulary() if w not in ROLES)))
}
"""Word to token id."""

PREFIX = ("<s>", "user", ":")
"""What the chat template puts before the image."""

CUE = ("assistant", ":")
"""What it puts between the question and the answer."""


def encode(words: tuple[str, ...] | list[str]) -> list[int]:
    """Ids of words of the vocabulary. Raises :class:`KeyError` for another word."""
    return [VOCABULARY[word] for word in words]


def question_ids(prompt: str) -> list[int]:
    """A question with the assistant's cue, as it follows the image."""
    return encode([*tokenize(prompt), *CUE])


def answer_ids(answer: str) -> list[int]:
    """An answer with the stop token."""
    return encode([*tokenize(answer), EOS])
