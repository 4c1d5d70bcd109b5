"""The page: what it is sent with, what it asks, and what becomes of it in a browser."""

from __future__ import annotations

import asyncio
import base64
import io
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
import uvicorn
from PIL import Image

from clasp_trt.bundle import Bundle
from clasp_trt.runtime.engine import Engine, open_engine
from clasp_trt.runtime.media.seen import Block, Seen
from clasp_trt.runtime.serving import page
from clasp_trt.runtime.serving.app import application
from clasp_trt.runtime.serving.house import House
from clasp_trt.runtime.serving.server import listening
from clasp_trt.runtime.serving.settings import Settings
from tests.mistakes import says
from tests.runtime.serving import browser
from tests.runtime.serving.conftest import NAME

TEXT = page.PAGE.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def get(house: House) -> Callable[..., httpx2.Response]:
    """``get(path, body)``: what the server answers there; with a body it is sent one."""

    def asked(path: str, body: Any = None, settings: Settings | None = None) -> httpx2.Response:
        async def once() -> httpx2.Response:
            app = application(house, settings or Settings(), [page.router])
            async with app.router.lifespan_context(app):
                transport = httpx2.ASGITransport(app, raise_app_exceptions=False)
                async with httpx2.AsyncClient(transport=transport, base_url="http://server") as client:
                    return await (client.get(path) if body is None else client.post(path, json=body))

        return asyncio.run(once())

    return asked


def test_it_is_sent_under_a_strict_policy(get: Callable[..., httpx2.Response]) -> None:
    done = get("/")
    assert (done.status_code, done.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert done.text == TEXT
    rules = dict(each.strip().split(" ", 1) for each in done.headers["content-security-policy"].split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["connect-src"] == "'self'"
    assert rules["frame-ancestors"] == rules["base-uri"] == rules["form-action"] == "'none'"
    assert [len(rules[kind].split()) for kind in ("script-src", "style-src")] == [1, 1]
    assert "unsafe" not in done.headers["content-security-policy"]
    assert page.policy(TEXT.replace("</script>", " </script>")) != page.policy(TEXT)


def test_nothing_in_it_comes_from_elsewhere_or_runs_otherwise() -> None:
    """Attributes with styles or scripts would be blocked, and answers are never read as HTML."""
    assert re.findall(r"https?://|//[a-z]+\.[a-z]", TEXT) == []
    assert re.findall(r"<[a-z][^>]*\s(?:on\w+|style|src)=", TEXT) == []
    assert re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", TEXT) == []


def test_the_page_needs_no_key_but_what_it_asks_does(get: Callable[..., httpx2.Response], picture: str) -> None:
    locked = Settings(key="secret")
    assert get("/", settings=locked).status_code == 200
    assert get("/v1/clasp/view", {"model": NAME, "image": picture}, locked).status_code == 401


def test_a_view_has_a_box_for_each_token(get: Callable[..., httpx2.Response], engine: Engine, picture: str) -> None:
    done = get("/v1/clasp/view", {"model": NAME, "image": picture})
    assert done.status_code == 200
    told = done.json()
    sides = round(len(told["boxes"]) ** 0.5)
    result = engine.submit(base64.b64decode(picture.partition(",")[2]), "What?", max_new_tokens=1).result
    assert len(told["boxes"]) == result.visual_tokens == sides**2
    assert told["boxes"][0] == pytest.approx([0, 0, 1 / sides, 1 / sides], abs=1e-4)
    assert told["boxes"][-1] == pytest.approx([1 - 1 / sides, 1 - 1 / sides, 1, 1], abs=1e-4)
    with Image.open(io.BytesIO(base64.b64decode(told["view"].partition(",")[2]))) as view:
        assert view.size == (told["width"], told["height"])


def test_a_token_without_a_place_has_no_box() -> None:
    boxes = np.array([[0, 0, 10, 20], [np.nan] * 4], np.float32)
    told = page.told(Seen({}, {}, (Block(2, (1, 1, 2), boxes),), Image.new("RGB", (3000, 40))))
    assert told["boxes"] == [[0, 0, round(10 / 3000, 5), 0.5], None]
    assert told["width"] == page.VIEW_SIZE


@pytest.mark.parametrize(
    ("body", "status", "fact"),
    [
        ([], 400, "model"),
        ({"model": NAME}, 400, "image"),
        ({"model": 3, "image": "data:,"}, 400, "model"),
        ({"model": "other", "image": "data:,"}, 404, "other"),
        ({"model": NAME, "image": "/etc/passwd"}, 400, "data:"),
        ({"model": NAME, "image": "http://127.0.0.1/"}, 400, "data:"),
        ({"model": NAME, "image": "data:image/png;base64,AAAA"}, 400, "image"),
    ],
    ids=str,
)
def test_what_is_wrong_is_told_as_elsewhere(
    get: Callable[..., httpx2.Response], body: Any, status: int, fact: str
) -> None:
    done = get("/v1/clasp/view", body)
    assert done.status_code == status
    says(done.json()["error"]["message"], fact)


# --- in a browser ---------------------------------------------------------------------------------------------


@contextmanager
def running(house: House, settings: Settings) -> Iterator[str]:
    """The address of a server with a socket, in a thread of this process."""
    with listening("127.0.0.1", 0) as at:
        app = application(house, settings, [page.router])
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [at]})
        thread.start()
        try:
            end = time.monotonic() + 60
            while not server.started:
                assert time.monotonic() < end
                time.sleep(0.05)
            yield f"http://127.0.0.1:{at.getsockname()[1]}/"
        finally:
            server.should_exit = True
            thread.join()


@pytest.mark.full
@pytest.mark.skipif(browser.chromium() is None, reason="needs Chromium: apt-get install chromium")
def test_a_question_is_asked_at_two_budgets(
    built: Callable[..., Bundle], photos: dict[str, Path], tmp_path: Path
) -> None:
    """A picture is chosen, the key given, and both answers come with what their stages kept."""
    bundles = [built(), built(budget=6)]
    engines = [open_engine(each.root, slots=2, threads=1) for each in bundles]
    house = House(engines, NAME)
    budgets = [each.budget for each in house]
    try:
        with running(house, Settings(key="secret")) as url, browser.page(tmp_path) as opened:
            opened.open(url)
            opened.wait("document.readyState === 'complete' && !at('locked').hidden")
            opened.run("at('key').value = 'secret'; at('key').dispatchEvent(new Event('change'))")
            opened.wait("!at('ask').disabled")
            opened.complaints.clear()  # of the request without a key
            opened.choose_file("#file", photos["coffee"])
            opened.wait("!at('shown').hidden")
            opened.run("at('prompt').value = 'What is it?'; at('most').value = 4; at('ask').click()")
            opened.wait("document.querySelectorAll('[data-done]').length === 2")
            cards = opened.run(
                "[...document.querySelectorAll('.answer')].map(each => [each.dataset.done, each.querySelector('h2')"
                ".textContent, each.querySelector('.said').textContent,"
                " [...each.querySelectorAll('figcaption')].map(line => line.textContent)])"
            )
            drawn = opened.run(
                "[...document.querySelectorAll('canvas')].map(each => new Set(each.getContext('2d')"
                ".getImageData(0, 0, each.width, each.height).data).size > 8)"
            )
            assert opened.complaints == []
        with open_engine(bundles[0].root, slots=1, threads=1) as alone:
            wanted = alone.submit(photos["coffee"], "What is it?", max_new_tokens=4).result
        assert [(done, head) for done, head, *_ in cards] == [("yes", f"{each} visual tokens") for each in budgets]
        assert cards[0][2] == wanted.text
        assert cards[0][3] == [
            f"after layer {each.after_layer}: {len(each.indices)}, {each.is_pivot.sum()} pivots" for each in wanted.kept
        ]
        assert drawn == [True] * sum(len(each.manifest.schedule.stages) for each in bundles)
    finally:
        house.close()
