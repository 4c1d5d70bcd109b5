"""How many tokens arrive and how many stay, for graphs of fixed sizes and for those that take any.

Fixed sizes are constants of the graph. Sizes of a request come as the length of a tensor ``ranks``, 0 to ``keep - 1``:
no shape is then the value of another.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import onnx_ir as ir

from clasp_trt.export.graph import GraphBuilder


class Tokens(Protocol):
    """The number of tokens, as values of a graph ``g`` under construction."""

    def tokens(self, g: GraphBuilder, *axes: int) -> ir.Value:
        """Numbers of the tokens, int64 ``[tokens]`` with ``axes`` of size 1 put in."""


class Sizes(Tokens, Protocol):
    """The number of tokens, and of those that stay."""

    @property
    def operands(self) -> tuple[ir.Value, ...]:
        """What a call of an operator takes besides its own inputs."""

    @property
    def attributes(self) -> Mapping[str, int]:
        """What it says besides its own attributes."""

    def keep(self, g: GraphBuilder) -> ir.Value:
        """How many stay, int64 ``[1]``."""

    def ranks(self, g: GraphBuilder, *axes: int) -> ir.Value:
        """Numbers of those that stay, int64 ``[keep]`` with ``axes`` of size 1 put in."""

    def zeros(self, g: GraphBuilder) -> ir.Value:
        """int64 ``[tokens]``."""

    def ones(self, g: GraphBuilder) -> ir.Value:
        """int64 ``[keep]``."""

    def dropped(self, g: GraphBuilder) -> ir.Value:
        """How many do not stay, int64 ``[1]``."""


@dataclass(frozen=True)
class FixedTokens:
    """``arrive`` tokens, always."""

    arrive: int

    def tokens(self, g: GraphBuilder, *axes: int) -> ir.Value:
        return g.const(np.expand_dims(np.arange(self.arrive), axes))


@dataclass(frozen=True)
class Fixed(FixedTokens):
    """``stay`` of ``arrive`` tokens, always."""

    stay: int

    @property
    def operands(self) -> tuple[ir.Value, ...]:
        return ()

    @property
    def attributes(self) -> Mapping[str, int]:
        return {"keep": self.stay}

    def keep(self, g: GraphBuilder) -> ir.Value:
        return g.const([self.stay])

    def ranks(self, g: GraphBuilder, *axes: int) -> ir.Value:
        return g.const(np.expand_dims(np.arange(self.stay), axes))

    def zeros(self, g: GraphBuilder) -> ir.Value:
        return g.const(np.zeros(self.arrive))

    def ones(self, g: GraphBuilder) -> ir.Value:
        return g.const(np.ones(self.stay))

    def dropped(self, g: GraphBuilder) -> ir.Value:
        return g.const([self.arrive - self.stay])


@dataclass(frozen=True, eq=False)
class VaryingTokens:
    """As many tokens as the last axis of ``counted`` has."""

    counted: ir.Value

    def tokens(self, g: GraphBuilder, *axes: int) -> ir.Value:
        numbers = g.op("Range", g.const(0), g.op("Squeeze", self._arriving(g)), g.const(1))
        return g.op("Unsqueeze", numbers, g.const(list(axes))) if axes else numbers

    def _arriving(self, g: GraphBuilder) -> ir.Value:
        return g.op("Shape", self.counted, start=-1)


@dataclass(frozen=True, eq=False)
class Varying(VaryingTokens):
    """Of those, as many stay as ``numbers``, int64 ``[keep]``, has elements."""

    numbers: ir.Value

    @property
    def operands(self) -> tuple[ir.Value, ...]:
        return (self.numbers,)

    @property
    def attributes(self) -> Mapping[str, int]:
        return {}

    def keep(self, g: GraphBuilder) -> ir.Value:
        return g.op("Shape", self.numbers)

    def ranks(self, g: GraphBuilder, *axes: int) -> ir.Value:
        return g.op("Unsqueeze", self.numbers, g.const(list(axes))) if axes else self.numbers

    def zeros(self, g: GraphBuilder) -> ir.Value:
        return g.op("Expand", g.const([0]), self._arriving(g))

    def ones(self, g: GraphBuilder) -> ir.Value:
        return g.op("Expand", g.const([1]), self.keep(g))

    def dropped(self, g: GraphBuilder) -> ir.Value:
        return g.op("Sub", self._arriving(g), self.keep(g))
