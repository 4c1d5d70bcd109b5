"""A checkpoint's ``config.json`` becomes a :class:`~clasp_trt.tools.plan.shapes.ModelShape`, without its weights."""

from __future__ import annotations

import importlib
import json
import pkgutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from clasp_trt.errors import CheckpointError
from clasp_trt.tools.plan import models
from clasp_trt.tools.plan.shapes import ModelShape

CONFIG = "config.json"


class Settings:
    """The fields of one object of a config, with the defaults that transformers has for those left out.

    ``place`` names the object in errors, such as ``text_config``; it is empty for the whole file.
    """

    def __init__(self, source: str, place: str, values: object, defaults: Mapping[str, Any]) -> None:
        if not isinstance(values, dict):
            raise CheckpointError(f"{source}: expected {place or 'it'} to be a JSON object; download the file again")
        self.source, self.place = source, place
        self._values = {**defaults, **values}

    def part(self, name: str, defaults: Mapping[str, Any]) -> Settings:
        """The object in the field ``name``; all of it may be left to ``defaults``."""
        values = self._values.get(name)
        return Settings(self.source, f"{self.place}{name}.", {} if values is None else values, defaults)

    def get(self, name: str) -> Any:
        """The value as it stands; None where neither the file nor a default has one."""
        return self._values.get(name)

    def count(self, name: str, otherwise: int | None = None) -> int:
        """A whole number above 0; ``otherwise`` stands for null. Raises :class:`CheckpointError`."""
        value = self.get(name)
        if value is None and otherwise is not None:
            return otherwise
        if type(value) is not int or value < 1:  # type(), because a bool is an int
            raise self.wrong(name, "a whole number above 0")
        return value

    def flag(self, name: str) -> bool:
        """True or false. Raises :class:`CheckpointError`."""
        value = self.get(name)
        if not isinstance(value, bool):
            raise self.wrong(name, "true or false")
        return value

    def require(self, name: str, *allowed: object) -> None:
        """Raises :class:`CheckpointError` for a value that is not among ``allowed``."""
        if self.get(name) not in allowed:
            raise self.wrong(name, " or ".join(map(str, allowed)))

    def wrong(self, name: str, expected: str) -> CheckpointError:
        """The error for a field that does not hold what was ``expected``."""
        value = ascii(self.get(name))[:60]
        return CheckpointError(
            f"{self.source}: {self.place}{name} is {value}, which is not supported; expected {expected}"
        )


def supported() -> tuple[str, ...]:
    """The ``model_type`` of every family that can be planned."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(models.__path__)))


def load_shape(path: Path, name: str) -> ModelShape:
    """The sizes of the model whose ``config.json`` lies at ``path``. Raises :class:`CheckpointError`."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} cannot be read as JSON ({error}); download the file again") from None
    return shape_of(config, str(path), name)


def shape_of(config: object, source: str, name: str) -> ModelShape:
    """The sizes that a parsed ``config.json`` describes; ``source`` names the file in errors.

    Raises :class:`CheckpointError` for a family that cannot be planned, quantised weights, or missing sizes.
    """
    top = Settings(source, "", config, {})
    kind = top.get("model_type")
    if kind not in supported():
        raise CheckpointError(
            f"model_type {ascii(kind)[:60]} of {source} is not supported; supported: {', '.join(supported())}"
        )
    for part in (top, top.part("text_config", {})):
        if part.get("quantization_config") is not None:
            raise CheckpointError(
                f"{source} says that the weights are quantised (quantization_config); "
                "expected float weights: give the checkpoint that it was quantised from"
            )
    family: Callable[[str, str, object], ModelShape] = importlib.import_module(f"{models.__name__}.{kind}").shape
    return family(name, source, config)
