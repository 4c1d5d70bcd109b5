"""An engine that runs: sizes to a profile, tensors to addresses, results to blocks."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path

from clasp_trt.bundle import Graph, Profile
from clasp_trt.chain import port
from clasp_trt.errors import BackendError
from clasp_trt.runtime.backends.cuda.context import Context
from clasp_trt.runtime.backends.cuda.device import ALIGNMENT, Device, DeviceTensor, size_of
from clasp_trt.runtime.backends.cuda.layers import LayerTimes
from clasp_trt.runtime.backends.cuda.library import Library


class Session:
    """A loaded engine of ``graph`` with its ``profiles``, as a runner of the backend.

    A profile has a context for itself, and one more for each recorded step. All share one scratch memory, since one
    stream runs them one after another.
    """

    def __init__(
        self,
        device: Device,
        library: Library,
        graph: Graph,
        path: Path,
        profiles: tuple[Profile, ...],
        *,
        timed: bool = False,
        trace: Path | None = None,
    ) -> None:
        """``timed`` calls return when the work is done; ``trace`` is a folder for the times of layers."""
        self._device, self._library, self._graph, self._profiles = device, library, graph, profiles
        self._timed = timed
        self._layers = None if trace is None else LayerTimes(library.module, graph.name, trace)
        self._engine = library.engine(path)
        self._check()
        on_host = {each.name for each in graph.inputs if self._engine.is_shape_inference_io(each.name)}
        self._on_host = frozenset(on_host)
        # where the release does not have it, no output shares memory with an input by demand
        find = getattr(self._engine, "get_aliased_input_tensor", lambda name: None)
        self._aliases = {each.name: found for each in graph.outputs if (found := find(each.name))}
        self._contexts: dict[tuple[Hashable | None, int], Context] = {}
        device.work.need(self._engine.device_memory_size_v2)
        self._greatest = [self._greatest_outputs(number) for number in range(len(profiles))]
        device.pool.add(size for sizes in self._greatest for name, size in sizes.items() if not self._cached(name))
        for sizes in self._greatest:
            spares = [size for name, size in sizes.items() if self._cached(name) and name not in self._aliases]
            device.spare.need(sum(map(_aligned, spares)))

    def __call__(self, inputs: Mapping[str, DeviceTensor], into: Mapping[str, DeviceTensor]) -> dict[str, DeviceTensor]:
        """See :class:`clasp_trt.runtime.backends.checked.Runner`. Returns before the work is done, unless timed.

        Raises :class:`BackendError` for sizes that no profile has, and for what TensorRT refuses.
        """
        number = self._profile(inputs)
        context = self._context(number)
        self._device.recordings.takes_part(context)
        self._give(context, inputs)
        outputs, back = self._place(context, inputs, into, self._greatest[number])
        if self._layers is not None:
            self._layers.begin()
        needed = self._engine.device_memory_size_v2
        context.run(self._device.work.address(needed), needed)
        for to, source, size in back:
            self._device.driver.copy(to, source, size)
        if self._timed:
            self._device.staging.wait()
        return outputs

    def close(self) -> None:
        """Lets contexts and engine go, in this order; writes what layers took."""
        self._contexts.clear()
        self._engine = None
        if self._layers is not None:
            self._layers.write()

    def _check(self) -> None:
        """The engine is that of the graph: TensorRT's names, sides and types are the manifest's."""
        trt, engine = self._library.module, self._engine
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        sides = {trt.TensorIOMode.INPUT: "input", trt.TensorIOMode.OUTPUT: "output"}
        found = {
            (sides[engine.get_tensor_mode(name)], name, self._library.dtypes.get(engine.get_tensor_dtype(name)))
            for name in names
        }
        stated = {("input", each.name, each.dtype) for each in self._graph.inputs}
        stated |= {("output", each.name, each.dtype) for each in self._graph.outputs}
        if differing := found ^ stated:
            side, name, dtype = min(differing, key=str)
            where = "the engine" if (side, name, dtype) in found else "the manifest"
            raise BackendError(
                f"graph {self._graph.name}: {where} alone has {side} {name} of {dtype}; rebuild the bundle"
            )
        if engine.num_optimization_profiles != len(self._profiles):
            raise BackendError(
                f"graph {self._graph.name}: its engine has {engine.num_optimization_profiles} profiles, the manifest "
                f"{len(self._profiles)}; rebuild the bundle"
            )

    def _cached(self, output: str) -> bool:
        """Whether an output is a cache, which the caller always has a place for."""
        return port.is_present(output) and any(each.name == port.past_of(output) for each in self._graph.inputs)

    def _greatest_outputs(self, number: int) -> dict[str, int]:
        """Bytes of each output at the greatest sizes of a profile."""
        most = {name: sizes[2] for name, sizes in self._profiles[number].sizes.items()}
        context = self._make_context(number, fixed=False)
        for each in self._graph.inputs:
            context.set_shape(each.name, tuple(dim if isinstance(dim, int) else most[dim] for dim in each.shape))
            if each.name in self._on_host:
                context.set_host_value(each.name, most[each.name])
        context.infer()
        self._contexts[None, number] = context
        return {each.name: size_of(context.shape(each.name), each.dtype) for each in self._graph.outputs}

    def _profile(self, inputs: Mapping[str, DeviceTensor]) -> int:
        """The narrowest profile that has room: the last one, since those of a single row come last."""
        sizes = self._sizes(inputs)
        for number in reversed(range(len(self._profiles))):
            ranges = self._profiles[number].sizes
            if all(ranges[name][0] <= size <= ranges[name][2] for name, size in sizes.items()):
                return number
        widest = self._profiles[0].sizes
        name = next(name for name, size in sizes.items() if not widest[name][0] <= size <= widest[name][2])
        raise BackendError(
            f"graph {self._graph.name}: its engine takes {widest[name][0]} to {widest[name][2]} for {name}, not "
            f"{sizes[name]}; build with a larger --max-prompt, or use a pruning method that keeps as many tokens as "
            "the bundle's stages"
        )

    def _sizes(self, inputs: Mapping[str, DeviceTensor]) -> dict[str, int]:
        """The value of every symbolic dimension, and of every input that is a shape."""
        sizes: dict[str, int] = {}
        for each in self._graph.inputs:
            tensor = inputs[each.name]
            for dim, size in zip(each.shape, tensor.shape, strict=True):
                if isinstance(dim, str):
                    sizes[dim] = size
            if each.name in self._on_host:
                sizes[each.name] = self._value(each.name, tensor)
        return sizes

    def _value(self, name: str, tensor: DeviceTensor) -> int:
        if tensor.host is None or tensor.variable:
            raise BackendError(
                f"graph {self._graph.name}: its engine reads {name} on the host, where it is not known; "
                "please report it"
            )
        return int(tensor.host.item())

    def _context(self, number: int) -> Context:
        lane = self._device.recordings.lane
        if (lane, number) not in self._contexts:
            self._contexts[lane, number] = self._make_context(number, fixed=True)
        return self._contexts[lane, number]

    def _make_context(self, number: int, *, fixed: bool) -> Context:
        made = self._library.context(self._engine, fixed=fixed)
        if self._layers is not None:
            made.profiler = self._layers.profiler
        return Context(self._graph.name, self._library, made, number, self._device)

    def _give(self, context: Context, inputs: Mapping[str, DeviceTensor]) -> None:
        for each in self._graph.inputs:
            tensor = inputs[each.name]
            context.set_shape(each.name, tensor.shape)
            if each.name in self._on_host:
                context.set_host_value(each.name, self._value(each.name, tensor))
            else:
                context.set_address(each.name, tensor.address)
        context.infer()

    def _place(
        self,
        context: Context,
        inputs: Mapping[str, DeviceTensor],
        into: Mapping[str, DeviceTensor],
        greatest: Mapping[str, int],
    ) -> tuple[dict[str, DeviceTensor], list[tuple[int, int, int]]]:
        """Gives every output an address. Returns the outputs that are new, and copies to make afterwards.

        An output may only be written over an input if the engine says so; else it goes to spare memory first.
        """
        read = {tensor.address for name, tensor in inputs.items() if name not in self._on_host}
        places = {each.name: self._destination(each.name, inputs, into) for each in self._graph.outputs}
        over = [name for name, place in places.items() if self._written_over(name, place, read)]
        spare = self._device.spare.address(sum(_aligned(into[name].nbytes) for name in over)) if over else 0
        outputs, back = dict[str, DeviceTensor](), list[tuple[int, int, int]]()
        for each in self._graph.outputs:
            shape, place = context.shape(each.name), places[each.name]
            if place is None:
                block = self._device.recordings.take(greatest[each.name])
                place = DeviceTensor(self._device, shape, each.dtype, block)
            if (place.shape, place.dtype) != (shape, each.dtype):
                raise ValueError(f"{each.name} is {each.dtype}{shape}, its place {place.dtype}{place.shape}")
            if each.name not in into:
                outputs[each.name] = place
            if each.name in over:
                back.append((place.address, spare, place.nbytes))
                context.set_address(each.name, spare)
                spare += _aligned(place.nbytes)
            else:
                context.set_address(each.name, place.address)
        return outputs, back

    def _destination(
        self, name: str, inputs: Mapping[str, DeviceTensor], into: Mapping[str, DeviceTensor]
    ) -> DeviceTensor | None:
        """Where an output has to go, None for anywhere: TensorRT has some share memory with an input."""
        alias = self._aliases.get(name)
        if alias is None:
            return into.get(name)
        if name in into and into[name].address != inputs[alias].address:
            raise ValueError(f"{name} must lie where {alias} lies")
        return inputs[alias]

    def _written_over(self, name: str, place: DeviceTensor | None, read: set[int]) -> bool:
        """Whether an output would be written over what the engine still reads, without a promise that this is right."""
        return place is not None and name not in self._aliases and place.address in read


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
