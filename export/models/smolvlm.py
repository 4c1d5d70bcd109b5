"""SmolVLM (SmolVLM2): Idefics3 by another name, which takes clips too."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from clasp_trt.bundle import Clips, Frames, Stills, Tiles
from clasp_trt.export import stills
from clasp_trt.export.config import Settings
from clasp_trt.export.description import MergingDescription
from clasp_trt.export.merging import Merging
from clasp_trt.export.models import idefics3
from clasp_trt.export.numerals import spelled
from clasp_trt.export.stills import Film

if TYPE_CHECKING:
    from clasp_trt.export.checkpoint import Checkpoint

OPENING = "You are provided the following series of {count} frames from a {duration} [H:MM:SS] video.\n"
BEFORE, CLOSING = "\nFrame from {clock}:", "\n\n"
CLIP_TEMPLATE = (
    "<|im_start|>{% for message in messages %}{{message['role'] | capitalize}}"
    "{% if message['content'][0]['type'] == 'image' %}{{':'}}{% else %}{{': '}}{% endif %}"
    "{% for line in message['content'] %}{% if line['type'] == 'text' %}{{line['text']}}"
    "{% elif line['type'] == 'image' %}{{ '<image>' }}{% elif line['type'] == 'video' %}{{ '<video>' }}{% endif %}"
    "{% endfor %}<end_of_utterance>\n{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)
"""In which the library writes every conversation that shows a clip, whatever the checkpoint's own template."""
_IF_ONE_MOVES = (
    "{% set shown = namespace(clip=false) %}{% for message in messages %}{% for part in message['content'] %}"
    "{% if part['type'] == 'video' %}{% set shown.clip = true %}{% endif %}{% endfor %}{% endfor %}{% if shown.clip %}"
)


def describe(config: Settings, name: str) -> MergingDescription:
    """The model that ``config`` describes. Raises :class:`CheckpointError` for variants that we do not compile."""
    return replace(idefics3.described(config, name, "smolvlm"), clips=True)


def family(checkpoint: Checkpoint, description: MergingDescription) -> Merging:
    """The family of a checkpoint that :func:`describe` has described, with the longest edge of its image settings."""
    return _SmolVLM(
        checkpoint, idefics3.split(checkpoint, description), idefics3.LAYOUTS, idefics3.reference, idefics3.layout,
        _clips,
    )  # fmt: skip


class _SmolVLM(Merging):
    """Its prompts are those of the checkpoint's template where nothing moves."""

    def _read_template(self) -> str:
        own = super()._read_template()
        return own if own == CLIP_TEMPLATE else with_clips(own)


def with_clips(template: str) -> str:
    """A template that writes conversations with a clip as :data:`CLIP_TEMPLATE`, and others as ``template``."""
    own = template.removesuffix("\n")  # as Jinja has it, but for the end of a block
    return f"{_IF_ONE_MOVES}{CLIP_TEMPLATE}{{% else %}}{{{{ '' }}}}{own}{{% endif %}}"


def _clips(film: Film) -> Clips:
    """Frames that are introduced by how many there are and how long all last, each by its time."""
    layout, sampling = film.layout, stills.by_second(film)
    assert isinstance(layout, Tiles)
    shown = Frames(
        placeholder=film.tokenizer.special.get("video_token", "<video>"),
        token=layout.token,
        id=layout.id,
        opening=OPENING,
        before=BEFORE + layout.alone,
        after=layout.after,
        between="",
        closing=CLOSING,
        numerals=tuple(spelled(count) for count in range(1, sampling.frames + 1)),
    )
    return Clips(sampling, Stills(stills.longest(film)), shown)
