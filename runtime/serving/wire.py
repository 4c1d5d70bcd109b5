"""What a client may send to ``/v1/chat/completions``: OpenAI's fields, those of common load testers, and our own.

Every field is named here. One that is not is refused, and so is one that asks for what is not done, by its name.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails, from_json

from clasp_trt.runtime.serving.problem import Problem


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, frozen=True)


_NoList = Annotated[list[Any], Field(max_length=0)]
_NoDict = Annotated[dict[str, Any], Field(max_length=0)]
Nothing = _NoList | _NoDict | None
"""What may be there as long as it asks for nothing."""


class Link(_Record):
    """Where a picture is."""

    url: str
    detail: Literal["auto", "low", "high"] | None = None


class TextPart(_Record):
    """Some text."""

    type: Literal["text"]
    text: str


class ImagePart(_Record):
    """A picture."""

    type: Literal["image_url"]
    image_url: Link


class VideoPart(_Record):
    """A clip."""

    type: Literal["video_url"]
    video_url: Link


Part = Annotated[TextPart | ImagePart | VideoPart, Field(discriminator="type")]


class System(_Record):
    """What holds for the whole conversation."""

    role: Literal["system", "developer"]
    content: str | list[TextPart]
    name: str | None = None


class User(_Record):
    """What somebody asks."""

    role: Literal["user"]
    content: str | Annotated[list[Part], Field(min_length=1)]
    name: str | None = None


class Assistant(_Record):
    """An earlier answer, as clients send back what they got."""

    role: Literal["assistant"]
    content: str | list[TextPart]
    name: str | None = None
    refusal: None = None
    audio: None = None
    annotations: Nothing = None
    function_call: None = None
    tool_calls: Nothing = None


Message = Annotated[System | User | Assistant, Field(discriminator="role")]


class JsonSchema(_Record):
    """A schema with a name, which is not used."""

    model_config = ConfigDict(protected_namespaces=())
    name: str
    description: str | None = None
    form: dict[str, Any] = Field(alias="schema")
    strict: bool | None = None


class AsText(_Record):
    """Any answer."""

    type: Literal["text"]


class AsObject(_Record):
    """A JSON object."""

    type: Literal["json_object"]


class AsSchema(_Record):
    """JSON of a schema."""

    type: Literal["json_schema"]
    json_schema: JsonSchema


Form = Annotated[AsText | AsObject | AsSchema, Field(discriminator="type")]


class StreamOptions(_Record):
    """What a stream says besides."""

    include_usage: bool | None = None
    include_obfuscation: Literal[False] | None = None


class Extras(_Record):
    """What other servers do not have: how tokens are pruned, what the answer may be, and what is told of it."""

    category: str | None = None
    method: str | None = None
    budget: int | None = None
    choices: Annotated[list[str], Field(min_length=1)] | None = None
    regex: str | None = None
    indices: bool = False
    picture: bool = False


Count = Annotated[int, Field(ge=1, le=2**31 - 1)]


class ChatRequest(_Record):
    """The body of a request. What is None is as the bundle says."""

    model: str
    messages: Annotated[list[Message], Field(min_length=1)]
    max_tokens: Count | None = None
    max_completion_tokens: Count | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    repetition_penalty: Annotated[float, Field(gt=0, le=100)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    min_tokens: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None
    seed: int | None = None
    stop: str | Annotated[list[str], Field(max_length=16)] | None = None
    n: Literal[1] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    response_format: Form | None = None
    ignore_eos: bool = False
    clasp: Extras = Extras()
    # asked of others, and without effect here
    user: str | None = None
    metadata: dict[str, str] | None = None
    store: Literal[False] | None = None
    service_tier: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    parallel_tool_calls: bool | None = None
    # taken as long as they ask for nothing
    tools: Nothing = None
    functions: Nothing = None
    tool_choice: Literal["none", "auto"] | None = None
    logit_bias: Nothing = None
    modalities: list[Literal["text"]] | None = None


def read(body: bytes) -> ChatRequest:
    """The request in ``body``. Raises :class:`Problem` that names the first field that is wrong."""
    try:
        given = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise Problem(400, f"the body is no JSON: {error}") from None
    if not isinstance(given, dict):
        raise Problem(400, "the body is JSON, but no object")
    try:
        asked = ChatRequest.model_validate(given)
    except ValidationError as error:
        raise _told(error, given) from None
    for name, needs in (("stream_options", "stream"), ("top_logprobs", "logprobs")):
        if getattr(asked, name) and not getattr(asked, needs):
            raise Problem(400, f"{name}: only with {needs}", param=name)
    return asked


def _told(error: ValidationError, given: object) -> Problem:
    """The mistake that lies deepest: of several kinds that a value may be, the one that it was meant to be."""
    found = [(_path(each, given), each) for each in error.errors(include_url=False, include_input=False)]
    path, worst = max(found, key=lambda pair: len(pair[0]))
    param = _spelled(path)
    said = "is not a field that is known here" if worst["type"] == "extra_forbidden" else _plain(worst["msg"])
    return Problem(400, f"{param}: {said}" if param else said, param=param or None)


def _path(error: ErrorDetails, given: object) -> list[str | int]:
    """Where in ``given`` a mistake is. What pydantic names besides are the kinds of value that it tried."""
    path: list[str | int] = []
    inside: Any = given
    for step in error["loc"]:
        if step in inside if isinstance(inside, dict) else isinstance(inside, list) and isinstance(step, int):
            inside = inside[step]
            path.append(step)
    if error["type"] == "missing":
        path.append(error["loc"][-1])
    elif error["type"].startswith("union_tag"):
        path.append(error["ctx"]["discriminator"].strip("'"))
    return path


def _spelled(path: Sequence[str | int]) -> str:
    """The path as it would be written."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step[:80]}" for step in path)
    return text.removeprefix(".")


def _plain(message: str) -> str:
    return message[:1].lower() + message[1:]
