"""What cannot be planned is refused in one line that names file and field."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from clasp_trt.errors import CheckpointError
from clasp_trt.export.family import describe, read_description
from tests.tools.plan.conftest import LLAVA_7B


def changed(part: str | None, **fields: Any) -> dict[str, Any]:
    return {**LLAVA_7B, **fields} if part is None else {**LLAVA_7B, part: {**LLAVA_7B[part], **fields}}


@pytest.mark.parametrize(
    ("config", "line"),
    [
        ([], "c: expected it to be a JSON object; download the file again"),
        ({}, "model_type None of c is not supported; supported: "),
        (changed(None, model_type="blip"), "model_type 'blip' of c is not supported; supported: "),
        (changed(None, model_type=["llava"]), "model_type ['llava'] of c is not supported"),
        (changed(None, text_config=[]), "c: expected text_config. to be a JSON object"),
        (changed("text_config", hidden_size="4096"), "c: text_config.hidden_size is '4096', which is not supported;"),
        (
            changed("text_config", num_hidden_layers=0),
            "num_hidden_layers is 0, which is not supported; expected a whole",
        ),
        (changed("text_config", vocab_size=True), "vocab_size is True"),
        (changed("text_config", hidden_size=None), "hidden_size is None"),
        (
            changed("text_config", model_type="gemma"),
            "text_config.model_type is 'gemma', which is not supported; expected llama",
        ),
        (changed("text_config", hidden_act="gelu"), "hidden_act is 'gelu', which is not supported; expected silu"),
        (
            changed("text_config", attention_bias="no"),
            "attention_bias is 'no', which is not supported; expected true or",
        ),
        (changed("text_config", rope_scaling={"type": "dynamic"}), "expected a rope_type among default, linear"),
        (changed("vision_config", model_type="siglip"), "vision_config.model_type is 'siglip'"),
        (changed(None, vision_feature_layer=[-2, -5]), "vision_feature_layer is [-2, -5]"),
        (changed(None, vision_feature_layer=25), "expected one hidden state of the tower's 24 layers, such as -2"),
        (changed(None, vision_feature_select_strategy="full"), "vision_feature_select_strategy is 'full'"),
        (changed(None, quantization_config={"quant_method": "bitsandbytes"}), "c is quantised"),
        (changed("text_config", quantization_config={}), "c is quantised"),
    ],
)
def test_refused(config: object, line: str) -> None:
    with pytest.raises(CheckpointError) as refused:
        describe(config, "c", "model")
    assert line in str(refused.value)


def test_a_file_that_is_no_json(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match="JSON"):
        read_description(tmp_path / "config.json", "x")


def test_the_layer_that_a_checkpoint_reads_counts_as_in_a_bundle() -> None:
    towers = {layer: describe(changed(None, vision_feature_layer=layer), "c", "x").tower for layer in (-2, 0, 24)}
    assert [towers[layer].feature_layer for layer in (-2, 0, 24)] == [23, 0, 24]
    assert [towers[layer].built_blocks for layer in (-2, 0, 24)] == [23, 1, 24]
