"""A server on several devices or machines, by Ray Serve: ``serve run
clasp_trt.runtime.serving.cluster.application:build bundle=/bundle replicas=2``.

Each replica is a server as ``clasp-trt serve`` has it, without a socket; in front of them the ingress bounds how many
wait, asks the replica that had the pictures, and asks again where a replica is lost. Tried with Ray 2.60 on one machine
and its CPU; never run on several machines or on a GPU.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack

from ray import serve
from ray.exceptions import RayActorError
from ray.serve.config import RequestRouterConfig
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError
from ray.serve.handle import DeploymentHandle
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from clasp_trt.errors import BackendError
from clasp_trt.runtime.engine import open_engine
from clasp_trt.runtime.serving import page, problem
from clasp_trt.runtime.serving.app import application
from clasp_trt.runtime.serving.cluster.affinity import picture_key
from clasp_trt.runtime.serving.cluster.inside import Head, Headers, answered
from clasp_trt.runtime.serving.cluster.relay import Pieces, relayed, repeatable
from clasp_trt.runtime.serving.cluster.wanted import Wanted, wanted
from clasp_trt.runtime.serving.house import House
from clasp_trt.runtime.serving.problem import Problem, too_large

LOST = (RayActorError, DeploymentUnavailableError)
TURNED_AWAY = 256
"""Requests at a time that the ingress has hands for to say that too many wait."""


class Replica:
    """One server of one device."""

    def __init__(self, want: Wanted) -> None:
        engines = [
            open_engine(bundle, slots=want.slots, queue=want.queue, threads=want.threads) for bundle in want.bundles
        ]
        self._house = House(engines, want.model_name)
        self._greedy = not any(served.engine.bundle.generation.do_sample for served in self._house)
        self._app = application(self._house, want.settings, [page.router])
        self._life, self._starting = AsyncExitStack(), asyncio.Lock()
        self._started, self._stuck_after = False, want.settings.stuck_exit

    async def answer(
        self, key: str | None, method: str, path: str, headers: Headers, body: bytes
    ) -> AsyncGenerator[Head | bytes, None]:
        """The head of an answer, then its pieces. ``key`` is the router's."""
        await self._start()
        again = repeatable(body, greedy=self._greedy)
        async for piece in answered(self._app, method, path, headers, body, repeatable=again):
            yield piece

    async def check_health(self) -> None:
        """Raises where an engine is lost or stuck; Ray then ends this replica and begins another."""
        for served in self._house:
            if served.engine.failure is not None:
                raise served.engine.failure
            if (silent := served.engine.silent_s) > self._stuck_after:
                raise BackendError(f"{served.model} gave no sign of life for {silent:.0f} s")

    async def _start(self) -> None:
        async with self._starting:
            if not self._started:
                await self._life.enter_async_context(self._app.router.lifespan_context(self._app))
                self._started = True

    def __del__(self) -> None:
        if hasattr(self, "_house"):
            self._house.close()


class Ingress:
    """What clients see."""

    def __init__(self, replicas: DeploymentHandle, want: Wanted) -> None:
        self._replicas = replicas.options(stream=True, method_name="answer")
        self._most = want.settings.max_body

    async def __call__(self, request: Request) -> Response:
        try:
            body = await _bounded(request, self._most)
            pieces = relayed(lambda: self._ask(request, body), LOST)
            head = await anext(pieces)
        except Problem as refused:
            return _refused(refused)
        except BackPressureError:
            return _refused(problem.busy())
        except LOST:
            return _refused(problem.leaving())
        assert isinstance(head, Head), "an answer begins with its head"
        response = StreamingResponse(_body(pieces), head.status)
        response.raw_headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in head.headers]
        return response

    async def _ask(self, request: Request, body: bytes) -> Pieces:
        key = picture_key(body)
        coming = self._replicas.remote(key, request.method, request.url.path, list(request.headers.items()), body)
        try:
            async for piece in coming:
                yield piece
        finally:
            coming.cancel()


def _refused(why: Problem) -> Response:
    return JSONResponse(why.body, why.status, why.headers)


async def _body(pieces: Pieces) -> AsyncGenerator[bytes, None]:
    async for piece in pieces:
        assert isinstance(piece, bytes), "one head alone"
        yield piece


async def _bounded(request: Request, most: int) -> bytes:
    read = bytearray()
    async for piece in request.stream():
        read += piece
        if len(read) > most:
            raise too_large("the request", most)
    return bytes(read)


def build(args: Mapping[str, str]) -> serve.Application:
    """The application for ``serve run``. Raises :class:`RequestError` for arguments that are not those of
    :class:`Wanted`."""
    want = wanted(args)
    places, most = want.slots_or_one + want.queue, max(want.replicas, want.max_replicas)
    replica = serve.deployment(
        Replica,
        name="Replica",
        max_ongoing_requests=places,
        max_queued_requests=want.queue,
        autoscaling_config={
            "min_replicas": want.replicas,
            "max_replicas": most,
            "target_ongoing_requests": want.slots_or_one,
        },
        ray_actor_options={"num_cpus": want.cpus, "num_gpus": want.gpus},
        request_router_config=RequestRouterConfig(
            request_router_class="clasp_trt.runtime.serving.cluster.routing:PictureRouter"
        ),
        graceful_shutdown_timeout_s=want.settings.drain_timeout,
    )
    ingress = serve.deployment(
        Ingress,
        name="Ingress",
        max_ongoing_requests=places * most + want.queue + TURNED_AWAY,
        max_queued_requests=TURNED_AWAY,  # beyond this Ray's proxy itself answers 503, in its own words
        ray_actor_options={"num_cpus": 0.1},
    )
    return ingress.bind(replica.bind(want), want)
