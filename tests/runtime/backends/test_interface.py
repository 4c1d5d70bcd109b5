"""What a backend owes and what the base gives: a third one of one method answers as those that ship."""

from __future__ import annotations

import gc
import itertools
import math
import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from clasp_trt import targets
from clasp_trt.bundle import Bundle, Graph, TensorSpec
from clasp_trt.errors import BackendError
from clasp_trt.methods import METHODS
from clasp_trt.runtime.backends import find
from clasp_trt.runtime.backends.interface import Backend, Runner
from clasp_trt.runtime.backends.memory import HostMemory, Memory
from clasp_trt.runtime.backends.ort import OrtBackend, OrtMemory
from clasp_trt.runtime.caches import Caches
from clasp_trt.runtime.engine import Engine
from clasp_trt.runtime.pipeline import Pipeline, load
from tests.mistakes import says
from tests.runtime.backends import plain

QUESTION = "How many cups are there?"
PRUNINGS = [{}, *(pytest.param({"prune_at": place}, marks=pytest.mark.full) for place in ("encoder", "none"))]
Array = NDArray[Any]
Built = Callable[..., Bundle]


@dataclass(eq=False)
class Box:
    """A tensor that nobody but its memory can look into."""

    _content: Array


class Boxes(Memory[Box]):
    """The least that a memory of one's own needs, and its dtypes and shapes, which boxes do not tell themselves."""

    def upload(self, array: Array) -> Box:
        return Box(np.array(array))

    def write(self, tensor: Box, array: Array) -> None:
        tensor._content[...] = array

    def download(self, tensor: Box) -> Array:
        return np.array(tensor._content)

    def spec(self, tensor: Box) -> tuple[str, tuple[int, ...]]:
        return str(tensor._content.dtype), tensor._content.shape


class Boxed(Backend[Box]):
    """The third backend, with its arrays in boxes."""

    def __init__(self) -> None:
        super().__init__(Boxes())
        self._plain = plain.PlainBackend(HostMemory())
        self.released = 0

    def load_graph(self, path: Path, graph: Graph) -> Runner[Box]:
        runner = self._plain.load_graph(path, graph)

        def run(inputs: Mapping[str, Box], into: Mapping[str, Box]) -> dict[str, Box]:
            found = runner({name: box._content for name, box in inputs.items()}, {})
            return {name: Box(array) for name, array in found.items()}

        return run

    def release(self) -> None:
        self.released += 1


def test_the_least_that_an_author_owes() -> None:
    assert Backend.__abstractmethods__ == {"load_graph"}
    assert Memory.__abstractmethods__ == {"upload", "write", "download"}


def test_every_backend_of_a_bundle_is_in_the_table() -> None:
    assert set(find.MODULES) == set(targets.BACKENDS)


# --- a third backend ----------------------------------------------------------------------------------------


@pytest.fixture(params=["plain", "boxed"])
def third(request: pytest.FixtureRequest) -> Iterator[Callable[[Bundle], Pipeline]]:
    """Loads a bundle on a third backend."""
    made: list[Pipeline] = []

    def make(bundle: Bundle) -> Pipeline:
        backend: Backend[Any] = plain.open_backend(bundle) if request.param == "plain" else Boxed()
        made.append(Pipeline(bundle, backend))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.mark.parametrize("pruning", PRUNINGS, ids=["decoder", "encoder", "none"])
def test_the_same_tokens(
    built: Built, third: Callable[[Bundle], Pipeline], photos: dict[str, Path], pruning: dict[str, str]
) -> None:
    bundle = built(**pruning)
    here, shipped = third(bundle), load(bundle.root)
    for image, prompt in ((photos["coffee"], QUESTION), (None, "Say hello."), (photos["chelsea"], "Is it a cat?")):
        found = here.generate(image, prompt, max_new_tokens=24, ignore_stop=True)
        expected = shipped.generate(image, prompt, max_new_tokens=24, ignore_stop=True)
        assert len(set(expected.token_ids)) > 4, "else a step that changed nothing would pass"
        assert found.token_ids == expected.token_ids
        for mine, theirs in zip(found.kept, expected.kept, strict=True):
            np.testing.assert_array_equal(mine.indices, theirs.indices)
            np.testing.assert_array_equal(mine.is_pivot, theirs.is_pivot)


def test_a_method_on_the_host(built: Built, third: Callable[[Bundle], Pipeline], photos: dict[str, Path]) -> None:
    here, shipped = (
        pipe.variant(method=METHODS["sparsevlm"]).generate(photos["coffee"], QUESTION, max_new_tokens=6)
        for pipe in (third(built()), load(built().root))
    )
    assert here.token_ids == shipped.token_ids


def test_one_line_makes_it_known(built: Built, photos: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(find.MODULES, "onnxruntime", plain.__name__)
    with load(built().root) as pipe:
        assert isinstance(pipe._steps.backend, plain.PlainBackend)
        assert pipe.generate(photos["coffee"], QUESTION, max_new_tokens=2).token_ids


# --- a memory -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("memory", [HostMemory(), Boxes()], ids=["host", "boxes"])
@pytest.mark.parametrize("dtype", ["float32", "float16", "int64", "bool"])
def test_what_follows_from_three_methods(memory: Memory[Any], dtype: str) -> None:
    array = np.random.default_rng(0).integers(0, 2, (1, 4, 3)).astype(dtype)
    tensor = memory.upload(array)
    assert memory.spec(tensor) == (dtype, (1, 4, 3))
    np.testing.assert_array_equal(memory.download(memory.rows(tensor, 1, 3)), array[:, 1:3])
    place = memory.zeros((1, 4, 3), dtype)
    assert memory.spec(place) == (dtype, (1, 4, 3))
    assert not memory.download(place).any()
    memory.write(place, array)
    np.testing.assert_array_equal(memory.download(place), array)
    memory.clear(place)
    assert not memory.download(place).any()
    taken = memory.download(tensor)
    taken[...] = 0
    np.testing.assert_array_equal(memory.download(tensor), array, err_msg="what was taken is the caller's own")


@pytest.mark.parametrize("memory", [HostMemory(), OrtMemory("cpu")], ids=["host", "ort"])
def test_a_part_is_in_the_memory_of_the_whole(memory: Memory[Any]) -> None:
    array = np.arange(24, dtype=np.float32).reshape(4, 2, 3)
    whole = memory.zeros((4, 2, 3), "float32")
    memory.write(whole, array)
    part = memory.part(whole, 1, 3)
    assert memory.spec(part) == ("float32", (2, 2, 3))
    np.testing.assert_array_equal(memory.download(part), array[1:3])
    memory.write(part, -array[1:3])
    memory.clear(memory.part(whole, 3, 4))
    memory.copy(memory.part(whole, 0, 1), memory.part(whole, 2, 3))
    expected = np.stack([-array[2], -array[1], -array[2], 0 * array[3]])
    np.testing.assert_array_equal(memory.download(whole), expected)


def test_what_cannot_be_divided_has_one_slot(built: Built) -> None:
    with Boxed() as one, Boxed() as several:
        assert Caches(built(), one, 1).slots == 1
        with pytest.raises(BackendError) as error:
            Caches(built(), several, 2)
        says(error, "slots", "1 slot")


def test_another_backend_answers_several_at_a_time(built: Built) -> None:
    """Also where caches are written by copying what a graph gave."""
    with Engine(built(), plain.open_backend(built()), slots=3) as engine:
        requests = [engine.submit(None, QUESTION, max_new_tokens=most, ignore_stop=True) for most in (9, 4, 7, 9)]
        found = [request.result.token_ids for request in requests]
    whole = load(built().root).generate(None, QUESTION, max_new_tokens=9, ignore_stop=True).token_ids
    assert found == [whole[:most] for most in (9, 4, 7, 9)]


def test_what_numpy_lacks_is_refused() -> None:
    with pytest.raises(BackendError, match="bfloat16"):
        HostMemory().zeros((1, 2), "bfloat16")


# --- calls --------------------------------------------------------------------------------------------------

GRAPH = Graph(
    "sum", "graphs/sum.onnx",
    inputs=(TensorSpec("a", "float32", (1, "rows")), TensorSpec("b", "float32", (1, "rows"))),
    outputs=(TensorSpec("c", "float32", (1, "rows")), TensorSpec("d", "float32", (1, "rows"))),
)  # fmt: skip


class Adding(Backend[Array]):
    """Has one graph: ``c`` is the sum, ``d`` the difference. ``gives`` is what a runner with a fault returns."""

    def __init__(self) -> None:
        super().__init__(HostMemory())
        self.gives: dict[str, Array] | None = None

    def load_graph(self, path: Path, graph: Graph) -> Runner[Array]:
        def run(inputs: Mapping[str, Array], into: Mapping[str, Array]) -> dict[str, Array]:
            a, b = inputs["a"], inputs["b"]
            return {"c": a + b, "d": a - b} if self.gives is None else self.gives

        return run


def _rows(*values: float) -> Array:
    return np.array([values], np.float32)


@pytest.fixture
def adding() -> tuple[Adding, Runner[Array]]:
    backend = Adding()
    return backend, backend.load(Path("sum.onnx"), GRAPH)


def test_outputs_land_where_they_are_sent(adding: tuple[Adding, Runner[Array]]) -> None:
    backend, run = adding
    place = backend.zeros((1, 2), "float32")
    found = run({"a": _rows(1, 2), "b": place}, {"c": place})
    assert found.keys() == {"d"}
    np.testing.assert_array_equal(place, _rows(1, 2))
    np.testing.assert_array_equal(found["d"], _rows(1, 2))
    assert run({"a": _rows(1, 2), "b": place}, {}).keys() == {"c", "d"}, "and only in that call"


@pytest.mark.parametrize(
    ("inputs", "into", "named"),
    [
        ({"a": _rows(1)}, {}, r"takes \['a', 'b'\]"),
        ({"a": _rows(1), "b": _rows(1), "x": _rows(1)}, {}, "'x'"),
        ({"a": _rows(1), "b": _rows(1)}, {"a": _rows(1)}, r"gives \['c', 'd'\]"),
        ({"a": _rows(1), "b": np.ones((1, 1))}, {}, r"b is float64\[1, 1\], expected float32\[1, rows\]"),
        ({"a": _rows(1), "b": np.ones(1, np.float32)}, {}, r"b is float32\[1\]"),
        ({"a": np.ones((2, 1), np.float32), "b": _rows(1)}, {}, r"a is float32\[2, 1\]"),
        ({"a": _rows(1, 2), "b": _rows(1)}, {}, r"b is float32\[1, 1\], expected .* rows = 2"),
        ({"a": _rows(1), "b": _rows(1)}, {"c": _rows(1, 2)}, r"c is float32\[1, 1\], its place float32\[1, 2\]"),
    ],
)
def test_a_call_that_does_not_fit_is_our_bug(
    adding: tuple[Adding, Runner[Array]], inputs: dict[str, Array], into: dict[str, Array], named: str
) -> None:
    with pytest.raises(RuntimeError, match=f"graph sum.*{named}"):
        adding[1](inputs, into)


@pytest.mark.parametrize(("gives", "named"), [({"c": _rows(1)}, "no d"), ({"c": _rows(1), "e": _rows(1)}, "d|e")])
def test_a_runner_that_gives_something_else(
    adding: tuple[Adding, Runner[Array]], gives: dict[str, Array], named: str
) -> None:
    backend, run = adding
    backend.gives = gives
    with pytest.raises(RuntimeError, match=named):
        run({"a": _rows(1), "b": _rows(1)}, {})


@pytest.mark.parametrize(
    ("gives", "facts"),
    [
        ({"c": _rows(1), "d": _rows(1, 2)}, ("d", "float32[1, 2]", "rows = 1")),
        ({"c": np.zeros((2, 1), np.float32), "d": _rows(1)}, ("c", "float32[2, 1]")),
        ({"c": _rows(1), "d": np.zeros((1, 1))}, ("d", "float64[1, 1]")),
    ],
)
def test_a_graph_that_gives_other_than_the_manifest_states(
    adding: tuple[Adding, Runner[Array]], gives: dict[str, Array], facts: tuple[str, ...]
) -> None:
    """That is the bundle's fault, and is told before the next graph stumbles over it."""
    backend, run = adding
    backend.gives = gives
    with pytest.raises(BackendError) as error:
        run({"a": _rows(1), "b": _rows(1)}, {})
    says(error, "graph sum", *facts, "rebuild the bundle")


@pytest.mark.parametrize("array", [np.zeros((1, 2), np.float32), np.zeros((2, 1), np.int64), np.zeros(3, np.int64)])
def test_what_is_written_has_the_shape_and_dtype_of_its_place(array: Array) -> None:
    for backend in (Adding(), OrtBackend(1)):
        with pytest.raises(RuntimeError, match="does not fit"):
            backend.write(backend.zeros((1, 2), "int64"), array)


@pytest.mark.parametrize("make", [Adding, Boxed, partial(OrtBackend, 1)])
def test_tensors_are_joined_by_their_rows(make: Callable[[], Backend[Any]]) -> None:
    backend = make()
    for sets, dtype, wide in itertools.product((1, 3), (np.float32, np.float16, np.int64), ((), (3,), (2, 3))):
        shapes = [(sets, count, *wide) for count in (2, 0, 1, 4)]
        parts = [np.arange(math.prod(shape)).reshape(shape).astype(dtype) for shape in shapes]
        found = backend.download(backend.join([backend.upload(part) for part in parts]))
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, np.concatenate(parts, axis=1))
    alone = backend.upload(_rows(1, 2))
    assert backend.join([alone]) is alone


@pytest.mark.parametrize(
    "others", [[], [np.zeros((1, 2))], [np.zeros((2, 2), np.float32)], [np.zeros((1, 2, 1), np.float32)]]
)
def test_what_has_other_rows_is_not_joined(others: list[Array]) -> None:
    backend = Adding()
    with pytest.raises(RuntimeError, match="cannot be joined"):
        backend.join([*([_rows(1, 2)] if len(others) == 1 else []), *others])


def test_a_step_is_checked_when_anything_else_ran_before_it(adding: tuple[Adding, Runner[Array]]) -> None:
    backend, run = adding
    good, bad = {"a": _rows(1), "b": _rows(2)}, {"a": _rows(1), "b": _rows(1, 2)}
    for _ in range(2):
        with pytest.raises(RuntimeError, match="rows = 1"):
            backend.repeat("key", lambda: run(bad, {}))
    assert backend.repeat("key", lambda: run(good, {}))["c"].item() == 3
    backend.repeat("other", lambda: run(bad, {}))  # steps differ in contents alone: this one breaks the promise
    run(good, {})
    with pytest.raises(RuntimeError, match="rows = 1"):
        backend.repeat("key", lambda: run(bad, {}))


# --- lifecycle ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [OrtBackend, Boxed])
def test_a_closed_backend_says_so(built: Built, photos: dict[str, Path], make: Callable[[], Backend[Any]]) -> None:
    bundle = built()
    backend = make()
    pipe = Pipeline(bundle, backend)
    encoded, steps = pipe.encode(photos["coffee"]), pipe.stream(photos["coffee"], QUESTION, max_new_tokens=8)
    next(steps)
    tensor, graph = backend.zeros((1, 1), "int64"), bundle.graph("embed")
    pipe.close()
    pipe.close()
    uses: list[Callable[[], object]] = [
        lambda: list(steps),
        lambda: pipe.generate(photos["coffee"], QUESTION),
        lambda: pipe.generate(encoded, QUESTION),
        lambda: pipe.variant(method=METHODS["fastv"]).generate(None, QUESTION),
        lambda: backend.load(bundle.path(graph.path), graph),
        lambda: backend.upload(np.zeros(1)),
        lambda: backend.zeros((1,), "int64"),
        lambda: backend.write(tensor, np.zeros((1, 1), np.int64)),
        lambda: backend.clear(tensor),
        lambda: backend.rows(tensor, 0, 1),
        lambda: backend.join([tensor]),
        lambda: backend.download(tensor),
        lambda: backend.repeat("key", lambda: None),
    ]
    for use in uses:
        with pytest.raises(BackendError, match=r"closed.*load"):
            use()


def test_it_is_given_back_once() -> None:
    with Boxed() as backend:
        assert backend.released == 0
    backend.close()
    assert backend.released == 1


def test_closing_lets_the_graphs_go_and_so_does_who_drops_one(adding: tuple[Adding, Runner[Array]]) -> None:
    backend, kept = adding
    alive = [weakref.ref(kept._run), weakref.ref(backend.load(Path("sum.onnx"), GRAPH)._run)]  # type: ignore[attr-defined]
    gc.collect()
    assert [each() is not None for each in alive] == [True, False]
    backend.close()
    gc.collect()
    assert alive[0]() is None
