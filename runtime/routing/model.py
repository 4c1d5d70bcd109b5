"""The file that goes with a learned router's graph: its names, hashing, threshold, overrides, and where it comes from.

``docs/router.md`` specifies it. Reading is strict: what a router was not made for, it must not be used with.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields

from clasp_trt.runtime.routing.features import VERSIONS
from clasp_trt.runtime.routing.folder import COMMON, SCHEMA, RouterSpec

GRAPH = "router.onnx"
KIND = "ngram"

_MAX_BUCKETS = 2**24


@dataclass(frozen=True)
class RouterModel:
    """What ``router.json`` says.

    Attributes:
        features: version of the feature extraction that the graph was trained with, one of VERSIONS.
        categories: what the graph's probabilities are of, in order; the last is Default.
        buckets: rows of the graph's table.
        threshold: least probability of a category other than Default.
        temperature: what the graph divides the scores by, for people.
        overrides: phrases that decide alone, each with its category.
        sha256: of the graph's file.
        provenance: what it was trained on; JSON values.
        metrics: what it was measured to do; JSON values.
    """

    features: int
    categories: tuple[str, ...]
    buckets: int
    threshold: float
    temperature: float
    overrides: Mapping[str, str]
    sha256: str
    provenance: Mapping[str, object]
    metrics: Mapping[str, object]

    def dumps(self) -> str:
        """The file's text."""
        return json.dumps({"schema": SCHEMA, "kind": KIND, **asdict(self)}, indent=2, ensure_ascii=False) + "\n"

    @staticmethod
    def of(spec: RouterSpec) -> RouterModel:
        """What the file of a router says. Raises :class:`RouterError`, which names the field that breaks a rule."""
        of = spec.document.record(*COMMON, *(entry.name for entry in fields(RouterModel) if entry.name not in COMMON))
        of["kind"].one_of((KIND,))
        version = of["features"].value
        if type(version) is not int or version not in VERSIONS:  # a bool is an int
            of["features"].fail(f"{' or '.join(map(str, VERSIONS))}, those of this version (train the router again)")
        if not 0 <= of["threshold"].number() <= 1:
            of["threshold"].fail("a number from 0 to 1")
        if not of["temperature"].number() > 0:
            of["temperature"].fail("a number above 0")
        return RouterModel(
            features=version,
            categories=spec.categories,
            buckets=of["buckets"].integer(1, _MAX_BUCKETS),
            threshold=of["threshold"].number(),
            temperature=of["temperature"].number(),
            overrides={phrase: name.one_of(spec.categories) for phrase, name in of["overrides"].members().items()},
            sha256=of["sha256"].text(),
            provenance={key: item.value for key, item in of["provenance"].members().items()},
            metrics={key: item.value for key, item in of["metrics"].members().items()},
        )
