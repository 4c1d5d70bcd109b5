"""What a request of the protocol is in the runtime's own words."""

from __future__ import annotations

from importlib.util import find_spec

from clasp_trt.runtime.sampling import Sampling
from clasp_trt.runtime.serving.house import Served
from clasp_trt.runtime.serving.problem import Problem
from clasp_trt.runtime.serving.settings import Settings
from clasp_trt.runtime.serving.wire import AsObject, AsSchema, ChatRequest
from clasp_trt.runtime.wishes import Wishes

_DRAWS = {"top_p": 1, "top_k": 0, "min_p": 0}
"""Fields that matter to draws alone, each with the value that is off."""
_SEEDS = 2**64


def wishes(asked: ChatRequest, served: Served, settings: Settings) -> Wishes:
    """The keywords of a request. Raises :class:`Problem` for what the engine does not have, or may not be asked."""
    return {
        "max_new_tokens": _most(asked, settings),
        "sampling": _sampling(asked, greedy=not served.engine.bundle.generation.do_sample),
        "stop": (asked.stop,) if isinstance(asked.stop, str) else asked.stop,
        "category": _category(asked, served),
        "ignore_stop": asked.ignore_eos,
        "logprobs": bool(asked.logprobs),
        "top_logprobs": asked.top_logprobs or 0,
        **_form(asked),
    }


def _most(asked: ChatRequest, settings: Settings) -> int | None:
    """How long the answer may be; ``max_tokens`` is the older name."""
    for name in ("max_completion_tokens", "max_tokens"):
        most: int | None = getattr(asked, name)
        if most is not None:
            if settings.max_tokens is not None and most > settings.max_tokens:
                raise Problem(
                    400, f"{name} is {most}, but an answer may have {settings.max_tokens} tokens here", param=name
                )
            return most
    return settings.max_tokens


def _sampling(asked: ChatRequest, *, greedy: bool) -> Sampling:
    """Who says among which tokens to draw, and not how freely, draws at temperature 1, as from others."""
    draws = {name: getattr(asked, name) for name in _DRAWS}
    temperature = asked.temperature
    if temperature is None and greedy:
        draws = {name: value for name, value in draws.items() if value not in (None, _DRAWS[name])}
        temperature = 1.0 if draws else None
    return Sampling(
        temperature=temperature,
        repetition_penalty=asked.repetition_penalty,
        min_new_tokens=asked.min_tokens,
        presence_penalty=asked.presence_penalty,
        frequency_penalty=asked.frequency_penalty,
        seed=None if asked.seed is None else asked.seed % _SEEDS,
        **draws,
    )


def _category(asked: ChatRequest, served: Served) -> str | None:
    category = asked.clasp.category
    known = [each.name for each in served.engine.manner.policy.categories]
    if category is not None and category not in known:
        raise Problem(
            400,
            f"there is no category {category[:80]!r}; known: {', '.join(known)}",
            param="clasp.category",
        )
    return category


def _form(asked: ChatRequest) -> Wishes:
    """What the answer may be, of the one that says so."""
    found: Wishes = {}
    if asked.clasp.choices is not None:
        found["choices"] = asked.clasp.choices
    if asked.clasp.regex is not None:
        found["regex"] = asked.clasp.regex
    if isinstance(asked.response_format, AsObject):
        found["json_schema"] = {"type": "object"}
    elif isinstance(asked.response_format, AsSchema):
        found["json_schema"] = asked.response_format.json_schema.form
    for keyword in ("regex", "json_schema"):
        if keyword in found and find_spec("llguidance") is None:
            param = FORMS[keyword]
            raise Problem(400, f"{param} is for servers with the extra grammar", code="unsupported", param=param)
    return found


FORMS = {"choices": "clasp.choices", "regex": "clasp.regex", "json_schema": "response_format"}
"""The fields that say what an answer may be, by the keyword that they become."""
