"""A checkpoint's ``config.json``, field by field, with the defaults of transformers for what it leaves out."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from clasp_trt.errors import CheckpointError

CONFIG = "config.json"
UNQUANTISED = "expected float weights: give the checkpoint that it was quantised from, with --quantize int4"
"""What to do about quantised weights."""
SAME_ACTIVATION = {"swish": "silu", "gelu_python": "gelu", "gelu_python_tanh": "gelu_pytorch_tanh"}
"""Other names in transformers of activations, and the names that we know them by: the same function of a number."""

MOST = 2**31 - 1
"""The greatest size and id: beyond it neither tensors nor tokens are numbered."""


AUTHORS = "mm_"
"""How names begin that only configs in the layout of LLaVA's own repositories have, such as ``mm_vision_tower``."""


class Settings:
    """The fields of one object of a config, with the defaults that transformers has for those left out.

    ``source`` is the file and ``place`` the object in it, such as ``text_config.``, as errors name them; ``place`` is
    empty for the whole file.
    """

    def __init__(self, source: str, place: str, values: object, defaults: Mapping[str, Any]) -> None:
        if not isinstance(values, dict):
            raise CheckpointError(f"{source}: expected {place or 'it'} to be a JSON object; download the file again")
        self.source, self.place = source, place
        self._given = frozenset(values)
        self._values = {**defaults, **values}

    def part(self, name: str, defaults: Mapping[str, Any]) -> Settings:
        """The object in the field ``name``; all of it may be left to ``defaults``."""
        values = self._values.get(name)
        return Settings(self.source, f"{self.place}{name}.", {} if values is None else values, defaults)

    def over(self, defaults: Mapping[str, Any]) -> Settings:
        """The same object with further defaults."""
        return Settings(self.source, self.place, self._values, defaults)

    def replaced(self, values: Mapping[str, Any]) -> Settings:
        """The same object with other ``values`` for some fields."""
        return Settings(self.source, self.place, {**self._values, **values}, {})

    @property
    def given(self) -> frozenset[str]:
        """The fields that the file itself has."""
        return self._given

    def has(self, *names: str) -> bool:
        """Whether the file itself has any of the fields ``names``."""
        return not self._given.isdisjoint(names)

    def get(self, name: str) -> Any:
        """The value as it stands; None where neither the file nor a default has one."""
        return self._values.get(name)

    def count(self, name: str, otherwise: int | None = None) -> int:
        """A whole number above 0; ``otherwise`` stands for null. Raises :class:`CheckpointError`."""
        value = self.get(name)
        if value is None and otherwise is not None:
            return otherwise
        if type(value) is not int or not 1 <= value <= MOST:  # type(), because a bool is an int
            raise self.wrong(name, f"a whole number from 1 to {MOST}")
        return value

    def id(self, name: str) -> int:
        """The number of a token: whole, 0 or more. Raises :class:`CheckpointError`."""
        value = self.get(name)
        if type(value) is not int or not 0 <= value <= MOST:
            raise self.wrong(name, "the id of a token")
        return value

    def positive(self, name: str) -> float:
        """A finite number above 0. Raises :class:`CheckpointError`."""
        value = self.get(name)
        if type(value) not in (int, float) or not 0 < value <= sys.float_info.max:
            raise self.wrong(name, "a finite number above 0")
        return float(value)

    def flag(self, name: str) -> bool:
        """True or false. Raises :class:`CheckpointError`."""
        value = self.get(name)
        if not isinstance(value, bool):
            raise self.wrong(name, "true or false")
        return value

    def require(self, name: str, *allowed: object) -> Any:
        """The value, which is one of ``allowed``. Raises :class:`CheckpointError` for another."""
        value = self.get(name)
        if value not in allowed:
            raise self.wrong(name, " or ".join(map(str, allowed)))
        return value

    def activation(self, name: str, *allowed: str) -> str:
        """The activation, by that one of its names which is in ``allowed``. Raises :class:`CheckpointError`."""
        value = self.get(name)
        if isinstance(value, str):
            value = SAME_ACTIVATION.get(value, value)
        if value not in allowed:
            raise self.wrong(name, " or ".join(allowed))
        return str(value)

    def wrong(self, name: str, expected: str) -> CheckpointError:
        """The error for a field that does not hold what was ``expected``."""
        value = ascii(self.get(name))[:60]
        return CheckpointError(
            f"{self.source}: {self.place}{name} is {value}, which is not supported; expected {expected}"
        )
