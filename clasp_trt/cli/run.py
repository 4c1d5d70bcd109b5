"""``clasp-trt run``: answers a prompt about an image."""

from __future__ import annotations

from typing import Any

import click

from clasp_trt.cli.answering import answering, answering_options
from clasp_trt.cli.answers import answer_json, facts, print_answer
from clasp_trt.cli.examples import examples
from clasp_trt.cli.options import clip_options, image_options, pictures, prompt_option, provider_option, threads_option
from clasp_trt.cli.output import json_option, print_json
from clasp_trt.cli.signals import stop_if_asked


@click.command(
    "run",
    epilog=examples(
        'clasp-trt run bundle --image photo.jpg --prompt "How many people?"',
        'clasp-trt run bundle --image before.jpg --image after.jpg --prompt "What has changed?"',
        'clasp-trt run bundle --video clip.gif --prompt "What happens first?"',
        'clasp-trt run bundle --prompt "Say hello." --json',
    ),
)
@click.argument("bundle", type=click.Path())
@image_options("the prompt is text alone")
@clip_options
@prompt_option
@answering_options
@click.option("--category", help="Take this category instead of the router's.")
@click.option("--policy", type=click.Path(), help="Policy file [default: the bundle's own].")
@click.option("--router", type=click.Path(), help="Router folder [default: the bundle's own, or the rules].")
@threads_option
@provider_option
@click.option("--show", type=click.Path(), help="Also write a picture of the kept tokens to this file.")
@json_option
def command(
    bundle: str,
    image: tuple[str, ...],
    max_pixels: int | None,
    video: str | None,
    frames: int | None,
    fps: float,
    prompt: str,
    category: str | None,
    policy: str | None,
    router: str | None,
    threads: int | None,
    provider: str | None,
    show: str | None,
    as_json: bool,
    **chosen: Any,
) -> None:
    """Answer a prompt about images with BUNDLE; the answer streams, one line of facts follows."""
    from clasp_trt.bundle import Bundle
    from clasp_trt.errors import PromptError
    from clasp_trt.runtime.fitting import check_clips, check_images, check_proposed
    from clasp_trt.runtime.overlay import check_destination, save_overlay
    from clasp_trt.runtime.pipeline import load
    from clasp_trt.storage.apart import keep_apart

    # all that can be refused at once comes before the weights are read
    wanted = answering(**chosen)
    if show is not None and not image and video is None:
        raise PromptError("--show draws on the image; give one with --image")
    if show is not None:
        check_destination(show)
        keep_apart(show, *image, video, bundle, wanted.draft, policy, router)
    opened = Bundle.open(bundle)
    check_images(len(image), opened)
    check_clips(0 if video is None else 1, opened)
    check_proposed(wanted.proposed, opened)
    seen = pictures(image, max_pixels)
    with load(
        bundle,
        policy=policy,
        router=router,
        threads=threads,
        provider=provider,
        image_cache_bytes=0,
        draft=wanted.draft,
    ) as pipeline:
        stop_if_asked()
        clip = None if video is None else pipeline.load_clip(video, frames=frames, fps=fps)
        answer = wanted.ask(pipeline, seen, prompt, category, clip)
        result = answer.result if as_json else print_answer(answer)
        if as_json:
            print_json(answer_json(result))
        else:
            click.echo(facts(result), err=True)
        if show is not None:
            save_overlay(show, seen, result, pipeline, clip)
