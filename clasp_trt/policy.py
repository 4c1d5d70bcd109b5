"""What CLASP does per prompt category, as data outside the graphs: vision-layer mixture and pivot share.

``alpha = softmax(tau * W[c])`` (Eq. 8) weights the vision layers for category ``c``, and ``K1 = floor(a[c] *
R)`` (Eq. 11) of the ``R`` tokens of a stage are attention pivots. ``docs/policy.md`` specifies the file
format. The paper prints the ratios ``a`` (Table 6) but neither ``W`` nor ``tau``: :func:`prior` stands in for
them until calibration.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_FLOOR, Context, Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clasp_trt.brief import brief
from clasp_trt.errors import PolicyError
from clasp_trt.storage.fields import Field, Format, load, parse

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SCHEMA = 1
KINDS = ("prior", "calibrated", "user")
DEFAULT_NAME = "default"

CATEGORY_NAMES = (
    "object identification",
    "attribute / breed identification",
    "text / symbol recognition",
    "scene understanding",
    "spatial relations",
    "counting",
    "action / interaction",
    "intention / function",
    DEFAULT_NAME,
)
DEFAULT_CATEGORY = 8
SPLIT_RATIOS = tuple(Decimal(ratio) for ratio in ("0.8", "0.4", "0.7", "0.7", "0.7", "0.6", "0.8", "0.2", "0.9"))

PRIOR_TAU = 10.0
PRIOR_THRESHOLD = 0.5

_FORMAT = Format(PolicyError, PolicyError, "give a whole policy, such as a bundle's policy.json")
_MAX_DECIMALS = 12  # so short a number equals the shortest repr of its double: JSON carries it exactly
_EXACT = Context(prec=60, rounding=ROUND_FLOOR)  # more digits than a ratio times any token count has
_MAX_TOKENS = 2**31 - 1
_MAX_LAYER = 2**31 - 1


@dataclass(frozen=True)
class Category:
    """One row: ``scores`` is ``W[c]``, one number per support layer; ``ratio`` is ``a[c]``, in [0, 1]."""

    name: str
    scores: tuple[float, ...]
    ratio: Decimal


@dataclass(frozen=True)
class Policy:
    """The category table, valid by construction.

    ``layers`` are the vision layers that some category may read, in hidden-state numbering (0 is the input of
    the first block), ascending. ``tau`` is the softmax temperature of Eq. 8 (it multiplies), ``threshold``
    the confidence below which the router answers the last category, which must be named ``default``.
    ``provenance`` has a ``kind`` of :data:`KINDS` and any further JSON scalars. Raises :class:`PolicyError`
    that names the field that breaks a rule.
    """

    layers: tuple[int, ...]
    tau: float
    threshold: float
    categories: tuple[Category, ...]
    provenance: Mapping[str, object] = field(hash=False)

    def __post_init__(self) -> None:
        _check_layers(self.layers)
        if (tau := _field("tau", self.tau)).number() <= 0:
            tau.fail("a number above 0")
        if not 0 <= (threshold := _field("threshold", self.threshold)).number() <= 1:
            threshold.fail("a number from 0 to 1")
        _check_categories(self.categories, len(self.layers))
        _check_provenance(self.provenance)
        object.__setattr__(self, "provenance", dict(self.provenance))  # the caller's mapping may change later

    @property
    def calibrated(self) -> bool:
        """Whether the scores were searched on data, by the provenance's own word."""
        return self.provenance["kind"] == "calibrated"

    @property
    def default_category(self) -> int:
        """The category of a prompt that the router is unsure about: always the last."""
        return len(self.categories) - 1

    def alpha(self, category: int) -> NDArray[np.float32]:
        """Fusion weights over :attr:`layers`, float32 ``[len(layers)]``: Eq. 8 in float64, then rounded.

        They sum to 1 up to float32 rounding, and a single support layer gets exactly 1.
        """
        import numpy as np  # here: to read a policy, and so to open a bundle, needs none

        scores = np.asarray(self._category(category).scores, np.float64)
        with np.errstate(over="ignore", under="ignore"):  # scores far below the largest: their weight is 0
            weights = np.exp(self.tau * (scores - scores.max()))
        alpha: NDArray[np.float32] = (weights / weights.sum()).astype(np.float32)
        return alpha

    def pivot_counts(self, category: int, keeps: Sequence[int]) -> tuple[int, ...]:
        """``K1 = floor(ratio * R)`` (Eq. 11) for every stage's ``R`` in ``keeps``, in exact arithmetic."""
        ratio = self._category(category).ratio
        for keep in keeps:
            if type(keep) is not int or not 1 <= keep <= _MAX_TOKENS:
                _field("keeps", keep).fail("token counts of at least 1")
        return tuple(int(_EXACT.multiply(ratio, Decimal(keep))) for keep in keeps)

    def to_json(self) -> dict[str, object]:
        """The JSON object of ``docs/policy.md``; :meth:`from_json` reads it back to an equal policy."""
        categories = [
            {"name": row.name, "scores": list(row.scores), "ratio": float(row.ratio)} for row in self.categories
        ]
        return {
            "schema": SCHEMA,
            "tau": self.tau,
            "layers": list(self.layers),
            "threshold": self.threshold,
            "categories": categories,
            "provenance": dict(self.provenance),
        }

    def dumps(self) -> str:
        """The text of a policy file, one category a line; a function of the policy alone."""
        lines = [f"  {json.dumps(key)}: {_block(value)}" for key, value in self.to_json().items()]
        return "{\n" + ",\n".join(lines) + "\n}\n"

    @classmethod
    def from_json(cls, obj: object, *, source: str = "policy.json") -> Policy:
        """Read a parsed policy document; errors begin with ``source`` and the place of the fault.

        Numbers may be ``int``, ``float`` or :class:`~decimal.Decimal`; a ``float`` ratio means its shortest
        repr.
        """
        try:
            return _read(Field("", "", obj, _FORMAT))
        except PolicyError as error:
            raise PolicyError(f"{source}: {error}") from None

    @classmethod
    def loads(cls, text: str | bytes, *, source: str = "policy.json") -> Policy:
        """Read the text of a policy file. Strict: duplicate keys, NaN and unknown keys are errors too."""
        data = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
        return cls.from_json(parse(data, source, _FORMAT, exact=True).value, source=source)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Policy:
        """Read a policy file; errors begin with its name."""
        name = Path(path).name
        return cls.from_json(load(path, _FORMAT, source=name, exact=True).value, source=name)

    def _category(self, category: int) -> Category:
        if type(category) is not int or not 0 <= category < len(self.categories):
            _field("category", category).fail(f"a whole number from 0 to {len(self.categories) - 1}")
        return self.categories[category]


def prior(layers: Sequence[int], feature_layer: int) -> Policy:
    """The conservative policy of an uncalibrated checkpoint; its ``W`` and ``tau`` are not the paper's.

    Every category reads almost only ``feature_layer``, the layer that the checkpoint was trained to read,
    whose score is 1 where the others of ``layers`` have 0, with ``tau`` = 10. The split ratios are those of
    Table 6. Raises :class:`PolicyError` when ``feature_layer`` is not among ``layers``.
    """
    if feature_layer not in layers:
        raise PolicyError(f"layers: the feature layer {feature_layer} is not among {list(layers)}; add it")
    scores = tuple(float(layer == feature_layer) for layer in layers)
    rows = tuple(Category(name, scores, ratio) for name, ratio in zip(CATEGORY_NAMES, SPLIT_RATIOS, strict=True))
    note = "uncalibrated: scores and tau are placeholders, not the paper's values"
    return Policy(
        layers=tuple(layers),
        tau=PRIOR_TAU,
        threshold=PRIOR_THRESHOLD,
        categories=rows,
        provenance={"kind": "prior", "feature_layer": feature_layer, "note": note},
    )


def _field(place: str, value: object) -> Field:
    return Field("", place, value, _FORMAT)


def _check_text(item: Field) -> None:
    if type(item.value) is not str or not item.value.strip() or not item.value.isprintable():
        item.fail("a printable name")


def _check_layers(layers: object) -> None:
    if type(layers) is not tuple or not layers:
        _field("layers", layers).fail("at least one vision layer")
    for i, layer in enumerate(layers):
        item = _field(f"layers[{i}]", layer)
        if type(layer) is not int or not 0 <= layer <= _MAX_LAYER:
            item.fail("a hidden-state number (0: the input of the first block)")
        if i and layer <= layers[i - 1]:
            item.fail(f"more than the layer before it ({layers[i - 1]})")


def _check_categories(categories: tuple[Category, ...], width: int) -> None:
    if not categories:
        _field("categories", categories).fail(f"at least one category, the last named {DEFAULT_NAME!r}")
    names: dict[str, int] = {}
    for i, row in enumerate(categories):
        place = f"categories[{i}]"
        name = _field(f"{place}.name", row.name)
        _check_text(name)
        if row.name in names:
            name.fail(f"a name other than that of categories[{names[row.name]}]")
        names[row.name] = i
        if len(row.scores) != width:
            raise PolicyError(f"{place}.scores: expected {width} numbers, one per layer, got {len(row.scores)}")
        for j, score in enumerate(row.scores):
            _field(f"{place}.scores[{j}]", score).number()
        _check_ratio(_field(f"{place}.ratio", row.ratio), row.ratio)
    if categories[-1].name != DEFAULT_NAME:
        name.fail(f"the last category to be {DEFAULT_NAME!r}")


def _check_ratio(item: Field, ratio: object) -> None:
    if type(ratio) is not Decimal or not ratio.is_finite() or not 0 <= ratio <= 1:
        item.fail("a number from 0 to 1")
    if ratio.adjusted() < -_MAX_DECIMALS or ratio != round(ratio, _MAX_DECIMALS):
        item.fail(f"at most {_MAX_DECIMALS} digits after the point")


def _check_provenance(provenance: Mapping[str, object]) -> None:
    _field("provenance.kind", provenance.get("kind")).one_of(KINDS)
    for key, value in provenance.items():
        item = _field(f"provenance[{brief(key)}]", value)
        _check_text(item.at(f"{item.place} as a key", key))
        if type(value) is float:
            item.number()
        elif value is not None and type(value) not in (str, bool, int):
            item.fail("a string, number, true, false or null")


def _read(item: Field) -> Policy:
    item.check_schema(SCHEMA)
    top = item.record("schema", "tau", "layers", "threshold", "categories", "provenance")
    layers: tuple[Any, ...] = tuple(layer.value for layer in top["layers"].elements())
    _check_layers(layers)  # before the rows, whose lengths it sets
    return Policy(
        layers=layers,
        tau=top["tau"].number(),
        threshold=top["threshold"].number(),
        categories=tuple(_read_category(row) for row in top["categories"].elements()),
        provenance={
            key: member.number() if isinstance(member.value, Decimal) else member.value
            for key, member in top["provenance"].members().items()
        },
    )


def _read_category(item: Field) -> Category:
    of = item.record("name", "scores", "ratio")
    _check_text(of["name"])
    scores = tuple(score.number() for score in of["scores"].elements())
    return Category(str(of["name"].value), scores, of["ratio"].decimal())


def _block(value: object) -> str:
    """JSON text: a list of objects as one object a line, anything else on one line."""
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return "[\n" + ",\n".join(f"    {_block(item)}" for item in value) + "\n  ]"
    return json.dumps(value, allow_nan=False)
