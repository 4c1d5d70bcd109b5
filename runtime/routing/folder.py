"""Which router answers for a policy: the one in a folder, by the kind that its ``router.json`` names, or the rules.

A router folder holds files called ``router.*`` at its top; a bundle that brings a router is such a folder itself.
``router.json`` is a JSON object with ``schema`` 1, a ``kind`` of :data:`KINDS`, and ``categories``, the names of the
classes in order, the last of them Default. What else it says is the kind's own matter. ``docs/router.md`` specifies it.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import clasp_trt
from clasp_trt.errors import RouterError
from clasp_trt.policy import DEFAULT_NAME, Policy
from clasp_trt.runtime.routing.router import OwnRouter, RuleRouter, unreached
from clasp_trt.storage.fields import Field, Format, load

if TYPE_CHECKING:
    from clasp_trt.bundle import Bundle

SCHEMA = 1
SPEC = "router.json"
COMMON = ("schema", "kind", "categories")
"""The keys of :data:`SPEC` that every kind has."""
SHIPPED = Path(clasp_trt.__file__).resolve().parent / "assets" / "router"
"""The router that comes with the package, for the paper's nine categories; builds put it into bundles."""

# Each kind's module has `load(spec: RouterSpec, threshold: float) -> OwnRouter`, a router for the categories in the
# order of the spec, and is imported when a router of its kind is opened.
KINDS: Mapping[str, str] = {
    "classifier": "clasp_trt.runtime.routing.classifier",
    "ngram": "clasp_trt.runtime.routing.learned",
}

_FILE = re.compile(r"router\.[A-Za-z0-9._-]+")  # a name that a bundle takes
_MAX_SPEC_BYTES = 1 << 20
_FORMAT = Format(RouterError, RouterError, "give a folder that `clasp-trt router` made")


@dataclass(frozen=True)
class RouterSpec:
    """What ``router.json`` in ``folder`` says. ``document`` is all of it, of which the kind reads its own members."""

    folder: Path
    kind: str
    categories: tuple[str, ...]
    document: Field

    @property
    def place(self) -> str:
        """What errors call the file."""
        return str(self.folder / SPEC)

    @property
    def fields(self) -> Mapping[str, object]:
        """The members that belong to the kind."""
        return {key: item.value for key, item in self.document.members().items() if key not in COMMON}

    @classmethod
    def read(cls, folder: str | os.PathLike[str]) -> RouterSpec:
        """Raises :class:`RouterError` if there is no router, or one of a kind or schema that is not known here."""
        document = load(Path(folder) / SPEC, _FORMAT, limit=_MAX_SPEC_BYTES)
        document.check_schema(SCHEMA)
        of = document.open_record(*COMMON)
        names = tuple(item.prose() for item in of["categories"].elements())
        if not names or len(set(names)) < len(names) or names[-1] != DEFAULT_NAME:
            of["categories"].fail(f"names that differ, the last of them {DEFAULT_NAME!r}")
        return cls(Path(folder), of["kind"].one_of(KINDS), names, document)

    @property
    def unreached(self) -> tuple[str, ...]:
        """The categories other than Default that the router never answers with."""
        labels = self.fields.get("labels")
        reached: Sequence[object] = labels if isinstance(labels, list) else self.categories
        return tuple(name for name in self.categories[:-1] if name not in reached)

    def check(self, wanted: Sequence[str]) -> None:
        """Raises :class:`RouterError` unless a policy's names ``wanted`` are these categories in this order."""
        if self.categories == tuple(wanted):
            return
        differences = [f"has no {name!r}" for name in wanted if name not in self.categories]
        differences += [f"has {name!r}, which the policy has not" for name in self.categories if name not in wanted]
        raise RouterError(
            f"{self.place}: is not a router for this policy: it {', '.join(differences) or 'has another order'}; "
            "make the router with the names of this policy, or give the policy that it was made for with --policy"
        )

    @property
    def sha256(self) -> str:
        """Of all that the router is."""
        digest = hashlib.sha256()
        for path in self.files():
            content = path.read_bytes()
            digest.update(f"{path.name} {len(content)}\n".encode() + content)
        return digest.hexdigest()

    @staticmethod
    def owns(name: str) -> bool:
        """Whether a file of this name in a router folder belongs to the router."""
        return _FILE.fullmatch(name) is not None

    def files(self) -> tuple[Path, ...]:
        """The files of the router: what a bundle takes over."""
        return tuple(sorted(path for path in self.folder.iterdir() if self.owns(path.name) and path.is_file()))


def load_router(folder: str | os.PathLike[str], names: Sequence[str], threshold: float) -> OwnRouter:
    """The router in ``folder``, for a policy's category names and threshold.

    Raises :class:`RouterError` if there is none, if it is damaged, or if its categories are not ``names``.
    """
    spec = RouterSpec.read(folder)
    spec.check(names)
    router: OwnRouter = import_module(KINDS[spec.kind]).load(spec, threshold)
    return router


def router_for(policy: Policy, bundle: Bundle | None = None, folder: str | os.PathLike[str] | None = None) -> OwnRouter:
    """The router of ``folder`` if one is given, which must be for the policy's categories; else the one that ``bundle``
    brings, or without a bundle the shipped one, if it is for them; else the rules."""
    names = [category.name for category in policy.categories]
    if folder is None:
        folder = SHIPPED if bundle is None else bundled(bundle)
        if folder is None or RouterSpec.read(folder).categories != tuple(names):
            return RuleRouter(names, policy.threshold)
    return load_router(folder, names, policy.threshold)


def shipped_for(names: Sequence[str]) -> Path | None:
    """:data:`SHIPPED` if it is for these categories in this order, else None."""
    return SHIPPED if RouterSpec.read(SHIPPED).categories == tuple(names) else None


def bundled(bundle: Bundle) -> Path | None:
    """The folder of the router that a bundle brings; None if it brings none."""
    return bundle.root if SPEC in bundle.manifest.files else None


def unreachable(policy: Policy, folder: str | os.PathLike[str] | None) -> tuple[str, ...]:
    """The categories of ``policy`` that the router in ``folder`` (None: the rules) never answers with."""
    if folder is None:
        return unreached([category.name for category in policy.categories])
    return RouterSpec.read(folder).unreached
