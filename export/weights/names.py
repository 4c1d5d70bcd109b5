"""Names of tensors: those on disk, and the canonical ones that graphs use, by the rules of a family."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

from clasp_trt.errors import CheckpointError

Rules = Sequence[tuple[str, str]]
"""A rule is a regular expression for the start of a name, and what stands in its place, where ``\\1`` is the first
group; the first match counts."""

_ADAPTED = re.compile(r"\.(lora_[AB]|lora_embedding_[AB]|lora_magnitude_vector|base_layer|modules_to_save)(\.|$)")

_WRAPPERS = ("base_model.model.", "_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")
"""What modules around modules add to names: PEFT's, those of torch.compile, of FSDP and of activation checkpoints."""


def canonical(name: str, rules: Rules) -> str:
    """The name that graphs use for the tensor ``name``; itself where no rule knows it."""
    return _known(name, rules) or name


def on_disk(name: str, stored: Mapping[str, str], rules: Rules) -> tuple[str, str | None]:
    """What the tensor of the canonical ``name`` would be called in a checkpoint that has those ``stored``, names on
    disk by canonical ones; and the name of the tensor there that is most like it."""
    best, prefix, like = "", None, next(iter(stored.values()), None)
    for other, key in stored.items():
        shared = _shared(name, other)
        if len(shared) > len(best) and key.endswith(other[len(shared) :]) and _known(key, rules) == other:
            best, prefix, like = shared, key[: len(key) - len(other) + len(shared)], key
    if prefix is not None and best.count(".") > 1:
        return prefix + name[len(best) :], like
    for pattern, start in rules:
        if name.startswith(start):
            return _shortest(pattern) + name[len(start) :], like
    return name, like


def refuse_wrapped(keys: Collection[str], rules: Rules, root: object) -> None:
    """Raises :class:`CheckpointError` for the tensors of an adapter, and for names under the prefix of a wrapper."""
    if adapted := next((key for key in keys if _ADAPTED.search(key)), None):
        raise CheckpointError(
            f"{root} holds an adapter that is not merged into its model, such as the tensor {adapted}; expected plain "
            "weights: call merge_and_unload() of PEFT, then save_pretrained(out), and give out"
        )
    for key in keys:
        inside, expected = _unwrapped(key, rules)
        if inside:
            raise CheckpointError(
                f"{root}: names of tensors hold {inside} of a wrapper: it has {key}, expected {expected}; save the "
                "module inside the wrapper, or take that out of the names"
            )


def _unwrapped(key: str, rules: Rules) -> tuple[str, str]:
    """What a wrapper put into a name, and the name without; both empty if it is a name that the rules know, or one that
    they know no part of."""
    for wrapper in _WRAPPERS:
        if wrapper in key and _known(key.replace(wrapper, ""), rules) is not None:
            return wrapper, key.replace(wrapper, "")
    parts = key.split(".")
    for cut in range(1, len(parts) if _known(key, rules) is None else 0):
        expected = ".".join(parts[cut:])
        if _known(expected, rules) is not None:
            return f"the prefix {'.'.join(parts[:cut])}.", expected
    return "", ""


def _known(name: str, rules: Rules) -> str | None:
    for pattern, start in rules:
        if found := re.match(pattern, name):
            return found.expand(start) + name[found.end() :]
    return None


def _shared(first: str, second: str) -> str:
    """The whole parts, dots included, with which both begin."""
    count = 0
    for one, other in zip(first.split(".")[:-1], second.split(".")[:-1], strict=False):
        if one != other:
            break
        count += len(one) + 1
    return first[:count]


def _shortest(pattern: str) -> str:
    """The shortest start that a rule matches."""
    return re.sub(r"\(\?:[^()]*\)\?", "", pattern).lstrip("^").replace("\\.", ".")
