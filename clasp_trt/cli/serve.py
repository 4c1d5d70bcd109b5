"""``clasp-trt serve``: an OpenAI-compatible server."""

from __future__ import annotations

import click

from clasp_trt.cli.examples import examples
from clasp_trt.cli.options import provider_option, threads_option


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
    threads: int | None,
    provider: str | None,
) -> None:
    """Answer chat requests over HTTP with BUNDLES, in the protocol of OpenAI."""
    from clasp_trt.extras import require

    require("serve", ("fastapi", "uvicorn", "prometheus_client"), "serve")
    from clasp_trt.runtime.engine import open_engine
    from clasp_trt.runtime.serving.house import House
    from clasp_trt.runtime.serving.server import listening, serve
    from clasp_trt.runtime.serving.settings import Settings

    settings = Settings()
    with listening(host, port) as at:
        engines = [
            open_engine(bundle, slots=slots, queue=max_queue, threads=threads, provider=provider) for bundle in bundles
        ]
        house = House(engines, model_name)
        where = at.getsockname()
        click.echo(f"serving {', '.join(house.models)} on http://{host}:{where[1]}", err=True)
        serve(house, settings, at)
