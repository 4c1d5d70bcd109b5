"""A Hugging Face checkpoint on disk, read tensor by tensor: nothing here ever holds more than one weight."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import onnx_ir as ir
from onnx_ir.tensor_adapters import TorchTensor
from safetensors import SafetensorError, safe_open

from clasp_trt.errors import CheckpointError
from clasp_trt.export.graph import DTYPES

_INDEX, _SINGLE = "model.safetensors.index.json", "model.safetensors"
_FLOATS = {"F64", "F32", "F16", "BF16"}
_ADVICE = "expected float weights: give the checkpoint that it was quantised from"


@dataclass(frozen=True)
class StoredTensor:
    """Where a tensor lies, its shape, and its type in safetensors' words, such as ``BF16``."""

    file: Path
    key: str
    shape: tuple[int, ...]
    dtype: str


class Checkpoint:
    """A folder in Hugging Face format with safetensors weights; ``name`` is the model's, for people to read."""

    def __init__(self, root: Path, name: str | None = None) -> None:
        self.root = root
        self.name = name or root.resolve().name

    @classmethod
    def open(cls, model: str | Path) -> Checkpoint:
        """Opens a folder, or a hub id such as ``llava-hf/llava-1.5-7b-hf``.

        With ``HF_HUB_OFFLINE`` set, the hub's cache on this machine is all there is. Raises :class:`CheckpointError`
        if it is neither, if its weights are not safetensors, or if they are quantised.
        """
        root, name = Path(model), None
        if not os.path.isdir(root):  # unlike Path.is_dir, no error for names that no file system takes
            root, name = _download(str(model), root), str(model).rpartition("/")[2]
        if not (root / "config.json").is_file():
            raise CheckpointError(
                f"{model} is not a checkpoint: it has no config.json; give a Hugging Face model folder or hub id"
            )
        checkpoint = cls(root, name)
        checkpoint.refuse_quantised()
        checkpoint.shards  # noqa: B018  refuses wrong weight formats now, not after minutes of work
        return checkpoint

    @cached_property
    def config(self) -> dict[str, Any]:
        """The parsed ``config.json``."""
        return self.json("config.json")

    @property
    def model_type(self) -> str:
        return str(self.config.get("model_type", ""))

    def refuse_quantised(self) -> None:
        """Raises :class:`CheckpointError` if ``config.json`` says that the weights are quantised."""
        for part in (self.config, self.config.get("text_config")):
            settings = part.get("quantization_config") if isinstance(part, dict) else None
            if settings is not None:
                method = settings.get("quant_method") if isinstance(settings, dict) else None
                raise CheckpointError(
                    f"{self.root} is quantised (quantization_config of config.json, method {str(method)[:40]!a}); "
                    f"{_ADVICE}"
                )

    def json(self, name: str) -> dict[str, Any]:
        """A JSON object of the folder. Raises :class:`CheckpointError` if it is missing or malformed."""
        path = self.root / name
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise CheckpointError(f"{self.root} has no {name}; download the whole repository of the model") from None
        except (OSError, ValueError, RecursionError) as error:
            raise CheckpointError(f"{path} cannot be read as JSON ({error}); download the file again") from None
        if not isinstance(value, dict):
            raise CheckpointError(
                f"{path} holds {type(value).__name__}, expected a JSON object; download the file again"
            )
        return value

    @cached_property
    def shards(self) -> tuple[Path, ...]:
        """The weight files. Raises :class:`CheckpointError` unless they are safetensors and all there."""
        if (self.root / _INDEX).is_file():
            index = self.json(_INDEX).get("weight_map")
            if not isinstance(index, dict) or not index:
                raise CheckpointError(f"{self.root / _INDEX} has no weight_map; download the file again")
            names = sorted({str(name) for name in index.values()})
        elif (self.root / _SINGLE).is_file():
            names = [_SINGLE]
        elif any(self.root.glob("*.bin")) or any(self.root.glob("*.pth")):
            raise CheckpointError(
                f"{self.root} holds pickled weights (.bin), which can run code when loaded; expected safetensors: load "
                "it once with transformers and call save_pretrained(folder), or take a revision that has them"
            )
        else:
            raise CheckpointError(
                f"{self.root} has no safetensors weights; expected {_SINGLE} or {_INDEX}; if the model has pickled "
                "ones (.bin) alone, load it once with transformers and call save_pretrained(folder)"
            )
        for name in names:
            if Path(name).name != name:
                raise CheckpointError(
                    f"{self.root / _INDEX} names the shard {name!r}, expected a file name of the same folder; "
                    "download the file again"
                )
            if not (self.root / name).is_file():
                raise CheckpointError(f"{self.root} lacks the shard {name} that its index names; download it again")
        return tuple(self.root / name for name in names)

    def tensors(self, rename: Callable[[str], str]) -> Mapping[str, StoredTensor]:
        """All tensors; ``rename`` maps keys to canonical names, so that old and new layouts look alike."""
        found: dict[str, StoredTensor] = {}
        for path in self.shards:
            try:
                with safe_open(path, framework="pt") as file:
                    for key in file.keys():  # noqa: SIM118  not a dict
                        view = file.get_slice(key)
                        found[rename(key)] = StoredTensor(path, key, tuple(view.get_shape()), view.get_dtype())
            except (SafetensorError, OSError) as error:
                raise CheckpointError(
                    f"{path} is not a readable safetensors file ({error}); download it again"
                ) from None
        return found


class Weights:
    """The weights under ``prefix`` as ONNX tensors that are read, cast and laid out when they are written."""

    def __init__(self, tensors: Mapping[str, StoredTensor], prefix: str, dtype: str) -> None:
        self._tensors, self._prefix, self._dtype = tensors, prefix, dtype

    def __contains__(self, name: str) -> bool:
        return self._prefix + name in self._tensors

    def tensor(self, name: str, shape: tuple[int, ...] | None = None, *, transpose: bool = False) -> ir.LazyTensor:
        """The weight ``name`` in the export's dtype; ``transpose`` turns ``[out, in]`` into ``[in, out]``.

        ``shape`` is the shape expected on disk. Raises :class:`CheckpointError` if the weight is missing, differs or
        is quantised; and, once it is read, if it has values that the export's dtype cannot hold.
        """
        stored = self._tensors.get(self._prefix + name)
        if stored is None and self._prefix + name.removesuffix("weight") + "qweight" in self._tensors:
            raise CheckpointError(f"the tensor {self._prefix}{name} is stored packed, as qweight; {_ADVICE}")
        if stored is None:
            raise CheckpointError(
                f"the checkpoint lacks the tensor {self._prefix}{name}; "
                "it is incomplete, or not of the model_type that its config names"
            )
        if stored.dtype not in _FLOATS:
            raise CheckpointError(f"the tensor {stored.key} has type {stored.dtype}; {_ADVICE}")
        if shape is not None and stored.shape != shape:
            raise CheckpointError(
                f"the tensor {stored.key} has shape {list(stored.shape)}, but config.json says {list(shape)}"
            )
        kind = DTYPES[self._dtype]
        laid_out = stored.shape[::-1] if transpose else stored.shape
        return ir.LazyTensor(
            lambda: _read(stored, self._dtype, transpose), dtype=kind, shape=ir.Shape(laid_out), name=name
        )

    def nbytes(self, start: str) -> int:
        """Bytes in the export's dtype of all the weights whose names start with ``start``."""
        found = self._tensors.items()
        numbers = sum(math.prod(stored.shape) for key, stored in found if key.startswith(self._prefix + start))
        return numbers * DTYPES[self._dtype].bitwidth // 8

    def vector(self, name: str, size: int) -> ir.LazyTensor:
        """A weight of shape ``[size]``."""
        return self.tensor(name, (size,))

    def linear(self, name: str, inputs: int, outputs: int) -> ir.LazyTensor:
        """The matrix of a linear layer as ``[inputs, outputs]``."""
        return self.tensor(f"{name}.weight", (outputs, inputs), transpose=True)


def _read(stored: StoredTensor, dtype: str, transpose: bool) -> ir.TensorProtocol:
    import torch

    with safe_open(stored.file, framework="pt") as file:
        source = file.get_tensor(stored.key)
    tensor = source.to(getattr(torch, dtype))
    if tensor.dtype != source.dtype and bool((tensor.isinf() & source.isfinite()).any()):
        advice = "use --precision bf16 or fp32" if dtype == "float16" else "no precision holds it"
        raise CheckpointError(
            f"the tensor {stored.key} holds {float(source[source.isfinite()].abs().max()):g}, beyond the "
            f"{torch.finfo(tensor.dtype).max:g} of {dtype}; {advice}"
        )
    return TorchTensor((tensor.t() if transpose else tensor).contiguous())


def _download(model: str, folder: Path) -> Path:
    if model.startswith((".", "/", "~")) or model.count("/") != 1 or os.path.lexists(folder):
        raise CheckpointError(
            f"{model} is not a folder; give a Hugging Face model folder or a hub id such as llava-hf/llava-1.5-7b-hf"
        )
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(model, allow_patterns=["*.json", "*.safetensors", "*.jinja"]))
    except Exception as error:  # the hub client raises many kinds; all mean that the model could not be had
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(f"{model} is no folder here and could not be fetched from the hub: {reason}") from error
