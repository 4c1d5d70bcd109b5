"""How many bits the matrices of each part of a model have, as a build is asked for it and a manifest says it.

Rounding is symmetric: a weight is an integer times the scale of its block. What a checkpoint holds as integers already
may have zero points too, which are taken off first. Norms, biases, convolutions and tables of positions stay floats,
and so does all that selects tokens.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from clasp_trt.errors import QuantizationError

VISION, PROJECTOR, DECODER, EMBEDDING, HEAD = PARTS = ("vision", "projector", "decoder", "embedding", "head")
"""What can be rounded by itself: the matrices of the vision tower, of the projector, of the decoder's layers, the
embedding table, and the matrix that makes logits."""
BLOCKS = (128, 64, 32)
"""How many inputs of an output may be asked to share a scale; the first is the default."""
SMALLEST_BLOCK = 16
"""Where the inputs of a matrix are no multiple of what was asked for, blocks are halved down to this."""
NONE = "none"
INT4_OPSET = 21
"""The first opset with 4-bit integers and with scales by block."""


@dataclass(frozen=True)
class Scheme:
    """``bits`` of a weight, 4 or 8, and how many inputs of an output share a scale: ``block``, or all where it is
    None. ``zeros``: a block has a zero point as well. ``floating``: FP8 (E4M3) instead of integers."""

    bits: int
    block: int | None
    zeros: bool = False
    floating: bool = False

    def __str__(self) -> str:
        blocks = "" if self.block is None else f" in blocks of {self.block}"
        return f"{'fp' if self.floating else 'int'}{self.bits}{blocks}{' with zero points' if self.zeros else ''}"

    @property
    def most(self) -> int:
        """The greatest integer; its negative is the least."""
        return int(2 ** (self.bits - 1) - 1)

    def block_for(self, inputs: int) -> int | None:
        """How many of ``inputs`` share a scale: the block, halved until it divides them; 0 if no such block does."""
        block = self.block
        while block is not None and inputs % block:
            block = block // 2 if block > SMALLEST_BLOCK else 0
            if block == 0:
                return 0
        return block

    def nbytes(self, outputs: int, inputs: int, float_bytes: int) -> int:
        """Bytes of a matrix: its integers, and scales of ``float_bytes`` each, and zero points."""
        scales = outputs * (inputs // (self.block_for(inputs) or inputs))
        zeros = scales * self.bits // 8 if self.zeros else 0
        return outputs * inputs * self.bits // 8 + scales * (4 if self.floating else float_bytes) + zeros


INT8 = Scheme(8, None)
SCHEMES = (INT8, *(Scheme(4, block) for block in BLOCKS))
"""What a build can be asked for."""
HELD = (
    *SCHEMES,
    Scheme(4, SMALLEST_BLOCK),
    *(Scheme(8, block) for block in (*BLOCKS, SMALLEST_BLOCK)),
    *(Scheme(bits, block, zeros=True) for bits in (4, 8) for block in (*BLOCKS, SMALLEST_BLOCK)),
    *(Scheme(8, block, floating=True) for block in (None, *BLOCKS, SMALLEST_BLOCK)),
)
"""What a checkpoint may hold."""


def shared_by(group: int) -> int:
    """The block, of those that graphs have, that a ``group`` of inputs with one scale is a run of; 0 if there is
    none."""
    block = math.gcd(group, BLOCKS[0])
    return block if block >= SMALLEST_BLOCK else 0


@dataclass(frozen=True)
class Quantization:
    """The scheme of each of :data:`PARTS` that is rounded; the others stay floats."""

    schemes: Mapping[str, Scheme] = field(default_factory=lambda: MappingProxyType({}))

    def __bool__(self) -> bool:
        return bool(self.schemes)

    def of(self, part: str) -> Scheme | None:
        """The scheme of ``part``, None if it stays floats."""
        return self.schemes.get(part)

    @property
    def has_int4(self) -> bool:
        return any(scheme.bits == 4 for scheme in self.schemes.values())

    @property
    def has_fp8(self) -> bool:
        return any(scheme.floating for scheme in self.schemes.values())

    @property
    def in_blocks(self) -> bool:
        """Whether scales are by block, for which graphs need :data:`INT4_OPSET`."""
        return any(scheme.block is not None for scheme in self.schemes.values())

    def beside(self, held: Quantization) -> Quantization:
        """These and the parts that are ``held`` by a checkpoint, which are others. Raises
        :class:`QuantizationError`."""
        for part in PARTS:
            if part in self.schemes and part in held.schemes:
                others = ",".join(f"{each}={_word(scheme)}" for each, scheme in self.schemes.items()
                                  if each not in held.schemes)  # fmt: skip
                raise QuantizationError(
                    f"the checkpoint's {part} is {held.schemes[part]} already, and is not rounded again: "
                    + (f"say --quantize {others}" if others else "drop --quantize")
                )
        return Quantization(MappingProxyType({**self.schemes, **held.schemes}))

    def __str__(self) -> str:
        return ", ".join(f"{part} {self.schemes[part]}" for part in PARTS if part in self.schemes) or NONE


UNROUNDED = Quantization()
"""Floats everywhere."""


LEAST_ROWS, USUAL_ROWS = 16, 128
"""Questions that a calibration takes: at least, and at most unless told otherwise."""


@dataclass(frozen=True)
class Calibration:
    """By which questions the decoder's matrices were rounded: ``rows`` of those in the file with the SHA-256 ``data``,
    with ``tokens`` tokens in all, text and pictures."""

    method: str
    data: str
    rows: int
    tokens: int

    def __str__(self) -> str:
        return f"{self.method} by {self.rows} questions of {self.data[:12]}, {self.tokens} tokens"


GPTQ = "gptq"
"""The method: Frantar et al., 2022."""


def check_calibration(quantization: Quantization, data: object, rows: int | None, *, chooses: bool = False) -> None:
    """Raises :class:`QuantizationError` for a calibration, by the file ``data`` and so many ``rows`` of it, of
    nothing: unless it rounds the decoder, or ``chooses`` which of its weights are zero."""
    if data is None and rows is not None:
        raise QuantizationError(f"--calibration-rows {rows} is of a file of questions; give it with --calibration")
    if data is not None and quantization.of(DECODER) is None and not chooses:
        raise QuantizationError(
            f"--calibration is for rounding the decoder, which --quantize leaves as it is ({quantization}), or for "
            "choosing which of its weights are zero: say --quantize int4 or --sparsity 0.5, or drop --calibration"
        )
    if rows is not None and (type(rows) is not int or rows < LEAST_ROWS):
        raise QuantizationError(f"--calibration-rows is {rows!r}; expected a whole number from {LEAST_ROWS}")


def parse(text: str) -> Quantization:
    """What ``--quantize`` says, such as ``int4``, ``int8,head=none`` or ``decoder=int4:64``: a scheme for all, if it
    begins with one, and those of parts. With ``int4`` for all, only the decoder's layers have 4 bits.

    Raises :class:`QuantizationError`.
    """
    first, *others = text.split(",")
    schemes = {} if "=" in first else dict(_for_all(text, first.strip()))
    named: dict[str, Scheme | None] = {}
    for item in [first, *others] if "=" in first else others:
        part, is_part, word = (piece.strip() for piece in item.partition("="))
        if not is_part:
            raise _wrong(text, f"{part!r} is not PART=SCHEME, and only the first may stand for all parts")
        if part not in PARTS:
            raise _wrong(text, f"there is no part {part!r}")
        if part in named:
            raise _wrong(text, f"{part} is given twice")
        named[part] = _scheme(text, word)
    schemes |= named
    table = schemes.get(EMBEDDING)
    if table is not None and table.bits == 4:
        raise _wrong(text, "rows of the embedding are looked up, not multiplied; it takes int8 or none")
    return Quantization(MappingProxyType({part: scheme for part in PARTS if (scheme := schemes.get(part)) is not None}))


def _for_all(text: str, word: str) -> Iterator[tuple[str, Scheme | None]]:
    scheme = _scheme(text, word)
    for part in PARTS:
        yield part, scheme if part == DECODER or scheme is None else INT8


def _scheme(text: str, word: str) -> Scheme | None:
    kind, has_block, block = word.partition(":")
    if kind == "int4" and (not has_block or block in map(str, BLOCKS)):
        return Scheme(4, int(block) if has_block else BLOCKS[0])
    if word == "int8":
        return INT8
    if word == NONE:
        return None
    raise _wrong(text, f"there is no scheme {word!r}")


def _word(scheme: Scheme) -> str:
    return "int8" if scheme.bits == 8 else f"int4:{scheme.block}"


def _wrong(text: str, problem: str) -> QuantizationError:
    blocks = ", ".join(map(str, BLOCKS))
    return QuantizationError(
        f"--quantize {text[:60]!a}: {problem[:100]}; expected none, int8, int4 or int4:BLOCK of {blocks},"
        f" then perhaps PART=SCHEME after commas, parts being {', '.join(PARTS)}, such as int4,head=none"
    )
