"""A LLaVA checkpoint as GGUF files, in llama.cpp's environment.

``python -m benchmarks.peers.llamacpp_files CHECKPOINT OUT`` writes ``q8_0.gguf`` and ``q4_k_m.gguf`` of the decoder,
and ``mmproj.gguf`` of tower and projector (Q8_0). llama.cpp's own converter takes no LLaVA of Hugging Face's names, so
tensors are named here; they are rounded by ggml's own quantiser.
"""

from __future__ import annotations

import argparse
import ctypes
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import xllamacpp
from gguf import GGMLQuantizationType as Type
from numpy.typing import NDArray
from safetensors import safe_open

Matrix = NDArray[np.float32]
FILE_TYPES = {"q8_0": gguf.LlamaFileType.MOSTLY_Q8_0, "q4_k_m": gguf.LlamaFileType.MOSTLY_Q4_K_M}
_LAYER = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_BLOCK = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.out_proj": "attn_out",
    "layer_norm1": "ln1",
    "layer_norm2": "ln2",
    "mlp.fc1": "ffn_up",
    "mlp.fc2": "ffn_down",
}


class Stored:
    """The tensors of a checkpoint by name, read one at a time."""

    def __init__(self, checkpoint: Path) -> None:
        files = [safe_open(path, framework="numpy") for path in sorted(checkpoint.glob("*.safetensors"))]
        self._files = {name: file for file in files for name in sorted(file.keys())}

    def __call__(self, name: str) -> Matrix:
        return np.ascontiguousarray(self._files[name].get_tensor(name), dtype=np.float32)


def _quantiser() -> Any:
    library = next(Path(xllamacpp.__file__).parent.glob("xllamacpp*.so"))
    chunk = ctypes.CDLL(str(library)).ggml_quantize_chunk
    chunk.restype = ctypes.c_size_t
    chunk.argtypes = [ctypes.c_int, *[ctypes.c_void_p] * 2, *[ctypes.c_int64] * 3, ctypes.c_void_p]
    return chunk


def rounded(matrix: Matrix, kind: Type, chunk: Any) -> NDArray[np.uint8]:
    """``matrix`` ``[rows, inputs]`` in the blocks of ``kind``."""
    rows, inputs = matrix.shape
    block, size = gguf.GGML_QUANT_SIZES[kind]
    out = np.empty((rows, inputs // block * size), np.uint8)
    written = chunk(int(kind), matrix.ctypes.data, out.ctypes.data, 0, rows, inputs, None)
    if written != out.nbytes:
        raise RuntimeError(f"ggml wrote {written} bytes of {kind.name}, expected {out.nbytes}")
    return out


def mixed(name: str, layers: int) -> Type:
    """The type of a matrix in llama.cpp's Q4_K_M: more bits for the head and some values and ``ffn_down``."""
    if name == "output.weight":
        return Type.Q6_K
    if name.endswith(("attn_v.weight", "ffn_down.weight")):
        layer, eighth = int(name.split(".")[1]), layers // 8
        if layer < eighth or layer >= 7 * layers // 8 or (layer - eighth) % 3 == 2:
            return Type.Q6_K
    return Type.Q4_K


def halves_apart(matrix: Matrix, heads: int) -> Matrix:
    """Rows of each head as llama.cpp turns them: the two halves of a rotary pair side by side."""
    rows, inputs = matrix.shape
    return np.ascontiguousarray(
        matrix.reshape(heads, 2, rows // heads // 2, inputs).swapaxes(1, 2).reshape(rows, inputs)
    )


def decoder(text: dict[str, Any], stored: Stored) -> Iterator[tuple[str, Matrix]]:
    """The decoder's tensors by llama.cpp's names."""
    yield "token_embd.weight", stored("language_model.model.embed_tokens.weight")
    yield "output_norm.weight", stored("language_model.model.norm.weight")
    yield "output.weight", stored("language_model.lm_head.weight")
    heads = {"attn_q": text["num_attention_heads"], "attn_k": text["num_key_value_heads"]}
    for index in range(text["num_hidden_layers"]):
        for theirs, ours in _LAYER.items():
            matrix = stored(f"language_model.model.layers.{index}.{theirs}.weight")
            if ours in heads:
                matrix = halves_apart(matrix, heads[ours])
            yield f"blk.{index}.{ours}.weight", matrix


def vocabulary(checkpoint: Path, rows: int) -> tuple[list[str], list[float], list[int]]:
    """Tokens, scores and kinds, padded to the embedding's ``rows``: llama.cpp takes no fewer."""
    whole = json.loads((checkpoint / "tokenizer.json").read_text(encoding="utf-8"))
    named = {index: token for token, index in whole["model"]["vocab"].items()}
    special = {each["id"]: each["content"] for each in whole["added_tokens"]}
    named |= special
    kinds = []
    for index in range(rows):
        token = named.get(index)
        if token is None:
            kinds.append(gguf.TokenType.UNUSED)
        elif token == "<unk>":
            kinds.append(gguf.TokenType.UNKNOWN)
        elif index in special:
            kinds.append(gguf.TokenType.CONTROL)
        elif token.startswith("<0x"):
            kinds.append(gguf.TokenType.BYTE)
        else:
            kinds.append(gguf.TokenType.NORMAL)
    tokens = [named.get(index, f"[unused{index}]") for index in range(rows)]
    return tokens, [-float(index) for index in range(rows)], [int(kind) for kind in kinds]


def write_decoder(checkpoint: Path, config: dict[str, Any], stored: Stored, out: Path, form: str, chunk: Any) -> None:
    """The decoder in ``form``, a key of :data:`FILE_TYPES`."""
    text, layers = config["text_config"], config["text_config"]["num_hidden_layers"]
    w = gguf.GGUFWriter(out, "llama", use_temp_file=True)
    w.add_file_type(FILE_TYPES[form])
    w.add_context_length(text["max_position_embeddings"])
    w.add_embedding_length(text["hidden_size"])
    w.add_block_count(layers)
    w.add_feed_forward_length(text["intermediate_size"])
    w.add_head_count(text["num_attention_heads"])
    w.add_head_count_kv(text["num_key_value_heads"])
    w.add_rope_dimension_count(text["head_dim"])
    w.add_rope_freq_base(text["rope_parameters"]["rope_theta"])
    w.add_layer_norm_rms_eps(text["rms_norm_eps"])
    w.add_vocab_size(text["vocab_size"])
    tokens, scores, kinds = vocabulary(checkpoint, text["vocab_size"])
    w.add_tokenizer_model("llama")
    w.add_tokenizer_pre("default")
    w.add_token_list(tokens)
    w.add_token_scores(scores)
    w.add_token_types(kinds)
    w.add_bos_token_id(text["bos_token_id"])
    w.add_eos_token_id(text["eos_token_id"])
    w.add_add_bos_token(True)
    for name, matrix in decoder(text, stored):
        if matrix.ndim == 1:
            w.add_tensor(name, matrix)
        else:
            kind = Type.Q8_0 if form == "q8_0" else mixed(name, layers)
            w.add_tensor(name, rounded(matrix, kind, chunk), raw_dtype=kind)
    _finish(w)


def write_eyes(config: dict[str, Any], stored: Stored, out: Path, chunk: Any) -> None:
    """Tower and projector as a file of kind mmproj, whose graph leaves the last block out, as feature layer -2 says."""
    vision, tower, projector = config["vision_config"], "vision_tower.vision_model", "multi_modal_projector"
    w = gguf.GGUFWriter(out, "clip", use_temp_file=True)
    w.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    w.add_bool("clip.has_vision_encoder", True)
    w.add_bool("clip.has_llava_projector", True)
    w.add_string("clip.projector_type", "mlp")
    w.add_bool("clip.use_gelu", False)  # but its quick form
    w.add_uint32("clip.vision.image_size", vision["image_size"])
    w.add_uint32("clip.vision.patch_size", vision["patch_size"])
    w.add_uint32("clip.vision.embedding_length", vision["hidden_size"])
    w.add_uint32("clip.vision.feed_forward_length", vision["intermediate_size"])
    w.add_uint32("clip.vision.projection_dim", config["text_config"]["hidden_size"])
    w.add_uint32("clip.vision.attention.head_count", vision["num_attention_heads"])
    w.add_float32("clip.vision.attention.layer_norm_epsilon", vision["layer_norm_eps"])
    w.add_uint32("clip.vision.block_count", vision["num_hidden_layers"])
    w.add_array("clip.vision.image_mean", [0.48145466, 0.4578275, 0.40821073])
    w.add_array("clip.vision.image_std", [0.26862954, 0.26130258, 0.27577711])

    def put(ours: str, theirs: str, *, round_it: bool = False) -> None:
        for part in ("weight", "bias"):
            matrix = stored(f"{theirs}.{part}")
            if round_it and part == "weight":
                w.add_tensor(f"{ours}.weight", rounded(matrix, Type.Q8_0, chunk), raw_dtype=Type.Q8_0)
            else:
                w.add_tensor(f"{ours}.{part}", matrix)

    w.add_tensor("v.class_embd", stored(f"{tower}.embeddings.class_embedding"))
    w.add_tensor("v.patch_embd.weight", stored(f"{tower}.embeddings.patch_embedding.weight").astype(np.float16))
    w.add_tensor("v.position_embd.weight", stored(f"{tower}.embeddings.position_embedding.weight"))
    put("v.pre_ln", f"{tower}.pre_layrnorm")
    for index in range(vision["num_hidden_layers"]):
        for theirs, ours in _BLOCK.items():
            matrix = not theirs.startswith("layer_norm")
            put(f"v.blk.{index}.{ours}", f"{tower}.encoder.layers.{index}.{theirs}", round_it=matrix)
    put("mm.0", f"{projector}.linear_1", round_it=True)
    put("mm.2", f"{projector}.linear_2", round_it=True)
    _finish(w)


def _finish(w: gguf.GGUFWriter) -> None:
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def main() -> None:
    """Writes the three files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("out", type=Path)
    given = parser.parse_args()
    given.out.mkdir()
    config = json.loads((given.checkpoint / "config.json").read_text(encoding="utf-8"))
    stored, chunk = Stored(given.checkpoint), _quantiser()
    for form in FILE_TYPES:
        write_decoder(given.checkpoint, config, stored, given.out / f"{form}.gguf", form, chunk)
    write_eyes(config, stored, given.out / "mmproj.gguf", chunk)


if __name__ == "__main__":
    main()
