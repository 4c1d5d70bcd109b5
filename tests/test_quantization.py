"""Schemes, and the option that names them."""

from __future__ import annotations

import pytest

from clasp_trt.errors import QuantizationError
from clasp_trt.quantization import INT8, PARTS, UNROUNDED, Quantization, Scheme, parse
from tests.mistakes import says

INT4 = Scheme(4, 128)


@pytest.mark.parametrize(
    ("text", "schemes"),
    [
        ("none", {}),
        ("int8", dict.fromkeys(PARTS, INT8)),
        ("int4", {**dict.fromkeys(PARTS, INT8), "decoder": INT4}),
        ("int4:32", {**dict.fromkeys(PARTS, INT8), "decoder": Scheme(4, 32)}),
        ("decoder=int4,vision=int8", {"decoder": INT4, "vision": INT8}),
        ("int4, head = none, vision=int4:64", {
            "decoder": INT4, "embedding": INT8, "projector": INT8, "vision": Scheme(4, 64),
        }),
        ("int8,decoder=none", {part: INT8 for part in PARTS if part != "decoder"}),
        ("none,head=int4", {"head": INT4}),
    ],
)  # fmt: skip
def test_what_it_names(text: str, schemes: dict[str, Scheme]) -> None:
    assert dict(parse(text).schemes) == schemes


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "''"),
        ("int3", "int3"),
        ("INT8", "INT8"),
        ("int4:16", "int4:16"),
        ("int4:", "int4:"),
        ("int8:32", "int8:32"),
        ("decoder", "decoder"),
        ("tower=int8", "tower"),
        ("decoder=int4,decoder=int8", "decoder is given twice"),
        ("decoder=int4,int8", "int8"),
        ("int4,", "''"),
        ("embedding=int4", "embedding"),
        ("decoder=int4=int8", "int4=int8"),
    ],
)
def test_what_it_does_not_know_is_refused(text: str, said: str) -> None:
    with pytest.raises(QuantizationError) as refused:
        parse(text)
    says(refused, "--quantize", said, "int4:BLOCK", "vision, projector, decoder, embedding, head")


def test_in_words() -> None:
    assert str(parse("int4")) == "vision int8, projector int8, decoder int4 in blocks of 128, embedding int8, head int8"
    assert str(UNROUNDED) == "none"
    assert not UNROUNDED
    four, wide = Quantization({"decoder": INT4}), Quantization({"decoder": Scheme(8, 32)})
    assert (four.has_int4, wide.has_int4, parse("int8").has_int4) == (True, False, False)
    assert (four.in_blocks, wide.in_blocks, parse("int8").in_blocks) == (True, True, False)


@pytest.mark.parametrize(("inputs", "block"), [(256, 128), (192, 64), (96, 32), (48, 16), (40, 0), (7, 0)])
def test_blocks_divide_the_inputs(inputs: int, block: int) -> None:
    assert INT4.block_for(inputs) == block
    assert INT8.block_for(inputs) is None
