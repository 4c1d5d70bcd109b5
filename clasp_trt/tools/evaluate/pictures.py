"""Pictures decoded ahead of the model, a few at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from clasp_trt.runtime.media.image import load_image

if TYPE_CHECKING:
    from PIL import Image

WORKERS = 2
AHEAD = 4
"""Pictures decoded or being decoded beyond the one in use: what bounds the memory."""


@contextmanager
def decoded(paths: Sequence[Path]) -> Iterator[Iterator[Image.Image]]:
    """An iterator over the pictures of ``paths``, in their order, for the block.

    A picture that cannot be read raises :class:`clasp_trt.errors.ImageError` when its turn comes, not before. Leaving
    the block early drops what was not started.
    """
    pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="decode")
    try:
        with closing(_in_turn(pool, paths)) as pictures:
            yield pictures
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _in_turn(pool: ThreadPoolExecutor, paths: Sequence[Path]) -> Generator[Image.Image, None, None]:
    waiting: deque[Future[Image.Image]] = deque()
    for path in paths:
        waiting.append(pool.submit(load_image, path))
        if len(waiting) > AHEAD:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
