"""A page to try a server on: a picture, a question, the answer as it comes, and what each stage kept of the picture.

One file, ``page.html``, with nothing from elsewhere; by the header that it is sent with, a browser runs nothing else.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
from fastapi import APIRouter, Request
from fastapi.responses import Response
from PIL import Image

from clasp_trt.errors import ImageError
from clasp_trt.runtime.media.seen import Seen
from clasp_trt.runtime.serving.house import House, Served
from clasp_trt.runtime.serving.pictures import Shown, decoded, encoded
from clasp_trt.runtime.serving.problem import Problem
from clasp_trt.runtime.serving.settings import Settings
from clasp_trt.runtime.serving.wire import Link

PAGE = Path(__file__).with_name("page.html")
VIEW_SIZE = 1024
"""Pixels of the longer side of a view, at most."""

router = APIRouter()


def policy(page: str) -> str:
    """The content security policy under which ``page`` works and nothing else does: its own script and styles, by their
    SHA-256, requests to its own server, and pictures that it was given."""

    def hashes(tag: str) -> str:
        inside = re.findall(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        sums = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in inside]
        return " ".join(f"'sha256-{each}'" for each in sums)

    return (
        f"default-src 'none'; script-src {hashes('script')}; style-src {hashes('style')}; connect-src 'self';"
        " img-src data: blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


@router.get("/")
async def page() -> Response:
    """The page."""
    text = await asyncio.to_thread(PAGE.read_text, encoding="utf-8")
    headers = {
        "Content-Security-Policy": policy(text),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-cache",
    }
    return Response(text, media_type="text/html; charset=utf-8", headers=headers)


@router.post("/v1/clasp/view")
async def view(request: Request) -> dict[str, Any]:
    """What the model sees of a picture, for whoever draws what was kept of it.

    The body is ``{"model": NAME, "image": "data:..."}``; the answer ``{"view": "data:image/jpeg;...", "width",
    "height", "boxes"}``, a box ``[left, top, right, bottom]`` in shares of the view for each visual token in their
    order, or null for one that stands for no place.
    """
    state = request.app.state
    settings: Settings = state.settings
    try:
        given = await asyncio.wait_for(request.json(), settings.body_timeout)
    except ValueError:
        raise Problem(400, "the body is no JSON") from None
    except asyncio.TimeoutError:
        raise Problem(408, f"the request did not arrive within {settings.body_timeout:g} s") from None
    if not (isinstance(given, dict) and isinstance(given.get("model"), str) and isinstance(given.get("image"), str)):
        raise Problem(400, 'expected {"model": NAME, "image": "data:image/png;base64,..."}')
    house: House = state.house
    served = house.find(given["model"], None)
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(state.pools.reading, _view, served, given["image"], settings)


def _view(served: Served, url: str, settings: Settings) -> dict[str, Any]:
    link = Shown("image", Link(url=url), False)
    picture = decoded(link, encoded(link, settings), settings, None)
    assert isinstance(picture, Image.Image)
    try:
        return told(served.engine.see(picture))
    except ImageError as error:
        raise Problem(400, str(error), param="image", code="invalid_image") from error


def told(seen: Seen) -> dict[str, Any]:
    """A view and its boxes as the page takes them."""
    wide, tall = seen.view.size
    boxes = seen.boxes.astype(np.float64) / np.array([wide, tall, wide, tall])
    small = seen.view.convert("RGB")
    small.thumbnail((VIEW_SIZE, VIEW_SIZE))
    file = io.BytesIO()
    small.save(file, "JPEG", quality=90)
    return {
        "view": f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}",
        "width": small.width,
        "height": small.height,
        "boxes": [None if np.isnan(box).any() else [round(side, 5) for side in box.tolist()] for box in boxes],
    }
