"""Options that say how the tokens of an answer are chosen, and what it may be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clasp_trt.cli.options import lookup_option
from clasp_trt.speculation import MOST

if TYPE_CHECKING:
    from clasp_trt.runtime.answer import Answer
    from clasp_trt.runtime.encoded import Pictures
    from clasp_trt.runtime.media.clip import Clip
    from clasp_trt.runtime.pipeline import Pipeline
    from clasp_trt.runtime.sampling import Sampling
    from clasp_trt.runtime.wishes import Wishes

_BUNDLE = "[default: as the bundle says]"
_OPTIONS = (
    click.option(
        "--max-new-tokens",
        type=click.IntRange(min=1),
        help="Where the answer stops at the latest [default: as the bundle says, else 256].",
    ),
    click.option("--temperature", type=float, help=f"Draws tokens, the more freely the higher; 0 is greedy {_BUNDLE}."),
    click.option("--top-p", type=float, help=f"Draw among the likeliest tokens of this probability {_BUNDLE}."),
    click.option("--top-k", type=int, help=f"Draw among so many likeliest tokens; 0 is off {_BUNDLE}."),
    click.option(
        "--min-p", type=float, help=f"Draw among tokens of this share of the likeliest one's probability {_BUNDLE}."
    ),
    click.option("--seed", type=int, help="Seed of the draws [default: a fresh one]."),
    click.option(
        "--repetition-penalty", type=float, help=f"Above 1 makes tokens that were there less likely {_BUNDLE}."
    ),
    click.option(
        "--no-repeat-ngram-size", type=int, help=f"No sequence of so many tokens occurs twice; 0 is off {_BUNDLE}."
    ),
    click.option(
        "--stop", multiple=True, help=f"End the answer before this text; may be given several times {_BUNDLE}."
    ),
    click.option("--choices", help="Answer with one of these texts, separated by commas."),
    click.option("--regex", help="Answer with a text that this regular expression describes as a whole."),
    click.option("--json-schema", type=click.Path(), help="Answer with JSON of the schema in this file."),
    lookup_option,
    click.option(
        "--draft", type=click.Path(), help="Verify tokens that this smaller bundle of the same tokenizer says."
    ),
    click.option(
        "--draft-tokens",
        type=click.IntRange(1, MOST),
        default=4,
        show_default=True,
        metavar="N",
        help="With --draft: up to N tokens a step.",
    ),
)
_SAMPLING = ("temperature", "top_p", "top_k", "min_p", "seed", "repetition_penalty", "no_repeat_ngram_size")


@dataclass(frozen=True)
class Answering:
    """What was given, checked as far as that goes without a bundle."""

    sampling: Sampling
    max_new_tokens: int | None
    stop: tuple[str, ...] | None
    choices: list[str] | None
    regex: str | None
    json_schema: dict[str, Any] | None
    lookup: int
    draft: str | None
    draft_tokens: int

    @property
    def proposed(self) -> int:
        """How many tokens a step may have to verify."""
        return self.draft_tokens if self.draft is not None else self.lookup

    @property
    def wishes(self) -> Wishes:
        """The same as keywords of a request."""
        return {
            "max_new_tokens": self.max_new_tokens,
            "sampling": self.sampling,
            "stop": self.stop,
            "choices": self.choices,
            "regex": self.regex,
            "json_schema": self.json_schema,
            "lookup": self.lookup,
            "draft": None if self.draft is None else self.draft_tokens,
        }

    def ask(
        self, pipeline: Pipeline, image: Pictures, prompt: str, category: str | None, video: Clip | None = None
    ) -> Answer:
        """The answer of ``pipeline``, in which nothing is computed yet."""
        wishes = self.wishes
        wishes["category"] = category
        return pipeline.stream(image, prompt, video=video, **wishes)


def answering_options(command: Callable[..., None]) -> Callable[..., None]:
    """Adds the options; ``command`` gets their values for :func:`answering`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def answering(
    *,
    max_new_tokens: int | None,
    stop: tuple[str, ...],
    choices: str | None,
    regex: str | None,
    json_schema: str | None,
    lookup: int,
    draft: str | None,
    draft_tokens: int,
    **sampling: Any,
) -> Answering:
    """Raises :class:`clasp_trt.errors.PromptError` for a value that is out of range, or a schema that is no JSON."""
    from clasp_trt.errors import PromptError
    from clasp_trt.runtime.sampling import Sampling
    from clasp_trt.storage.foreign import read_object

    if lookup and draft is not None:
        raise click.UsageError("--lookup and --draft both propose tokens; leave out one of the two")
    schema = None
    if json_schema is not None:
        schema = read_object(Path(json_schema), PromptError, "give a file with a JSON schema")
    texts = None if choices is None else [each.strip() for each in choices.split(",")]
    return Answering(
        Sampling(**sampling), max_new_tokens, stop or None, texts, regex, schema, lookup, draft, draft_tokens
    )
