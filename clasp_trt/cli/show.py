"""``clasp-trt show``: a picture of the visual tokens that a prompt keeps."""

from __future__ import annotations

import click

from clasp_trt.cli.examples import examples
from clasp_trt.cli.kept import kept_json, kept_line
from clasp_trt.cli.options import (
    clip_options,
    image_options,
    pictures,
    prompt_option,
    provider_option,
    threads_option,
)
from clasp_trt.cli.output import json_option, print_json
from clasp_trt.cli.signals import stop_if_asked


@click.command(
    "show",
    epilog=examples('clasp-trt show bundle --image photo.jpg --prompt "How many?" -o kept.png'),
)
@click.argument("bundle", type=click.Path())
@image_options()
@clip_options
@prompt_option
@click.option("-o", "--output", required=True, type=click.Path(), help="Picture to write: .png, .jpg or .webp.")
@click.option("--category", help="Take this category instead of the router's.")
@click.option("--policy", type=click.Path(), help="Policy file [default: the bundle's own].")
@click.option("--router", type=click.Path(), help="Router folder [default: the bundle's own, or the rules].")
@click.option("--method", help="Choose tokens by another pruning method [default: the one the bundle was built for].")
@threads_option
@provider_option
@json_option
def command(
    bundle: str,
    image: tuple[str, ...],
    max_pixels: int | None,
    video: str | None,
    frames: int | None,
    fps: float,
    prompt: str,
    output: str,
    category: str | None,
    policy: str | None,
    router: str | None,
    method: str | None,
    threads: int | None,
    provider: str | None,
    as_json: bool,
) -> None:
    """Draw which visual tokens each stage of BUNDLE keeps of images, or of a clip, for a prompt.

    Pivots are blue, the tokens that complete them red, dropped ones faded. No answer is generated.
    """
    from clasp_trt import methods
    from clasp_trt.bundle import Bundle
    from clasp_trt.errors import BundleError, MethodError, PromptError
    from clasp_trt.runtime.fitting import check_clips, check_images
    from clasp_trt.runtime.overlay import check_destination, save_overlay
    from clasp_trt.runtime.pipeline import load
    from clasp_trt.storage.apart import keep_apart

    # all that can be refused at once comes before the weights are read
    check_destination(output)
    keep_apart(output, *image, video, bundle, policy, router)
    if not image and video is None:
        raise PromptError("there is nothing to draw on; give a picture with --image, or a clip with --video")
    asked = None if method is None else methods.get(method)
    if asked is not None and not asked.prunes:
        raise MethodError(f"method {method} keeps every visual token, so there is nothing to show; choose another")
    opened = Bundle.open(bundle)
    chosen = opened.manifest.method if asked is None else asked.name
    schedule = opened.manifest.schedule
    if not schedule.prunes:
        raise BundleError(
            f"{opened.root} keeps every visual token, so there is nothing to show; "
            "give a bundle that was built with --budget or --schedule"
        )
    check_images(len(image), opened)
    check_clips(0 if video is None else 1, opened)
    seen = pictures(image, max_pixels)
    with load(
        bundle, policy=policy, router=router, method=chosen, threads=threads, provider=provider, image_cache_bytes=0
    ) as pipeline:
        stop_if_asked()
        clip = None if video is None else pipeline.load_clip(video, frames=frames, fps=fps)
        result = pipeline.generate(seen, prompt, video=clip, max_new_tokens=1, category=category)
        save_overlay(output, seen, result, pipeline, clip)
    if as_json:
        print_json(
            {
                "picture": output,
                "method": chosen,
                "category": result.category,
                "confidence": result.route.confidence,
                "visual_tokens": result.visual_tokens,
                "mean_visual_tokens": schedule.mean_of(result.visual_tokens),
                "kept": kept_json(result),
            }
        )
    else:
        click.echo(f"{kept_line(result)} | {output}")
