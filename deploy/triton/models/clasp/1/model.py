"""A bundle as a decoupled model of Triton's Python backend: a response for each piece of an answer.

Tried on a CPU with tritonserver 2.51 alone; never run on a GPU. What is wrong with a request comes back as one line.
"""

from __future__ import annotations

import base64
import binascii
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

import clasp_trt
from clasp_trt.errors import BackendError, BusyError, ClaspError, ImageError, RequestError
from clasp_trt.runtime.sampling import Sampling

Wishes = dict[str, Any]


class TritonPythonModel:
    """What Triton calls, in one thread of one process."""

    def initialize(self, args: dict[str, str]) -> None:
        """Opens the bundle. A failure here keeps the model from becoming ready, with our line as the reason."""
        given = {key: value["string_value"] for key, value in json.loads(args["model_config"])["parameters"].items()}
        self._engine = clasp_trt.open_engine(
            given["bundle"], slots=int(given["slots"]) if given.get("slots") else None, queue=int(given["queue"])
        )
        self._tellers = ThreadPoolExecutor(self._engine.slots + self._engine.queue, "clasp-trt teller")

    def execute(self, requests: list[Any]) -> None:
        """Takes requests and returns at once: who tells of each is another thread."""
        for request in requests:
            sender = request.get_response_sender()
            try:
                prompt, images, method, wishes = _read(request)
                wishes["cancelled"] = sender.is_cancelled
                taken = self._engine.submit(images, prompt, method=method, **wishes)
            except ClaspError as error:
                _refuse(sender, error)
            else:
                self._tellers.submit(_tell, sender, taken)

    def finalize(self) -> None:
        """Answers what was taken, then gives the memory back."""
        self._engine.close(finish=True)
        self._tellers.shutdown()


def _read(request: Any) -> tuple[str, list[bytes] | None, str | None, Wishes]:
    """Prompt, pictures, method and the other wishes. Raises :class:`ClaspError`."""
    found = {each.name(): each.as_numpy() for each in request.inputs()}
    if "PROMPT" not in found:
        raise RequestError("there is no PROMPT; send the question as text")
    prompt = _text("PROMPT", found["PROMPT"])
    images = [_picture(each) for each in np.ravel(found["IMAGE"])] if "IMAGE" in found else None
    wishes: Wishes = {}
    if "MAX_TOKENS" in found:
        wishes["max_new_tokens"] = int(_one("MAX_TOKENS", found["MAX_TOKENS"]))
    if "CATEGORY" in found:
        wishes["category"] = _text("CATEGORY", found["CATEGORY"])
    draws: dict[str, Any] = {}
    if "TEMPERATURE" in found:
        draws["temperature"] = float(_one("TEMPERATURE", found["TEMPERATURE"]))
    if "SEED" in found:
        draws["seed"] = int(_one("SEED", found["SEED"]))
    if draws:
        wishes["sampling"] = Sampling(**draws)
    return prompt, images, _text("METHOD", found["METHOD"]) if "METHOD" in found else None, wishes


def _one(name: str, values: Any) -> Any:
    if values.size != 1:
        raise RequestError(f"{name} has {values.size} values; expected one")
    return values.reshape(-1)[0]


def _text(name: str, values: Any) -> str:
    value = _one(name, values)
    try:
        return value.decode() if isinstance(value, bytes) else str(value)
    except UnicodeDecodeError:
        raise RequestError(f"{name} is not text in UTF-8") from None


def _picture(value: bytes | str) -> bytes:
    """The bytes of a file. JSON has text alone, so base64 is read; no encoded picture is ASCII from end to end."""
    data = value.encode() if isinstance(value, str) else value
    if not data.isascii():
        return data
    try:
        return base64.b64decode(b"".join(data.split()), validate=True)
    except (binascii.Error, ValueError):
        raise ImageError("IMAGE is neither base64 nor an encoded picture; send the file in base64") from None


def _tell(sender: Any, taken: Any) -> None:
    """Sends what becomes of a request, and its end in any case."""
    try:
        for event in taken:
            if event.finish_reason is None and event.text:
                sender.send(_response(event.text))
            elif event.finish_reason is not None:
                sender.send(_response(event.text, event.finish_reason, _came_about(taken.result)))
    except Exception as error:
        _refuse(sender, error)
    else:
        sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)


def _response(text: str, reason: str = "", came_about: str = "") -> Any:
    values = {"TEXT": text, "FINISH_REASON": reason, "CLASP": came_about}
    tensors = [pb_utils.Tensor(name, np.array([value.encode()], dtype=object)) for name, value in values.items()]
    return pb_utils.InferenceResponse(output_tensors=tensors)


def _came_about(result: Any) -> str:
    kept = [
        {"after_layer": each.after_layer, "tokens": len(each.indices), "pivots": int(each.is_pivot.sum())}
        for each in result.kept
    ]
    return json.dumps(
        {
            "category": result.category,
            "visual_tokens": result.visual_tokens,
            "kept": kept,
            "prompt_tokens": result.prompt_tokens,
            "completion_tokens": len(result.token_ids),
            "timings_ms": {name: round(value, 3) for name, value in result.timings_ms.items()},
        }
    )


def _refuse(sender: Any, error: Exception) -> None:
    """One line: a request's own fault, or a full queue, by their codes, else one of the server."""
    kind = pb_utils.TritonError.INVALID_ARG
    if isinstance(error, BusyError):
        kind = pb_utils.TritonError.UNAVAILABLE
    elif isinstance(error, BackendError) or not isinstance(error, ClaspError):
        kind = pb_utils.TritonError.INTERNAL
    line = " ".join(str(error).split()) or type(error).__name__
    response = pb_utils.InferenceResponse(error=pb_utils.TritonError(line, kind))
    sender.send(response, flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
