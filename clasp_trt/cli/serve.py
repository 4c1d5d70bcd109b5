"""``clasp-trt serve``: an OpenAI-compatible server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from clasp_trt.cli.examples import examples
from clasp_trt.cli.options import provider_option, threads_option

_MIB = 2**20
_SECONDS = click.FloatRange(min=0, min_open=True)


@click.command(
    "serve",
    epilog=examples(
        "clasp-trt serve bundle",
        "clasp-trt serve small large --slots 8 --api-key-file key.txt --host 0.0.0.0",
    ),
)
@click.argument("bundles", nargs=-1, required=True, type=click.Path())
@click.option("--host", default="127.0.0.1", show_default=True, help="Name or address to listen at.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0 is any that is free.")
@click.option("--slots", type=click.IntRange(min=1), help="Requests answered together [default: as built].")
@click.option("--max-queue", type=click.IntRange(min=0), default=64, show_default=True, help="Requests that may wait.")
@click.option("--api-key-file", type=click.Path(), help="File with the key that requests must bring.")
@click.option("--model-name", help="What requests call the model [default: the checkpoint's name].")
@click.option("--policy", type=click.Path(), help="Policy file [default: the bundle's own].")
@click.option("--router", type=click.Path(), help="Router folder [default: the bundle's own, or the rules].")
@click.option("--max-tokens", type=click.IntRange(min=1), help="Most that an answer may be asked to have.")
@click.option(
    "--max-body",
    "body_mib",
    type=click.FloatRange(0.01, 1024),
    default=20,
    show_default=True,
    metavar="MIB",
    help="Largest request that is read, in MiB.",
)
@click.option(
    "--max-image-pixels",
    type=click.IntRange(1, 178_000_000),
    default=25_000_000,
    show_default=True,
    help="Most pixels that a picture may have.",
)
@click.option("--queue-timeout", type=_SECONDS, default=60, show_default=True, help="Seconds to wait for a slot.")
@click.option(
    "--request-timeout", type=_SECONDS, default=600, show_default=True, help="Seconds until an answer is whole."
)
@click.option(
    "--drain-timeout", type=_SECONDS, default=60, show_default=True, help="Seconds for what is under way at the end."
)
@click.option(
    "--stuck-after", type=_SECONDS, default=60, show_default=True, help="Silent seconds until /health says so."
)
@click.option(
    "--stuck-exit", type=_SECONDS, default=180, show_default=True, help="Silent seconds until the process ends."
)
@click.option(
    "--allow-image-host",
    multiple=True,
    metavar="HOST[:PORT]",
    help="Fetch pictures from there; may repeat [default: none].",
)
@threads_option
@provider_option
def command(
    bundles: tuple[str, ...],
    host: str,
    port: int,
    slots: int | None,
    max_queue: int,
    api_key_file: str | None,
    model_name: str | None,
    policy: str | None,
    router: str | None,
    body_mib: float,
    allow_image_host: tuple[str, ...],
    threads: int | None,
    provider: str | None,
    **bounds: Any,
) -> int:
    """Answer chat requests over HTTP with BUNDLES, in the protocol of OpenAI.

    Several bundles of one checkpoint are served under one name, each with its budget. The exit code is 0 after SIGTERM,
    70 when a backend failed, and 75 when it gave no sign of life.
    """
    from clasp_trt.extras import require

    require("serve", ("fastapi", "prometheus_client", "uvicorn"), "serve")
    from clasp_trt.cli.signals import stop_if_asked
    from clasp_trt.runtime.engine import Engine, open_engine
    from clasp_trt.runtime.serving.house import House
    from clasp_trt.runtime.serving.server import listening, serve
    from clasp_trt.runtime.serving.settings import Settings

    def told(line: str) -> None:
        click.echo(line, err=True)

    key = None if api_key_file is None else _key(api_key_file)
    size = int(body_mib * _MIB)
    settings = Settings(key=key, max_body=size, max_image_bytes=size, image_hosts=allow_image_host, **bounds)
    engines: list[Engine] = []
    with listening(host, port) as at:
        try:
            for bundle in bundles:
                engine = open_engine(
                    bundle,
                    slots=slots,
                    queue=max_queue,
                    policy=policy,
                    router=router,
                    threads=threads,
                    provider=provider,
                )
                engines.append(engine)
                stop_if_asked()
            house = House(engines, model_name)
            if key is None and at.getsockname()[0] not in ("127.0.0.1", "::1"):
                told("warning: whoever reaches this machine may ask; give --api-key-file")
            for name, served in house.models.items():
                budgets = ", ".join(str(each.budget) for each in served)
                told(f"serving {name} at {budgets} visual tokens on http://{host}:{at.getsockname()[1]}")
            return serve(house, settings, at, told)
        finally:
            for engine in engines:
                engine.close()


def _key(path: str) -> str:
    """The key in a file. Raises :class:`clasp_trt.errors.RequestError`."""
    from clasp_trt.errors import RequestError

    try:
        key = Path(path).read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise RequestError(f"cannot read the key in {path[:200]}: {reason}") from error
    if not key or len(key.split()) != 1:
        raise RequestError(f"{path[:200]} holds no key; expected one word on one line")
    return key
