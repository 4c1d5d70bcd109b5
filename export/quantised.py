"""What a ``config.json`` says of weights that are integers already: ``quantization_config``, and which are taken."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, get_args

from clasp_trt.brief import brief
from clasp_trt.errors import CheckpointError
from clasp_trt.export.config import UNQUANTISED
from clasp_trt.quantization import BLOCKS, DECODER, UNROUNDED, Quantization, Scheme, shared_by

Method = Literal["gptq", "awq", "compressed-tensors", "fp8", "fbgemm_fp8"]
METHODS: tuple[Method, ...] = get_args(Method)
"""Those that are read, by the names of their ``quant_method``."""

_FORMATS: Mapping[Method, tuple[str, ...]] = {
    "gptq": ("gptq", "gptq_v2"),
    "awq": ("gemm",),
    "compressed-tensors": ("pack-quantized", "int-quantized", "float-quantized"),
    "fp8": ("e4m3",),
    "fbgemm_fp8": ("e4m3",),
}
_TILE = (128, 128)
"""Outputs and inputs that share a scale of FP8 where a config leaves that out."""


@dataclass(frozen=True)
class Quantised:
    """How a checkpoint holds its integers: ``layout`` is that format of the ``method`` that its tensors have, ``bits``
    what all have or None where that differs, ``scheme`` that of its decoder as far as its config tells, None of FP8,
    which graphs hold as floats. ``tile``: outputs and inputs that share a scale of FP8, where any share one."""

    method: Method
    layout: str
    bits: int | None
    scheme: Scheme | None
    tile: tuple[int, int] | None = None

    @property
    def held(self) -> Quantization:
        """What a plan takes for quantised before any tensor is seen: the decoder's layers."""
        return UNROUNDED if self.scheme is None else Quantization(MappingProxyType({DECODER: self.scheme}))


def quantised(config: Mapping[str, Any], source: str) -> Quantised | None:
    """What a parsed ``config`` says; None of float weights. ``source`` is the file or folder, for errors.

    Raises :class:`CheckpointError` for a method or a layout that is not read, by its name.
    """
    for part in (config, config.get("text_config")):
        if isinstance(part, Mapping) and part.get("quantization_config") is not None:
            return _read(part["quantization_config"], source)
    return None


def held(config: Mapping[str, Any], source: str) -> Quantization:
    """The parts that are integers already, as far as a ``config`` tells. Raises :class:`CheckpointError`."""
    found = quantised(config, source)
    return UNROUNDED if found is None else found.held


def refuse(config: Mapping[str, Any], source: str, purpose: str) -> None:
    """Raises :class:`CheckpointError` if weights are quantised, which ``purpose``, such as ``a reference``, is not
    computed from."""
    found = quantised(config, source)
    if found is not None:
        raise CheckpointError(f"{source} is quantised ({found.method}), and {purpose} needs floats; {UNQUANTISED}")


def _read(settings: object, source: str) -> Quantised:
    method = settings.get("quant_method") if isinstance(settings, Mapping) else None
    if not isinstance(settings, Mapping) or method not in METHODS:
        raise CheckpointError(
            f"{source} is quantised (quantization_config of config.json, method {brief(method)}), of which none but "
            f"{', '.join(METHODS)} is read; {UNQUANTISED}"
        )
    return _READERS[method](_Settings(method, settings, source))


class _Settings:
    """The fields of a ``quantization_config``."""

    def __init__(self, method: Method, values: Mapping[str, Any], source: str) -> None:
        self.method, self.values, self.source = method, values, source

    def layout(self, *names: str, default: str | None) -> str:
        """The format that the first of ``names`` which is there has."""
        for name in names:
            value = self.values.get(name)
            if value is not None:
                known = str(value).lower()
                if known not in _FORMATS[self.method]:
                    raise self.wrong(name, value, " or ".join(_FORMATS[self.method]))
                return known
        if default is None:
            raise self.wrong(names[0], None, " or ".join(_FORMATS[self.method]))
        return default

    def require(self, name: str, value: object, *allowed: object) -> Any:
        if type(value) not in {type(each) for each in allowed} or value not in allowed:
            raise self.wrong(name, value, " or ".join(map(str, allowed)))
        return value

    def scheme(self, bits: int, group: object, zeros: bool, name: str = "group_size") -> Scheme:
        """That of ``group`` inputs to a scale, all of them where it is -1 or None."""
        if group is None or group == -1:
            return Scheme(bits, None) if bits == 8 and not zeros else Scheme(bits, BLOCKS[0], zeros)
        if type(group) is not int or group < 1 or not shared_by(group):
            raise self.wrong(name, group, "-1, or a multiple of 16")
        return Scheme(bits, shared_by(group), zeros)

    def tile(self, name: str, value: object) -> tuple[int, int]:
        """Outputs and inputs that share a scale: two numbers, or such as ``128x128``."""
        sizes = value.split("x") if isinstance(value, str) else value
        if isinstance(sizes, list) and len(sizes) == 2 and all(type(each) in (int, str) for each in sizes):
            high, wide = (int(each) if str(each).isdecimal() else 0 for each in sizes)
            if high > 0 and wide > 0:
                return high, wide
        raise self.wrong(name, value, "two sizes, such as [128, 128]")

    def wrong(self, name: str, value: object, expected: str) -> CheckpointError:
        return CheckpointError(
            f"{self.source} is quantised by {self.method}: {name} of its quantization_config is {brief(value)}, which "
            f"is not read; expected {expected}: give such a one, or the repository that it was quantised from, with "
            "--quantize int4"
        )


def _gptq(settings: _Settings) -> Quantised:
    values = settings.values
    bits = settings.require("bits", values.get("bits"), 4, 8)
    if values.get("is_marlin_format"):
        raise settings.wrong("is_marlin_format", True, "false")
    symmetric = settings.require("sym", values.get("sym", True), True, False)
    layout = settings.layout("checkpoint_format", "format", default="gptq")
    scheme = settings.scheme(bits, values.get("group_size", BLOCKS[0]), not symmetric)
    return Quantised("gptq", layout, None if values.get("dynamic") else bits, scheme)


def _awq(settings: _Settings) -> Quantised:
    values = settings.values
    settings.require("bits", values.get("bits", values.get("w_bit", 4)), 4)
    layout = settings.layout("version", "checkpoint_format", "format", default="gemm")
    zeros = settings.require("zero_point", values.get("zero_point", True), True, False)
    group = values.get("group_size", values.get("q_group_size", BLOCKS[0]))
    return Quantised("awq", layout, 4, settings.scheme(4, group, zeros))


def _compressed(settings: _Settings) -> Quantised:
    values = settings.values
    layout = settings.layout("format", default=None)
    if values.get("kv_cache_scheme") is not None:
        raise settings.wrong("kv_cache_scheme", values["kv_cache_scheme"], "null")
    sparsity = values.get("sparsity_config") or {}
    if not isinstance(sparsity, Mapping) or sparsity.get("format", "dense") != "dense":
        raise settings.wrong("sparsity_config", sparsity, "none")
    if values.get("transform_config"):
        raise settings.wrong("transform_config", values["transform_config"], "none")
    groups = values.get("config_groups")
    if not isinstance(groups, Mapping) or not groups:
        raise settings.wrong("config_groups", groups, "groups of weights")
    if layout == "float-quantized":
        tiles = {_floating(settings, str(name), group) for name, group in groups.items()} - {None}
        if len(tiles) > 1:
            raise settings.wrong("config_groups", groups, "one block_structure")
        return Quantised("compressed-tensors", layout, None, None, next(iter(tiles), None))
    found = [_group(settings, str(name), group, layout) for name, group in groups.items()]
    return Quantised("compressed-tensors", layout, None, min(found, key=lambda each: each.bits))


def _floating(settings: _Settings, name: str, group: object) -> tuple[int, int] | None:
    """The tile of one of the ``config_groups`` of FP8; None where scales are of outputs or of the whole."""
    at, weights = _weights_of(settings, name, group, "float-quantized")
    settings.require(f"{at}.weights.type", weights.get("type"), "float")
    settings.require(f"{at}.weights.num_bits", weights.get("num_bits"), 8)
    settings.require(f"{at}.weights.symmetric", weights.get("symmetric", True), True)
    strategies = ("tensor", "channel", "group", "block")
    if settings.require(f"{at}.weights.strategy", weights.get("strategy"), *strategies) != "block":
        return None
    return settings.tile(f"{at}.weights.block_structure", weights.get("block_structure"))


def _weights_of(settings: _Settings, name: str, group: object, layout: str) -> tuple[str, Mapping[str, Any]]:
    """Where one of the ``config_groups`` stands, and what it says of weights, in the format ``layout``."""
    at = f"config_groups.{name}"
    weights = group.get("weights") if isinstance(group, Mapping) else None
    if not isinstance(group, Mapping) or not isinstance(weights, Mapping):
        raise settings.wrong(at, group, "an object with weights")
    own = group.get("format")
    if own is not None and own != layout:
        raise settings.wrong(f"{at}.format", own, layout)
    return at, weights


def _group(settings: _Settings, name: str, group: Mapping[str, Any], layout: str) -> Scheme:
    """The scheme of one of the ``config_groups``."""
    at, weights = _weights_of(settings, name, group, layout)
    for activations in ("input_activations", "output_activations"):
        if group.get(activations) is not None:
            raise settings.wrong(f"{at}.{activations}", group[activations], "null, weights alone being integers")
    settings.require(f"{at}.weights.type", weights.get("type", "int"), "int")
    bits = settings.require(f"{at}.weights.num_bits", weights.get("num_bits"), 4, 8)
    strategy = settings.require(f"{at}.weights.strategy", weights.get("strategy"), "group", "channel")
    symmetric = settings.require(f"{at}.weights.symmetric", weights.get("symmetric", True), True, False)
    size = weights.get("group_size") if strategy == "group" else None
    return settings.scheme(bits, size, not symmetric, f"{at}.weights.group_size")


def _fp8(settings: _Settings) -> Quantised:
    values = settings.values
    layout = settings.layout("fmt", "format", default="e4m3")
    settings.require("activation_scheme", values.get("activation_scheme", "dynamic"), "dynamic", "static")
    if values.get("expert_dtype") is not None:
        settings.require("expert_dtype", values["expert_dtype"], "fp8")
    tile = values.get("weight_block_size", list(_TILE))
    return Quantised("fp8", layout, 8, None, None if tile is None else settings.tile("weight_block_size", tile))


def _fbgemm(settings: _Settings) -> Quantised:
    return Quantised("fbgemm_fp8", settings.layout("fmt", default="e4m3"), 8, None)


_READERS: Mapping[str, Callable[[_Settings], Quantised]] = {
    "gptq": _gptq,
    "awq": _awq,
    "compressed-tensors": _compressed,
    "fp8": _fp8,
    "fbgemm_fp8": _fbgemm,
}
