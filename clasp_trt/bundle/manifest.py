"""The records of the manifest ``clasp.json``: what a bundle says of itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from clasp_trt.bundle.media import Media
from clasp_trt.chain import names, port, selections
from clasp_trt.generation import Generation
from clasp_trt.operators import PIVOT_SELECT, SPHERICAL_KMEANS
from clasp_trt.quantization import UNROUNDED, Calibration, Quantization
from clasp_trt.schedule import Schedule
from clasp_trt.sparsity import Sparse
from clasp_trt.speculation import MOST
from clasp_trt.tensors import TensorSpec

SCHEMA = 2
MANIFEST = "clasp.json"
POLICY = "policy.json"

PLUGINS = (PIVOT_SELECT.name, SPHERICAL_KMEANS.name)
"""Operators that an engine may run as plugins."""
MAX_SLOTS = 256
"""Requests that a bundle may be for at once."""
PORTABLE = "portable"
"""Backend and target of a bundle that holds graphs only."""
SALIENCY = ("cls", "received")
"""What a tower's saliency is: the attention of its [CLS] token, or the mean of what each patch receives."""
VISIBLE = ("causal", "blocks", "prefix")
"""Which rows a row of the decoder sees: those up to itself; or up to the end of the picture that it belongs to; or all
of the prompt."""


@dataclass(frozen=True)
class Graph:
    """A graph, at ``path`` inside the bundle."""

    name: str
    path: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


@dataclass(frozen=True)
class VisionDims:
    """The vision tower; ``feature_layer`` counts hidden states (0 is the input of the first block). ``saliency`` is one
    of :data:`SALIENCY`."""

    layers: int
    width: int
    feature_layer: int
    saliency: str


@dataclass(frozen=True)
class DecoderDims:
    """The decoder. ``axes`` is how many rotary positions a row has, ``visible`` one of :data:`VISIBLE`; ``window`` how
    many positions the rows of some layers see back, itself among them, None where all see all. The first ``deepstack``
    layers are each followed by an addition to the visual tokens, of what the vision tower gives for it."""

    layers: int
    width: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab_size: int
    axes: int
    visible: str
    deepstack: int = field(default=0, kw_only=True)
    window: int | None = field(default=None, kw_only=True)


@dataclass(frozen=True)
class Source:
    """A repository of the Hugging Face hub; ``revision`` is what was asked for, ``commit`` what that was, if known."""

    repository: str
    revision: str | None
    commit: str | None


@dataclass(frozen=True)
class ModelInfo:
    """The checkpoint that was compiled. ``tokens`` are the least, usual and most visual tokens of a request;
    ``source`` is where it was fetched from, if that is known."""

    model_type: str
    name: str
    vision: VisionDims
    tokens: tuple[int, int, int]
    decoder: DecoderDims
    stop_token_ids: tuple[int, ...]
    source: Source | None = None

    @property
    def varies(self) -> bool:
        """Whether requests may differ in the number of their visual tokens."""
        return self.tokens[0] != self.tokens[-1]


@dataclass(frozen=True)
class Segment:
    """Decoder layers ``first_layer..last_layer`` (inclusive) as one graph, with ``capacity`` KV slots per
    layer."""

    graph: str
    first_layer: int
    last_layer: int
    capacity: int


@dataclass(frozen=True)
class Profile:
    """Sizes that an engine takes: ``sizes`` maps each symbolic dimension of its graph's inputs, and each input whose
    value is a shape, to the least, the one that it is tuned for, and the greatest."""

    name: str
    sizes: Mapping[str, tuple[int, int, int]]


@dataclass(frozen=True)
class Engine:
    """``graph`` compiled, at ``path`` inside the bundle. ``plugins`` names the operators of domain ``clasp`` that are
    plugins in it; these must be registered before it is loaded."""

    graph: str
    path: str
    profiles: tuple[Profile, ...]
    plugins: tuple[str, ...] = ()


@dataclass(frozen=True)
class Engines:
    """A graph's worth of machine code each: they run on compute capabilities ``sms`` alone, under the very ``version``
    of the backend's library that built them, and take prompts of ``max_prompt`` tokens of text at most."""

    version: str
    sms: tuple[str, ...]
    max_prompt: int
    engines: tuple[Engine, ...]


@dataclass(frozen=True)
class FileEntry:
    """Size in bytes and lowercase hexadecimal SHA-256 of one file."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """All that ``clasp.json`` says. ``files`` lists every file of the bundle except ``clasp.json`` itself; ``slots`` is
    how many requests it is to answer together, ``method`` the selection that its prune graphs are, one of
    :data:`clasp_trt.chain.selections.READS`.

    ``generation`` is None where the manifest does not say: :attr:`Bundle.generation` knows then.
    """

    model: ModelInfo
    media: Media
    precision: str
    prune_at: str
    schedule: Schedule
    budget: int | None  # mean visual tokens that were asked for; None for a given schedule and for no pruning
    max_context: int
    opset: int
    graphs: tuple[Graph, ...]
    segments: tuple[Segment, ...]
    backend: str
    target: str
    versions: Mapping[str, str]
    files: Mapping[str, FileEntry] = field(default_factory=dict)
    engines: Engines | None = None  # of a backend that compiles; others run the graphs themselves
    generation: Generation | None = None
    quantization: Quantization = UNROUNDED
    calibration: Calibration | None = None  # of a decoder that is not rounded to the nearest
    slots: int = 1
    method: str = selections.DEFAULT
    sparse: Sparse | None = None  # of a decoder some of whose weights are zero on purpose

    @property
    def has_slots(self) -> bool:
        """Whether the decoder's graphs take several requests in one call, as all have since there are slots."""
        embed = next(graph for graph in self.graphs if graph.name == names.EMBED)
        return any(each.shape[:1] == (port.SLOTS,) for each in embed.inputs)

    @property
    def scores_rows(self) -> bool:
        """Whether the decoder gives the logits of any rows of a call, not of the last alone, as all have since there
        is speculation."""
        last = next((graph for graph in self.graphs if graph.name == self.segments[-1].graph), None)
        return last is not None and any(each.name == port.SCORED for each in last.inputs)

    @property
    def step_rows(self) -> int:
        """How many rows of a request a decode step may compute: the next token's, and one for each proposed token."""
        if not self.scores_rows:
            return 1
        engines = () if self.engines is None else self.engines.engines
        steps = [
            each.profiles[-1].sizes for each in engines if {port.SLOTS, port.SEQUENCE} <= {*each.profiles[-1].sizes}
        ]
        return min([MOST + 1, *(sizes[port.SEQUENCE][2] for sizes in steps)])

    @property
    def own_to_clips(self) -> tuple[str, ...]:
        """The graphs that clips alone go through."""
        there = {graph.name for graph in self.graphs}
        return tuple(name for name in names.OF_CLIPS.values() if name in there)

    def for_clips(self, name: str) -> str:
        """The graph that clips go through where pictures go through ``name``: one of their own, or the same."""
        own = names.OF_CLIPS[name]
        return own if own in self.own_to_clips else name

    @property
    def multiplies_integers(self) -> bool:
        """Whether rows are rounded too, for products of integers: on CPUs, where weights are."""
        return bool(self.quantization) and self.target == "cpu"

    @property
    def text_context(self) -> int:
        """``max_context`` of a request without an image: nothing is pruned, so the smallest segment is its limit."""
        return min(segment.capacity for segment in self.segments)
