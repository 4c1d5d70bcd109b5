"""Folders that are taken for a checkpoint and are none: each is told by what it really is, and what to do."""

from __future__ import annotations

import re
from pathlib import Path

from clasp_trt.brief import brief
from clasp_trt.errors import CheckpointError
from clasp_trt.notice import tell
from clasp_trt.storage.foreign import read_object

INDEX, SINGLE = "model.safetensors.index.json", "model.safetensors"
ADAPTER, _ADAPTER_WEIGHTS = "adapter_config.json", ("adapter_model.safetensors", "adapter_model.bin")
_SHARD = re.compile(r".+-\d{5}-of-\d{5}\.safetensors")
_DISTRIBUTED = re.compile(r"shard-\d{5}-model-\d{5}-of-\d{5}\.safetensors")
_VARIANT = re.compile(r"model\.(?P<variant>[^.]+)(?:-\d{5}-of-\d{5})?\.safetensors(?:\.index\..*json)?")
_POINTER = b"version https://git-lfs.github.com/spec/"
_SAVE = "load it once with transformers and call save_pretrained(folder)"


def refuse_adapter(root: Path) -> None:
    """Raises :class:`CheckpointError` for a folder that holds an adapter, be it beside a whole model or alone.

    With ``peft`` installed transformers would apply it, without it not: so no reading of the folder is the right one.
    """
    if not (root / ADAPTER).is_file():
        for name in _ADAPTER_WEIGHTS:
            if (root / name).is_file() and has_weights(root):
                tell(
                    f"{root}: {name} is not read, as in transformers, for there is no {ADAPTER} beside it; "
                    f"the model is that of its own weights alone"
                )
        return
    config = read_object(root / ADAPTER, CheckpointError, "download the file again")
    base, kind = brief(config.get("base_model_name_or_path")), str(config.get("peft_type") or "PEFT")[:20]
    if has_weights(root):
        raise CheckpointError(
            f"{root} holds a {kind} adapter ({ADAPTER}) beside a whole model, and it is not merged; merge it with "
            f"PeftModel.from_pretrained(model, folder).merge_and_unload().save_pretrained(out) and give out, or move "
            "the adapter's files away to compile the model without it"
        )
    raise CheckpointError(
        f"{root} is a {kind} adapter ({ADAPTER}) for the model {base}; expected a whole model: merge it with "
        "PeftModel.from_pretrained(model, folder).merge_and_unload().save_pretrained(out), and give out"
    )


def has_weights(root: Path) -> bool:
    """Whether a folder has weights of a model where transformers looks for them."""
    return (root / SINGLE).is_file() or (root / INDEX).is_file()


def refuse_pointer(path: Path) -> None:
    """Raises :class:`CheckpointError` for a file that is Git LFS's note of where the real one is."""
    with path.open("rb") as file:
        start = file.read(len(_POINTER))
    if start == _POINTER:
        raise CheckpointError(
            f"{path} is a Git LFS pointer, not the file itself; expected the file: run `git lfs pull` in the clone, or "
            "download it from the hub"
        )


def weights_elsewhere(root: Path) -> CheckpointError:
    """The error for a folder without weights under the names that transformers loads, by what else it holds."""
    names = sorted(path.name for path in root.iterdir())
    tensors = [name for name in names if name.endswith(".safetensors")]
    expected = f"expected {SINGLE}, or {INDEX} with its shards"
    if shards := [name for name in tensors if _DISTRIBUTED.fullmatch(name)]:
        return CheckpointError(f"{root} holds a distributed checkpoint ({shards[0]}); {expected}: {_SAVE}")
    if variants := [name for name in names if _VARIANT.fullmatch(name)]:
        variant = _VARIANT.fullmatch(variants[0])
        assert variant is not None
        return CheckpointError(
            f"{root} holds weights of the variant {variant['variant']!r} alone ({variants[0]}); {expected}: take these "
            f"from the repository, or load it once with variant={variant['variant']!r} and call save_pretrained(folder)"
        )
    if shards := [name for name in tensors if _SHARD.fullmatch(name)]:
        return CheckpointError(
            f"{root} holds shards ({shards[0]} and {len(shards) - 1} more) but no index that says which belong "
            f"together; {expected}: download {INDEX} too, or {_SAVE}"
        )
    if any(name.endswith((".bin", ".pth", ".pt")) for name in names):
        return CheckpointError(
            f"{root} holds pickled weights (.bin), which can run code when loaded; expected safetensors: {_SAVE}, or "
            "take a revision that has them"
        )
    for ending, what in (
        (".gguf", "GGUF weights of llama.cpp"),
        (".h5", "weights for TensorFlow"),
        (".msgpack", "weights for Flax"),
    ):
        if found := [name for name in names if name.endswith(ending)]:
            return CheckpointError(f"{root} holds {what} ({found[0]}); {expected}: take the original repository")
    if tensors:
        return CheckpointError(f"{root} holds {tensors[0]}, which is no name that transformers loads; {expected}")
    return CheckpointError(
        f"{root} has no safetensors weights; {expected}; if the model has pickled ones (.bin) alone, {_SAVE}"
    )


def no_config(root: Path) -> CheckpointError:
    """The error for a folder without ``config.json``, by what else it holds."""
    names = sorted(path.name for path in root.iterdir())
    advice = "give a Hugging Face model folder or hub id"
    inside = sorted((name for name in names if (root / name / "config.json").is_file()), key=lambda n: (len(n), n))
    if (snapshots := root / "snapshots").is_dir():
        found = sorted(path.name for path in snapshots.iterdir())
        return CheckpointError(
            f"{root} is a repository in the hub's cache, with checkpoints of {len(found)} commits; expected one: give "
            f"the hub id, or {snapshots / found[-1] if found else 'a folder of its snapshots'}"
        )
    if "model_index.json" in names:
        return CheckpointError(f"{root} is a pipeline of diffusers (model_index.json), not one model; {advice}")
    if inside:
        return CheckpointError(f"{root} has no config.json, but {inside[-1]} in it has: give {root / inside[-1]}")
    for name, what in (("params.json", "weights in Meta's or Mistral's layout"), ("mm_projector.bin", "a projector")):
        if name in names:
            return CheckpointError(
                f"{root} holds {what} ({name}) but no config.json; expected a whole model in transformers' layout: "
                "give the converted repository"
            )
    if any(name.endswith(".gguf") for name in names):
        return weights_elsewhere(root)
    return CheckpointError(f"{root} is not a checkpoint: it has no config.json; {advice}")


def tell_of_leftovers(root: Path, read: str) -> None:
    """Warns of weights beside those of the file ``read`` that are not read: an index, shards, or a whole file."""
    other = next((name for name in (SINGLE, INDEX) if name != read and (root / name).is_file()), None)
    if other == INDEX and _lists_alone(root / INDEX, read):
        return
    if other is None and read == SINGLE:
        other = next(
            (path.name for path in sorted(root.glob("model-*.safetensors")) if _SHARD.fullmatch(path.name)), None
        )
    if other is not None:
        tell(f"{root}: the weights are those of {read}, as in transformers; {other} beside it is not read")


def _lists_alone(index: Path, file: str) -> bool:
    """Whether an index says of every tensor that it is in ``file``."""
    found = read_object(index, CheckpointError, "download the file again").get("weight_map")
    return isinstance(found, dict) and set(found.values()) == {file}
