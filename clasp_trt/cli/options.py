"""Options that several commands share."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from clasp_trt.chain.selections import READS
from clasp_trt.errors import PromptError
from clasp_trt.schedule import PRUNE_AT
from clasp_trt.speculation import MOST
from clasp_trt.targets import PRECISIONS, PROVIDERS

if TYPE_CHECKING:
    from PIL.Image import Image

_Command = TypeVar("_Command", bound=Callable[..., Any])


class IntegerList(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.3 on
    """Comma-separated integers, such as ``300,200,110``."""

    name = "N,N,..."

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        try:
            return tuple(int(part) for part in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} is not a list of integers such as 300,200,110", param, ctx)


def _not_empty(ctx: click.Context, param: click.Parameter, value: str) -> str:
    if not value.strip():
        raise PromptError("the prompt is empty; ask something")
    return value


def image_options(absent: str | None = None, *, required: bool = False) -> Callable[[_Command], _Command]:
    """``--image``, any number of times, and ``--max-pixels``; ``absent`` says what there is without a picture."""
    default = "" if absent is None else f" [default: {absent}]"
    image = click.option(
        "--image",
        required=required,
        multiple=True,
        help=f"File, - for standard input, http(s) or data URL, or base64; may repeat{default}.",
    )
    most = click.option(
        "--max-pixels", type=int, metavar="N", help="Largest picture read, width times height [default: 50000000]."
    )
    return lambda command: image(most(command))


def pictures(given: Sequence[str], max_pixels: int | None) -> list[Image]:
    """The pictures that ``--image`` names. Raises :class:`clasp_trt.errors.ImageError`."""
    from clasp_trt.runtime.media.image import load_image

    return [load_image(each, max_pixels=max_pixels) for each in given]


def clip_options(command: _Command) -> _Command:
    """``--video``, and how its frames are taken."""
    video = click.option("--video", help="Clip, for a bundle that takes some: file, folder of frames, URL, or base64.")
    frames = click.option(
        "--frames", type=click.IntRange(min=1), metavar="K", help="Frames to take of it [default: as the bundle says]."
    )
    fps = click.option(
        "--fps",
        type=click.FloatRange(min=0, min_open=True),
        default=1.0,
        show_default=True,
        help="Frames a second of a folder, which does not say.",
    )
    return video(frames(fps(command)))


prompt_option = click.option("--prompt", required=True, callback=_not_empty, help="The question or instruction.")

slots_option = click.option(
    "--slots", type=int, help="Requests that are answered together, with caches of their own [default: 1]."
)
build_memory_option = click.option(
    "--max-build-memory",
    type=float,
    metavar="GB",
    help="Engines: what building may take; cuts the decoder finer [default: what is available].",
)
threads_option = click.option(
    "--threads", type=click.IntRange(min=1), help="Compute threads on the CPU [default: the usable cores]."
)
provider_option = click.option(
    "--provider",
    type=click.Choice(PROVIDERS),
    help="Run the graphs by ONNX Runtime there [default: the bundle's engines, or else cpu].",
)

revision_option = click.option(
    "--revision", metavar="NAME", help="Of a hub id: the branch, tag or commit [default: the main branch]."
)

_OUTPUT = (
    click.option("-o", "--output", required=True, type=click.Path(), help="Folder to write the bundle to."),
    click.option("--force", is_flag=True, help="Replace an existing bundle."),
)
_SHAPE = (
    click.option(
        "--budget",
        metavar="N|N/M|P%|paper:N",
        help="Mean of visual tokens over decoder layers, as a count or a share of them, or the paper's stages "
        "(paper:192, 128, 64; LLaVA-NeXT: paper:320) [default: 1/3].",
    ),
    click.option("--schedule", type=IntegerList(), help="Tokens kept by each stage, instead of --budget."),
    click.option("--prune-layers", type=IntegerList(), help="Decoder layers (0-based) after which the stages stand."),
    click.option(
        "--prune-at",
        type=click.Choice(PRUNE_AT),
        default=None,  # here and below the compiler knows them: what was not given must not look as if it were
        help="Where tokens are dropped: in the decoder, before it, or nowhere [default: decoder].",
    ),
    click.option(
        "--method",
        type=click.Choice(tuple(READS)),
        default=None,
        help="What chooses the tokens, compiled into the graphs [default: clasp].",
    ),
    click.option(
        "--prune-tower",
        metavar="BLOCK:N|N/M|P%",
        help="Patches of a picture that stay after a block of the vision tower (the first is 1), before any stage of "
        "--prune-at [default: all].",
    ),
    click.option(
        "--precision",
        type=click.Choice(PRECISIONS),
        default=None,
        help="Type of weights and activations [default: fp32].",
    ),
    click.option(
        "--max-context",
        type=int,
        help="Longest sequence of prompt, visual tokens and answer; text alone gets less where tokens are pruned, "
        "see `clasp-trt inspect` [default: 2048, or 1024 beside the visual tokens].",
    ),
    click.option(
        "--max-visual-tokens",
        type=int,
        metavar="N",
        help="Most visual tokens of a picture, where its size decides: larger ones are scaled down [default: 4096].",
    ),
    click.option("--max-images", type=int, metavar="K", help="Pictures that a request may have [default: 1]."),
    click.option(
        "--max-frames",
        type=int,
        metavar="K",
        help="Frames that are taken of a clip, of a model that takes clips [default: what the model says, and has room "
        "for].",
    ),
    click.option(
        "--quantize",
        metavar="SCHEME[,PART=SCHEME]",
        help="Round weights: int8, int4 (the decoder's layers to 4 bits, all else to 8), int4:64 for other blocks than "
        "128; parts are vision, projector, decoder, embedding, head [default: none].",
    ),
    click.option(
        "--sparsity",
        metavar="SHARE|N:M[,HOW]",
        help="Make a share of the decoder's weights zero, 0.5, or of every 4 inputs 2, 2:4; chosen by tamp, wanda or "
        "magnitude [default: tamp, by --calibration].",
    ),
)
"""What a plan depends on too: the shape of the graphs, and no file."""

_FILES = (
    click.option("--policy", type=click.Path(), help="Policy file [default: an uncalibrated prior]."),
    click.option(
        "--vision-layers",
        type=IntegerList(),
        help="Vision layers that calibrate may choose from, instead of --policy [default: three depths].",
    ),
    click.option(
        "--router",
        type=click.Path(),
        help="Router folder to put into the bundle [default: the shipped one, if the policy has its categories].",
    ),
    click.option(
        "--calibration",
        type=click.Path(),
        metavar="D.jsonl",
        help="Round the decoder by what these questions, image and prompt, give its layers, and choose by it what "
        "--sparsity makes zero [default: to the nearest].",
    ),
    click.option("--calibration-rows", type=int, metavar="N", help="Questions that are taken of it [default: 128]."),
)

_NAMES = (
    "budget", "schedule", "prune_layers", "prune_at", "method", "precision", "policy", "max_context", "vision_layers",
    "router",
    "max_visual_tokens",
    "max_images",
    "max_frames",
    "quantize",
    "sparsity",
    "prune_tower",
    "calibration",
    "calibration_rows",
)  # fmt: skip


def _gathered(command: Callable[..., None]) -> Callable[..., None]:
    """``command`` gets those of its options that say what a bundle shall be as one value, ``options``: an
    :class:`clasp_trt.options.Options`."""

    @functools.wraps(command)
    def gather(**given: Any) -> None:
        from clasp_trt.options import Options

        wanted = {name: given.pop(name) for name in _NAMES if name in given}
        command(options=Options.of(**wanted), **given)

    return gather


def shape_options(command: Callable[..., None]) -> Callable[..., None]:
    """Adds the options that say which graphs a bundle has, gathered."""
    return _decorated(_gathered(command), _SHAPE)


def compile_options(command: Callable[..., None]) -> Callable[..., None]:
    """Adds the options that say what a bundle shall be, gathered, and where it goes."""
    return _decorated(_gathered(command), (*_OUTPUT, *_SHAPE, *_FILES))


def _decorated(command: Callable[..., None], options: Sequence[Callable[..., Any]]) -> Callable[..., None]:
    for option in reversed(options):  # the last that is added is shown first
        command = option(command)
    return command


lookup_option = click.option(
    "--lookup",
    type=click.IntRange(0, MOST),
    default=0,
    show_default=True,
    metavar="N",
    help="Verify up to N tokens a step, copied from the text so far; 0 is off.",
)
"""The keyword ``lookup`` of :meth:`clasp_trt.runtime.pipeline.Pipeline.stream`."""
