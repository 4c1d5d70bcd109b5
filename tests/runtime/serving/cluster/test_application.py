"""Real Ray, with two replicas on this machine's CPU: what a client hears when one of them is killed in the middle.

Ray takes a minute to start here, and is in no environment of CI: ``pip install '.[ray]'``, then ``pytest -m slow``.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest

from clasp_trt.bundle import Bundle
from tests.house import ROOT
from tests.runtime.serving.conftest import NAME, body

pytestmark = pytest.mark.slow

PATIENCE_S = 180.0
# a machine with few cores: Ray's own patience is short, and it kills what does not answer in time
PATIENT = {
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60",
    "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": "60",
    "RAY_SERVE_QUEUE_LENGTH_RESPONSE_DEADLINE_S": "10",
    "RAY_USAGE_STATS_ENABLED": "0",
    "OMP_NUM_THREADS": "1",
}


@pytest.fixture(scope="module")
def client(built: Callable[..., Bundle]) -> Iterator[httpx2.Client]:
    """A client of two replicas."""
    pytest.importorskip("ray")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in PATIENT.items():
            patch.setenv(name, value)
        patch.setenv("PYTHONPATH", f"{ROOT}:{os.environ.get('PYTHONPATH', '')}")
        import ray
        from ray import serve

        from clasp_trt.runtime.serving.cluster.application import build

        with socket.create_server(("127.0.0.1", 0)) as at:
            port = at.getsockname()[1]
        ray.init(num_cpus=8, include_dashboard=False, object_store_memory=200 * 2**20)
        try:
            serve.start(http_options={"host": "127.0.0.1", "port": port})
            bundle = built(max_context=900).root
            words = {"bundle": str(bundle), "replicas": "2", "slots": "2", "queue": "4", "gpus": "0", "threads": "1"}
            serve.run(build({**words, "model_name": NAME}))
            with httpx2.Client(
                base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE_S, limits=httpx2.Limits(max_connections=None)
            ) as opened:
                yield opened
            serve.shutdown()
        finally:
            ray.shutdown()


def replicas() -> dict[int, int]:
    """Processes of replicas, and the ticks of CPU that each has had."""
    found = {}
    for place in Path("/proc").glob("[0-9]*"):
        try:
            if b"ServeReplica:default:Replica" in (place / "cmdline").read_bytes():
                fields = (place / "stat").read_text().rpartition(")")[2].split()
                found[int(place.name)] = int(fields[11]) + int(fields[12])
        except OSError:
            continue
    return found


def lines(client: httpx2.Client, asked: dict[str, Any], after: int = 0, then: Callable[[], None] = int) -> list[str]:
    """The events of a stream; ``then`` is called once there are ``after``."""
    found: list[str] = []
    with client.stream("POST", "/v1/chat/completions", json={**asked, "stream": True}) as response:
        assert response.status_code == 200
        for line in response.iter_lines():
            found += [line.removeprefix("data: ")] if line else []
            if len(found) == after and line:
                then()
    return found


def said(events: list[str]) -> list[Any]:
    return [json.loads(each)["choices"] for each in events if each != "[DONE]"]


def test_a_replica_answers_as_a_server_does(client: httpx2.Client, picture: str) -> None:
    """Also where it refuses; and the replica that had the picture has it again."""
    assert client.get("/v1/models").json()["data"][0]["id"] == NAME
    assert client.get("/").headers["content-security-policy"].startswith("default-src 'none'")
    refused = client.post("/v1/chat/completions", json=body(temperature=9))
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "temperature")
    told = [client.post("/v1/chat/completions", json=body("What?", picture)).json()["clasp"] for _ in range(6)]
    assert [each["reused_images"] for each in told] == [0, 1, 1, 1, 1, 1]


def test_somebody_who_leaves_makes_room(client: httpx2.Client) -> None:
    asked = body("Tell me.") | {"max_tokens": 800, "ignore_eos": True, "logprobs": True, "stream": True}
    with client.stream("POST", "/v1/chat/completions", json=asked) as response:
        next(response.iter_lines())
    end = time.monotonic() + PATIENCE_S
    while not (measured := client.get("/metrics").text) or 'clasp_requests_total{code="499"} 1.0' not in measured:
        assert time.monotonic() < end, "the answer goes on for nobody"


def test_too_many_are_told_so(client: httpx2.Client) -> None:
    """Two replicas take 6 each, and the ingress holds 4."""
    asked = body("Tell me.") | {"max_tokens": 500, "ignore_eos": True}
    with ThreadPoolExecutor(40) as pool:
        done = list(pool.map(lambda _: client.post("/v1/chat/completions", json=asked), range(40)))
    turned_away = [each for each in done if each.status_code != 200]
    assert turned_away
    assert {each.status_code for each in turned_away} == {429}
    assert all(each.json()["error"]["code"] == "queue_full" and each.headers["retry-after"] for each in turned_away)


def test_a_stream_outlives_its_replica(client: httpx2.Client, picture: str) -> None:
    asked = body("What is it?", picture, temperature=0) | {"max_tokens": 600, "ignore_eos": True, "logprobs": True}
    whole = lines(client, asked)
    assert len(whole) > 600
    before, killed = replicas(), list[int]()

    def kill() -> None:
        """The one that computes."""
        ticks = replicas()
        busy = max(before, key=lambda pid: ticks[pid] - before[pid])
        os.kill(busy, signal.SIGKILL)
        killed.append(busy)

    again = lines(client, asked, after=200, then=kill)
    assert killed
    assert said(again) == said(whole)
    assert len({json.loads(each)["id"] for each in again if each != "[DONE]"}) == 1
    end = time.monotonic() + PATIENCE_S
    while len(replicas()) < 2 or killed[0] in replicas():
        assert time.monotonic() < end, "no other replica came in its place"
        time.sleep(0.5)
