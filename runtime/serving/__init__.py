"""An OpenAI-compatible server over engines: ``docs/server.md``. Needs the extra ``serve``; nothing else imports it.

``application`` (:mod:`clasp_trt.runtime.serving.app`) makes the ASGI application of a :class:`House`, which holds the
engines. Whoever adds a route of its own, such as a page for browsers, writes an ``APIRouter`` in a file of its own and
gives it to ``application(..., routers=[...])``; what lies under ``/v1/`` asks for the key, other paths do not.
"""
