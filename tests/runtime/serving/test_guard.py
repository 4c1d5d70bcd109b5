"""Who may ask, and what is said to others before anything of theirs is read."""

from __future__ import annotations

import asyncio
import hmac
from typing import Any

import pytest

from clasp_trt.runtime.serving.app import application
from clasp_trt.runtime.serving.house import House
from clasp_trt.runtime.serving.settings import Settings
from tests.runtime.serving.conftest import body, client

KEY = "s3cret"


def statuses(house: House, settings: Settings, path: str, *headers: dict[str, str], method: str = "GET") -> list[int]:
    async def asked() -> list[int]:
        async with client(house, settings) as opened:
            sent = {"json": body()} if method == "POST" else {}
            return [(await opened.request(method, path, headers=each, **sent)).status_code for each in headers]  # type: ignore[arg-type]

    return asyncio.run(asked())


WRONG = [
    {},
    {"Authorization": "Bearer"},
    {"Authorization": f"Bearer {KEY}x"},
    {"Authorization": f"Bearer {KEY[:-1]}"},
    {"Authorization": KEY},
    {"Authorization": f"Basic {KEY}"},
    {"Authorization": "Bearer " + "x" * 10000},
]


def test_the_key_opens(house: House) -> None:
    settings = Settings(key=KEY)
    for path in ("/v1/models", "/metrics", "/v1/nowhere"):
        assert statuses(house, settings, path, *WRONG) == [401] * len(WRONG)
    right = ({"Authorization": f"Bearer {KEY}"}, {"Authorization": f"bearer  {KEY} "})
    assert statuses(house, settings, "/v1/models", *right) == [200, 200]
    assert statuses(house, settings, "/v1/chat/completions", *WRONG, method="POST") == [401] * len(WRONG)
    assert statuses(house, settings, "/health", {}) == [200], "who looks after the process has no key"


def test_nobody_needs_a_key_where_there_is_none(house: House) -> None:
    assert statuses(house, Settings(), "/v1/models", *WRONG) == [200] * len(WRONG)


def test_the_key_is_compared_in_constant_time(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the function for it, and what it compares is as long for every key."""
    compared: list[tuple[bytes, bytes]] = []

    def watched(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return one == other

    monkeypatch.setattr(hmac, "compare_digest", watched)
    assert statuses(house, Settings(key=KEY), "/v1/models", *WRONG) == [401] * len(WRONG)
    assert len(compared) == len(WRONG)
    assert {len(each) for pair in compared for each in pair} == {32}
    assert KEY not in repr(Settings(key=KEY))


def test_nothing_is_read_of_who_may_not_ask(house: House) -> None:
    """Nor of a body that says itself that it is too large."""
    for headers, status in ([], 401), ([(b"authorization", b"Bearer k"), (b"content-length", b"99999999")], 413):
        sent: list[dict[str, Any]] = []

        async def send(message: Any, into: list[dict[str, Any]] = sent) -> None:
            into.append(message)

        async def receive() -> Any:
            raise AssertionError("it was read")

        scope = {"type": "http", "method": "POST", "path": "/v1/chat/completions", "headers": headers}
        asyncio.run(application(house, Settings(key="k"))(dict(scope), receive, send))  # type: ignore[arg-type]
        assert sent[0]["status"] == status
        assert (b"connection", b"close") in sent[0]["headers"]


def test_what_is_nowhere(house: House) -> None:
    async def asked() -> None:
        async with client(house) as opened:
            for method, path, status in (
                ("GET", "/v2", 404),
                ("GET", "/v1/chat/completions", 405),
                ("GET", "/v1/models/other", 404),
                ("GET", "/docs", 404),
                ("GET", "/openapi.json", 404),
            ):
                response = await opened.request(method, path)
                assert response.status_code == status
                assert set(response.json()["error"]) == {"message", "type", "param", "code"}

    asyncio.run(asked())


def test_models(house: House) -> None:
    from openai.pagination import SyncPage
    from openai.types import Model

    async def asked() -> tuple[Any, Any]:
        async with client(house) as opened:
            return (await opened.get("/v1/models")).json(), (await opened.get("/v1/models/tiny")).json()

    several, one = asyncio.run(asked())
    (model,) = SyncPage[Model].model_validate(several).data
    assert Model.model_validate(one).id == model.id == "tiny"
    assert one["clasp"]["budgets"] == [8]
    assert "counting" in one["clasp"]["categories"]
