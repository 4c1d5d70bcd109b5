"""What CLASP does per prompt category, as data outside the graphs: vision-layer mixture and pivot share.

``alpha = softmax(tau * W[c])`` (Eq. 8) weights the vision layers for category ``c``, and ``K1 = floor(a[c] *
R)`` (Eq. 11) of the ``R`` tokens of a stage are attention pivots. ``docs/policy.md`` specifies the file
format. The paper prints the ratios ``a`` (Table 6) but neither ``W`` nor ``tau``: :func:`prior` stands in for
them until calibration.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_FLOOR, Context, Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from clasp_trt.errors import PolicyError

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
        if _float(self.tau, "tau") <= 0:
            _fail("tau", "a number above 0", self.tau)
        if not 0 <= _float(self.threshold, "threshold") <= 1:
            _fail("threshold", "a number from 0 to 1", self.threshold)
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
                _fail("keeps", "token counts of at least 1", keep)
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
            return _read(obj)
        except PolicyError as error:
            raise PolicyError(f"{source}: {error}") from None

    @classmethod
    def loads(cls, text: str | bytes, *, source: str = "policy.json") -> Policy:
        """Read the text of a policy file. Strict: duplicate keys, NaN and unknown keys are errors too."""
        try:
            decoded = text.decode("utf-8") if isinstance(text, bytes) else text
            obj = json.loads(decoded, object_pairs_hook=_Members, parse_float=_parse_number)
        except UnicodeDecodeError as error:
            raise PolicyError(f"{source}: byte {error.start} is not UTF-8; expected a JSON text") from None
        except RecursionError:
            raise PolicyError(f"{source}: nested too deeply to be a policy") from None
        except ValueError as error:  # JSONDecodeError, and integers beyond Python's digit limit
            raise PolicyError(f"{source}: not JSON ({error})") from None
        return cls.from_json(obj, source=source)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Policy:
        """Read a policy file; errors begin with its name."""
        try:
            data = Path(path).read_bytes()
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise PolicyError(
                f"{os.fspath(path)}: cannot be read as a policy ({reason}); expected a file such as a bundle's "
                "policy.json"
            ) from None
        return cls.loads(data, source=Path(path).name)

    def _category(self, category: int) -> Category:
        if type(category) is not int or not 0 <= category < len(self.categories):
            _fail("category", f"a whole number from 0 to {len(self.categories) - 1}", category)
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


def _fail(place: str, expected: str, value: object) -> NoReturn:
    raise PolicyError(f"{place}: expected {expected}, got {_brief(value)}")


def _check_text(place: str, value: object) -> None:
    if type(value) is not str or not value.strip() or not value.isprintable():
        _fail(place, "a printable name", value)


def _check_layers(layers: object) -> None:
    if type(layers) is not tuple or not layers:
        _fail("layers", "at least one vision layer", layers)
    for i, layer in enumerate(layers):
        if type(layer) is not int or not 0 <= layer <= _MAX_LAYER:
            _fail(f"layers[{i}]", "a hidden-state number (0: the input of the first block)", layer)
        if i and layer <= layers[i - 1]:
            _fail(f"layers[{i}]", f"more than the layer before it ({layers[i - 1]})", layer)


def _check_categories(categories: tuple[Category, ...], width: int) -> None:
    if not categories:
        _fail("categories", f"at least one category, the last named {DEFAULT_NAME!r}", [])
    names: dict[str, int] = {}
    for i, row in enumerate(categories):
        place = f"categories[{i}]"
        _check_text(f"{place}.name", row.name)
        if row.name in names:
            _fail(f"{place}.name", f"a name other than that of categories[{names[row.name]}]", row.name)
        names[row.name] = i
        if len(row.scores) != width:
            raise PolicyError(f"{place}.scores: expected {width} numbers, one per layer, got {len(row.scores)}")
        for j, score in enumerate(row.scores):
            _float(score, f"{place}.scores[{j}]")
        _check_ratio(f"{place}.ratio", row.ratio)
    if categories[-1].name != DEFAULT_NAME:
        place = f"categories[{len(categories) - 1}].name"
        _fail(place, f"the last category to be {DEFAULT_NAME!r}", categories[-1].name)


def _check_ratio(place: str, ratio: object) -> None:
    if type(ratio) is not Decimal or not ratio.is_finite() or not 0 <= ratio <= 1:
        _fail(place, "a number from 0 to 1", ratio)
    if ratio.adjusted() < -_MAX_DECIMALS or ratio != round(ratio, _MAX_DECIMALS):
        _fail(place, f"at most {_MAX_DECIMALS} digits after the point", ratio)


def _check_provenance(provenance: Mapping[str, object]) -> None:
    kind = provenance.get("kind")
    if kind not in KINDS:
        _fail("provenance.kind", f"one of {', '.join(KINDS)}", kind)
    for key, value in provenance.items():
        place = f"provenance[{_brief(key)}]"
        _check_text(f"{place} as a key", key)
        if type(value) is float and not math.isfinite(value):
            _fail(place, "a finite number", value)
        if value is not None and type(value) not in (str, bool, int, float):
            _fail(place, "a string, number, true, false or null", value)


class _Members(dict[str, object]):
    """A JSON object that remembers a key which occurred twice, so that the error can name its place."""

    def __init__(self, pairs: list[tuple[str, object]]) -> None:
        super().__init__(pairs)
        seen: set[str] = set()
        self.twice: str | None = None
        for key, _ in pairs:
            if key in seen:
                self.twice = key
            seen.add(key)


def _parse_number(text: str) -> Decimal:
    """The number exactly; an exponent beyond even Decimal's range becomes NaN, for its place to refuse."""
    try:
        return Decimal(text)
    except InvalidOperation:
        return Decimal("NaN")


def _read(obj: object) -> Policy:
    if isinstance(obj, dict) and "schema" in obj:  # first: another schema may know other keys
        schema = obj["schema"]
        if type(schema) is not int or schema != SCHEMA:
            _fail("schema", f"{SCHEMA}, the one this version reads", schema)
    top = _record(obj, "", ("schema", "tau", "layers", "threshold", "categories", "provenance"))
    layers = tuple(_array(top["layers"], "layers"))
    _check_layers(layers)  # before the rows, whose lengths it sets
    rows = _array(top["categories"], "categories")
    return Policy(
        layers=layers,  # type: ignore[arg-type]  # checked one line up
        tau=_float(top["tau"], "tau"),
        threshold=_float(top["threshold"], "threshold"),
        categories=tuple(_read_category(row, f"categories[{i}]") for i, row in enumerate(rows)),
        provenance=_read_provenance(top["provenance"]),
    )


def _read_category(obj: object, place: str) -> Category:
    of = _record(obj, place, ("name", "scores", "ratio"))
    name = of["name"]
    if not isinstance(name, str):
        _fail(f"{place}.name", "a printable name", name)
    scores = _array(of["scores"], f"{place}.scores")
    return Category(
        name=name,
        scores=tuple(_float(score, f"{place}.scores[{j}]") for j, score in enumerate(scores)),
        ratio=_decimal(of["ratio"], f"{place}.ratio"),
    )


def _read_provenance(obj: object) -> dict[str, object]:
    members = _record(obj, "provenance")
    return {
        key: _float(value, f"provenance[{_brief(key)}]") if isinstance(value, Decimal) else value
        for key, value in members.items()
    }


def _record(obj: object, place: str, keys: tuple[str, ...] = ()) -> dict[str, object]:
    """The members of a JSON object that has exactly ``keys`` (any keys when none are named)."""
    prefix = f"{place}: " if place else ""
    if not isinstance(obj, dict):
        raise PolicyError(f"{prefix}expected an object, got {_brief(obj)}")
    if isinstance(obj, _Members) and obj.twice is not None:
        raise PolicyError(f"{prefix}the key {_brief(obj.twice)} occurs twice")
    for key in obj if keys else ():
        if key not in keys:
            raise PolicyError(f"{prefix}unknown key {_brief(key)} (known: {', '.join(keys)})")
    for key in keys:
        if key not in obj:
            raise PolicyError(f"{prefix}missing key {key!r}")
    return obj


def _array(value: object, place: str) -> list[object]:
    if not isinstance(value, list):
        _fail(place, "an array", value)
    return value


def _float(value: object, place: str) -> float:
    """A finite float; ``bool`` is not a number, and what overflows a double is not finite."""
    number = math.nan
    if type(value) is int or type(value) is float or isinstance(value, Decimal):
        try:
            number = float(value)
        except OverflowError:  # an int beyond the range of a double
            number = math.inf
    if not math.isfinite(number):
        _fail(place, "a finite number", value)
    return number


def _decimal(value: object, place: str) -> Decimal:
    """The number exactly as written; a float is taken for its shortest repr."""
    if isinstance(value, Decimal):
        return value
    if type(value) is int or type(value) is float:
        return Decimal(repr(value))
    _fail(place, "a number from 0 to 1", value)


def _block(value: object) -> str:
    """JSON text: a list of objects as one object a line, anything else on one line."""
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return "[\n" + ",\n".join(f"    {_block(item)}" for item in value) + "\n  ]"
    return json.dumps(value, allow_nan=False)


def _brief(value: object) -> str:
    """``value`` in a few printable characters, in JSON's own words."""
    if isinstance(value, (dict, Mapping)):
        return "an object"
    if isinstance(value, (list, tuple)):
        return "an array" if value else "an empty array"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, float) and math.isnan(value):
        return "NaN"
    text = str(value) if isinstance(value, (int, float, Decimal)) else ascii(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
