"""What lies beside a bundle's graphs: tokenizer and chat template of the checkpoint, and a router.

Each is tried by the runtime's own code before a bundle is made of it, so that what a first request would stumble over
is said at build time.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from clasp_trt.errors import BundleError, CheckpointError, ClaspError
from clasp_trt.policy import CATEGORY_NAMES, Policy
from clasp_trt.storage.foreign import read_object

if TYPE_CHECKING:
    from clasp_trt.bundle import Frames, Layout, Media


def check_router(folder: str | os.PathLike[str], policy: Policy | None) -> None:
    """Does with a router what a first request would. Raises a :class:`ClaspError` if it cannot serve the policy."""
    from clasp_trt.runtime.routing.folder import load_router

    names = CATEGORY_NAMES if policy is None else [category.name for category in policy.categories]
    load_router(folder, names, threshold=0.5).route("What is this?")


def copy_router(folder: str | os.PathLike[str], root: Path) -> None:
    """Puts the files of a router at the top of a bundle, in place of those of another."""
    from clasp_trt.runtime.routing.folder import RouterSpec

    for path in root.iterdir():
        if RouterSpec.owns(path.name):
            path.unlink()
    for path in RouterSpec.read(folder).files():
        (root / path.name).write_bytes(path.read_bytes())


def check_assets(root: Path, media: Media, checkpoint: str) -> None:
    """Does to a staged bundle's files what first requests about no picture, one, as many as are taken, and a clip
    would, in the runtime's own words.

    Raises :class:`CheckpointError`, naming the file of ``checkpoint`` that cannot work.
    """
    from clasp_trt.runtime.text.chat import ChatTemplate
    from clasp_trt.runtime.text.tokenizer import Tokenizer

    with _asset("tokenizer.json", checkpoint):
        tokenizer = Tokenizer.from_file(root / "tokenizer.json")
    with _asset("chat template", checkpoint):
        special = read_object(root / "special_tokens_map.json", BundleError, "download it again")
        template = (root / "chat_template.jinja").read_text(encoding="utf-8")
        layout, moving = media.image.layout, None if media.video is None else media.video.layout
        chat = ChatTemplate(
            template, layout.placeholder, special, video_token=None if moving is None else moving.placeholder
        )
        rendered: list[tuple[Layout | Frames, int, str]] = [
            (layout, count, chat.render("x", images=count)) for count in sorted({0, 1, media.images})
        ]
        if moving is not None:
            rendered.append((moving, 1, chat.render("x", clips=1)))
    with _asset("tokenizer.json", checkpoint):
        for shown, count, text in rendered:
            spelled = text.replace(shown.placeholder, shown.token)  # which may be another
            found = tokenizer.encode_chat(spelled, chat.bos).count(shown.id)
            if found != count:
                what = f"{count} images" if shown is layout else "a video"
                raise BundleError(f"a prompt with {what} has {found} tokens {shown.token} (id {shown.id})")


@contextmanager
def _asset(name: str, checkpoint: str) -> Iterator[None]:
    """What the runtime says against a file becomes one line about the checkpoint that it came from."""
    try:
        yield
    except ClaspError as error:
        reason = str(error).removeprefix(f"{name}: ")
        raise CheckpointError(f"the {name} of {checkpoint} cannot be used: {reason}; mend or replace it") from error
