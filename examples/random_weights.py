"""Random weights that say nothing, yet let no fault hide: drawn tensor by tensor, and straight to safetensors files.

Each tensor comes from a generator seeded by its own name, so that the number of shards changes no weight. A large one
is drawn in part, and continued with the same numbers moved on, since drawing takes longer than writing: memory is a few
times that part. Needs numpy, neither torch nor transformers.
"""

from __future__ import annotations

import json
import math
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

DType = Literal["float32", "float16", "bfloat16"]
SAFETENSORS_DTYPE: Mapping[DType, tuple[str, int]] = {  # name in a safetensors header, bytes per element
    "float32": ("F32", 4),
    "float16": ("F16", 2),
    "bfloat16": ("BF16", 2),
}
SHARD_BYTES = 1_000_000_000
DRAWN = 1 << 22
"""Elements of a tensor that are drawn; those after them are the same, moved on so that no two rows agree."""
_MOVED = 7919


@dataclass(frozen=True)
class TensorSpec:
    """One tensor of the checkpoint: elements drawn from N(mean, std^2), then ``zero_rows`` set to zero."""

    name: str
    shape: tuple[int, ...]
    std: float
    mean: float = 0.0
    zero_rows: tuple[int, ...] = ()

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    def parts(self, seed: int, dtype: DType) -> Iterator[NDArray[Any]]:
        """The values in order, flat, in parts and as they are stored; the same for the same seed wherever that is."""
        rng = np.random.default_rng([seed, zlib.crc32(self.name.encode())])
        values = rng.standard_normal(min(self.size, DRAWN), dtype=np.float32)
        values *= np.float32(self.std)
        values += np.float32(self.mean)
        stored, row, zero = _encode(values, dtype), self.size // self.shape[0], np.array(self.zero_rows, np.int64)
        for start in range(0, self.size, DRAWN):
            part = np.roll(stored, start // DRAWN * _MOVED)[: self.size - start]
            for each in zero[(zero * row < start + DRAWN) & ((zero + 1) * row > start)].tolist():
                part[max(each * row - start, 0) : max((each + 1) * row - start, 0)] = 0
            yield part


def linear(name: str, rows: int, columns: int, gain: float = 1.0, *, bias: bool = False) -> Iterator[TensorSpec]:
    """A matrix that maps unit variance to ``gain**2`` at any width, and a bias that no test can ignore."""
    yield TensorSpec(f"{name}.weight", (rows, columns), gain / math.sqrt(columns))
    if bias:
        yield TensorSpec(f"{name}.bias", (rows,), 0.1)


def norm(name: str, width: int, *, bias: bool = False) -> Iterator[TensorSpec]:
    """Near one, yet not one: a norm whose weight gets lost or swapped must show in the output."""
    yield TensorSpec(f"{name}.weight", (width,), 0.1, mean=1.0)
    if bias:
        yield TensorSpec(f"{name}.bias", (width,), 0.1)


# Attention over random keys is nearly uniform at gain 1 and would hide which tokens are kept.
ATTENTION_GAIN = 1.5
# Scales the logits, so that the gap between the best two is far above rounding errors.
LOGIT_GAIN = 4.0
# Small beside what the layers add, or decoding becomes a map from the last token alone and soon a loop.
EMBEDDING_STD = 0.5
# A tied head favours the token just read; layers must outweigh the embedding, or decoding repeats one token.
TIED_EMBEDDING_STD = 0.25


def _encode(values: NDArray[np.float32], dtype: DType) -> NDArray[Any]:
    """``values`` in ``dtype``, little-endian, rounded to nearest even."""
    if dtype == "float32":
        return values.astype("<f4")
    if dtype == "float16":
        return values.astype("<f2")
    bits = values.view(np.uint32)
    rounded = (bits + (0x7FFF + ((bits >> 16) & 1))) >> 16  # numpy has no bfloat16
    return rounded.astype("<u2")


def _write_shard(path: Path, specs: Sequence[TensorSpec], dtype: DType, seed: int) -> None:
    """Write a safetensors file tensor by tensor; the library's own writer wants the whole shard in memory."""
    code, item_bytes = SAFETENSORS_DTYPE[dtype]
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for spec in specs:
        begin, end = end, end + spec.size * item_bytes
        header[spec.name] = {"dtype": code, "shape": list(spec.shape), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # keeps the data aligned
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for spec in specs:
            for part in spec.parts(seed, dtype):
                file.write(part.data)


def _split(specs: Sequence[TensorSpec], parts: int) -> Iterator[Sequence[TensorSpec]]:
    """Cut ``specs`` into ``parts`` runs of about the same number of elements, none empty."""
    total = sum(spec.size for spec in specs)
    start = written = 0
    for part in range(1, parts + 1):
        limit = len(specs) - (parts - part)  # leaves a tensor for each later run
        end = start
        while end < limit and (end == start or written < total * part / parts):
            written += specs[end].size
            end += 1
        yield specs[start:end]
        start = end


def write_weights(out: Path, specs: Sequence[TensorSpec], dtype: DType, seed: int, shards: int | None) -> None:
    total = sum(spec.size for spec in specs) * SAFETENSORS_DTYPE[dtype][1]
    wanted = shards if shards is not None else math.ceil(total / SHARD_BYTES)
    if not 1 <= wanted <= len(specs):
        raise ValueError(f"can't write {wanted} shards, expected 1 to {len(specs)} (the number of tensors)")
    if wanted == 1:
        _write_shard(out / "model.safetensors", specs, dtype, seed)
        return
    groups = list(_split(specs, wanted))
    weight_map: dict[str, str] = {}
    for number, group in enumerate(groups, start=1):
        name = f"model-{number:05d}-of-{len(groups):05d}.safetensors"
        _write_shard(out / name, group, dtype, seed)
        weight_map |= {spec.name: name for spec in group}
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    write_json(out / "model.safetensors.index.json", index)


def write_json(path: Path, content: Mapping[str, object]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def written(out: Path, write: Callable[[Path], None]) -> Path:
    """Has ``write`` fill a folder beside ``out``, which gets its name at the end; returns ``out``.

    Raises FileExistsError when ``out`` exists and is not an empty folder.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f"{out} exists and is not an empty folder: choose another, or delete it")
    destination = out.resolve()
    destination.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{destination.name}-", dir=destination.parent) as beside:
        whole = Path(beside) / destination.name  # one level down: a temporary folder is closed to all others
        whole.mkdir()
        write(whole)
        whole.rename(destination)
    return out
