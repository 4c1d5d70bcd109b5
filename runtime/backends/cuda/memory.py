"""Who owns which bytes of the device.

Blocks of a pool are handed out and come back; the driver is asked for more only where no block of that size is free.
One stream does everything, so a block may be handed out again while work on its old contents is still to come: that
work comes first.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from clasp_trt.runtime.backends.cuda.driver import Driver

GRAIN = 1 << 16
"""Sizes are multiples of this, so that the few small tensors of any prompt fit the blocks of any other."""


class Block:
    """``size`` bytes of the device at ``address``, until the last reference to this object goes."""

    __slots__ = ("_pool", "address", "size")

    def __init__(self, pool: Pool, address: int, size: int) -> None:
        self._pool, self.address, self.size = pool, address, size

    def __del__(self) -> None:
        self._pool._take_back(self)


class Part:
    """``size`` bytes of a block from ``offset`` on, which keep the whole."""

    __slots__ = ("_whole", "address", "size")

    def __init__(self, whole: Block | Part, offset: int, size: int) -> None:
        self._whole, self.size = whole, size
        self.address: int = whole.address + offset


class Pool:
    """All memory of the device that tensors live in. ``allocated`` is the sum of its bytes, free or not."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._sizes: dict[int, int] = {}  # of every block, by address
        self._free: defaultdict[int, list[int]] = defaultdict(list)

    @property
    def allocated(self) -> int:
        return sum(self._sizes.values())

    def take(self, size: int) -> Block:
        """A block of ``size`` bytes or a little more, with contents left from before. Never without an address: what is
        empty has one too, since TensorRT wants one."""
        size = rounded(size)
        if not self._free[size]:
            self._add(size)
        return Block(self, self._free[size].pop(), size)

    def fresh(self, size: int) -> Block:
        """A block that nobody had before: for what stays, and so must not take what others come back for."""
        self._add(rounded(size))
        return self.take(size)

    def add(self, sizes: Iterable[int]) -> None:
        """Allocates a block of each of ``sizes`` now, for a :meth:`take` to come."""
        for size in sizes:
            self._add(rounded(size))

    def close(self) -> None:
        """Gives all memory back to the device, whoever still has a block."""
        for address in self._sizes:
            self._driver.free(address)
        self._sizes.clear()
        self._free.clear()

    def _add(self, size: int) -> None:
        address = self._driver.allocate(size, "a tensor")
        self._sizes[address] = size
        self._free[size].append(address)

    def _take_back(self, block: Block) -> None:
        if block.address in self._sizes:  # not after the end
            self._free[block.size].append(block.address)


class Scratch:
    """Memory that many need, though never two at once: as much as the most demanding one asks for.

    It is allocated when it is first asked for, which is after everyone said with :meth:`need` what it takes.
    """

    def __init__(self, driver: Driver, what: str) -> None:
        self._driver, self._what = driver, what
        self._needed = 0
        self._chunks: list[tuple[int, int]] = []  # size and address; the last one is the largest

    def need(self, size: int) -> None:
        """Says that ``size`` bytes will be asked for."""
        self._needed = max(self._needed, size)

    def address(self, size: int) -> int:
        """Where ``size`` bytes are. They stay there, also when somebody later asks for more than there is."""
        self.need(size)
        if not self._chunks or self._chunks[-1][0] < size:
            whole = rounded(self._needed)
            self._chunks.append((whole, self._driver.allocate(whole, self._what)))
        return self._chunks[-1][1]

    def close(self) -> None:
        """Gives it back to the device."""
        for _, address in self._chunks:
            self._driver.free(address)
        self._chunks.clear()


def rounded(size: int) -> int:
    """``size`` as a multiple of :data:`GRAIN`, of one at least."""
    return max(1, -(-size // GRAIN)) * GRAIN
