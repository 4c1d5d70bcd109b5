"""The model of Triton's Python backend, called as Triton calls it, by a stand-in of the module that Triton brings."""

from __future__ import annotations

import base64
import importlib.util
import json
import re
import sys
import threading
from collections.abc import Callable, Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

import clasp_trt
from clasp_trt.bundle import Bundle
from clasp_trt.errors import BackendError, BusyError
from tests.house import ROOT
from tests.mistakes import says

FOLDER = ROOT / "deploy" / "triton" / "models" / "clasp"
FINAL = 1
PATIENCE_S = 60


class Tensor:
    """A named array."""

    def __init__(self, name: str, value: Any) -> None:
        self._name, self._value = name, value

    def name(self) -> str:
        return self._name

    def as_numpy(self) -> Any:
        return self._value


class Sender:
    """Keeps what is sent; ``cancel`` after so many responses."""

    def __init__(self, cancel_after: int | None = None) -> None:
        self.said: list[dict[str, str]] = []
        self.errors: list[tuple[str, str]] = []
        self._after, self.done = cancel_after, threading.Event()

    def is_cancelled(self) -> bool:
        return self._after is not None and len(self.said) >= self._after

    def send(self, response: Any = None, flags: int = 0) -> None:
        assert not self.done.is_set(), "nothing follows the end"
        if response is not None and response.error is not None:
            self.errors.append(response.error)
        elif response is not None:
            self.said.append({each.name(): each.as_numpy()[0].decode() for each in response.output_tensors})
        if flags == FINAL:
            self.done.set()


class Asked:
    """A request of Triton's."""

    def __init__(self, sender: Sender, **inputs: Any) -> None:
        self._sender, self._inputs = sender, inputs

    def inputs(self) -> list[Tensor]:
        return [Tensor(name, np.asarray(value)) for name, value in self._inputs.items()]

    def get_response_sender(self) -> Sender:
        return self._sender


def backend_utils() -> ModuleType:
    module: Any = ModuleType("triton_python_backend_utils")
    module.Tensor, module.TRITONSERVER_RESPONSE_COMPLETE_FINAL = Tensor, FINAL

    def error(line: str, kind: str) -> tuple[str, str]:
        return line, kind

    error.INVALID_ARG, error.UNAVAILABLE, error.INTERNAL = "invalid", "unavailable", "internal"  # type: ignore[attr-defined]
    module.TritonError = error
    module.InferenceResponse = lambda output_tensors=(), error=None: SimpleNamespace(
        output_tensors=output_tensors, error=error
    )
    return module


@pytest.fixture(scope="module")
def model(built: Callable[..., Bundle]) -> Iterator[Any]:
    sys.modules["triton_python_backend_utils"] = backend_utils()
    spec = importlib.util.spec_from_file_location("triton_model", FOLDER / "1" / "model.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        made = module.TritonPythonModel()
        parameters = {"bundle": str(built().root), "slots": "2", "queue": "1"}
        config = {"parameters": {key: {"string_value": value} for key, value in parameters.items()}}
        made.initialize({"model_config": json.dumps(config)})
        yield made
        made.finalize()
    finally:
        del sys.modules["triton_python_backend_utils"]


def text(value: str | bytes) -> Any:
    return np.array([value if isinstance(value, bytes) else value.encode()], dtype=object)


def ask(model: Any, sender: Sender | None = None, **inputs: Any) -> Sender:
    sender = sender or Sender()
    model.execute([Asked(sender, **inputs)])
    assert sender.done.wait(PATIENCE_S)
    return sender


@pytest.fixture(scope="module")
def picture() -> bytes:
    return (ROOT / "clasp_trt" / "assets" / "questions" / "test-03.png").read_bytes()


def test_answers_as_the_pipeline_does(model: Any, built: Callable[..., Bundle], picture: bytes) -> None:
    """Of base64 as JSON brings it, and of the bytes of the file."""
    asked = {"PROMPT": text("What is it?"), "MAX_TOKENS": np.array([4], np.int32)}
    with clasp_trt.load(built().root, threads=1) as pipe:
        wanted = pipe.generate(picture, "What is it?", max_new_tokens=4)
    for image in (picture, base64.b64encode(picture)):
        sender = ask(model, **asked, IMAGE=text(image))
        assert sender.errors == []
        assert "".join(each["TEXT"] for each in sender.said) == wanted.text
        assert [each["FINISH_REASON"] for each in sender.said[:-1]] == [""] * (len(sender.said) - 1)
        assert sender.said[-1]["FINISH_REASON"] == wanted.finish_reason
        told = json.loads(sender.said[-1]["CLASP"])
        assert told["category"] == wanted.category
        assert [each["tokens"] for each in told["kept"]] == [len(each.indices) for each in wanted.kept]


def test_somebody_who_leaves_ends_the_answer(model: Any) -> None:
    sender = ask(model, Sender(cancel_after=0), PROMPT=text("What is it?"), MAX_TOKENS=np.array([20], np.int32))
    assert sender.errors == []
    assert [each["FINISH_REASON"] for each in sender.said] == ["cancelled"]


@pytest.mark.parametrize(
    ("inputs", "fact"),
    [
        ({}, "PROMPT"),
        ({"PROMPT": np.array([b"a", b"b"], dtype=object)}, "PROMPT has 2 values"),
        ({"PROMPT": np.array([b"\xff"], dtype=object)}, "UTF-8"),
        ({"PROMPT": text("x"), "IMAGE": text("not base64!")}, "IMAGE"),
        ({"PROMPT": text("x"), "IMAGE": text("/etc/passwd")}, "IMAGE"),
        ({"PROMPT": text("x"), "IMAGE": text(base64.b64encode(b"/etc/passwd"))}, "image"),
        ({"PROMPT": text("x"), "MAX_TOKENS": np.array([0], np.int32)}, "max_new_tokens"),
        ({"PROMPT": text("x"), "METHOD": text("nope")}, "'nope'"),
        ({"PROMPT": text("x"), "CATEGORY": text("nope")}, "'nope'"),
        ({"PROMPT": text("x"), "TEMPERATURE": np.array([-3], np.float32)}, "-3.0"),
    ],
    ids=str,
)
def test_mistakes_are_told_in_a_line(model: Any, inputs: dict[str, Any], fact: str) -> None:
    sender = ask(model, **inputs)
    assert sender.said == []
    ((line, kind),) = sender.errors
    assert "\n" not in line
    says(line, fact)
    assert kind == "invalid"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (BusyError("2 requests are answered"), "unavailable"),
        (BackendError("the device\nis lost"), "internal"),
        (ValueError(), "internal"),
    ],
    ids=["busy", "backend", "ours"],
)
def test_what_is_no_fault_of_the_request_has_another_code(
    model: Any, monkeypatch: pytest.MonkeyPatch, error: Exception, kind: str
) -> None:
    class Failing:
        """A request that ends so."""

        def __iter__(self) -> Iterator[object]:
            raise error

    def submit(*asked: Any, **wishes: Any) -> object:
        if isinstance(error, BusyError):
            raise error
        return Failing()

    monkeypatch.setattr(model._engine, "submit", submit)
    sender = ask(model, PROMPT=text("Tell me."))
    assert sender.errors == [(" ".join(str(error).split()) or "ValueError", kind)]


def test_the_config_names_what_the_model_reads() -> None:
    """Every input and output of the code stands in config.pbtxt, and no other."""
    config, code = (FOLDER / "config.pbtxt").read_text(), (FOLDER / "1" / "model.py").read_text()
    inputs, outputs = config.split("output [")
    assert set(re.findall(r'name: "([A-Z_]+)"', inputs)) == set(re.findall(r'found\["([A-Z_]+)"\]', code))
    assert set(re.findall(r'name: "([A-Z_]+)"', outputs)) == {"TEXT", "FINISH_REASON", "CLASP"}
    assert "decoupled: true" in config
    assert config.count("{") == config.count("}")
    assert config.count("[") == config.count("]")
