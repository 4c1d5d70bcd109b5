"""A bundle that was opened: its manifest checked, its files present in the listed sizes, their hashes on
request."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from clasp_trt.brief import brief, reason, shown
from clasp_trt.bundle import codec, generation_config, tree
from clasp_trt.bundle.errors import (
    HashMismatch,
    InconsistentManifest,
    ManifestSyntax,
    MissingFile,
    NotABundle,
    NotAFile,
    SizeMismatch,
    UnlistedFile,
    Unreadable,
    UnsafePath,
)
from clasp_trt.bundle.manifest import MANIFEST, POLICY, Graph, Manifest
from clasp_trt.bundle.tree import COPY
from clasp_trt.chain import names, port
from clasp_trt.errors import PolicyError
from clasp_trt.generation import Generation
from clasp_trt.policy import Policy
from clasp_trt.progress import ByteProgress
from clasp_trt.storage import leftovers
from clasp_trt.storage.fields import Format

MAX_MANIFEST_BYTES = 16 * 2**20
MAX_SETTINGS_BYTES = 2**20
SETTINGS = "preprocessor_config.json"


class Bundle:
    """A folder that obeys ``docs/bundle-format.md``: the absolute path ``root`` and what its ``manifest``
    says.

    Made by :meth:`open`. Sizes were checked, hashes only if asked; a bundle is not modified while it is open.
    """

    def __init__(self, root: Path, manifest: Manifest) -> None:
        self.root = root
        self.manifest = manifest
        self._links: frozenset[str] = frozenset()  # listed files that were links when the bundle was opened

    def __repr__(self) -> str:
        return f"Bundle({str(self.root)!r})"

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, verify: bool = False) -> Bundle:
        """Open the bundle at ``path``, and with ``verify`` hash every file.

        If a build was killed in the midst of replacing this bundle, the older one is put back first. Raises
        the :class:`~clasp_trt.errors.BundleError` of the first rule that is broken.
        """
        root = Path(os.path.abspath(path))
        bundle = cls(root, read_manifest(root))
        bundle._links = bundle._check_files()
        for path in () if verify else sorted(bundle._links):
            bundle._check_hash(path)
        _ = bundle.generation
        if verify:
            bundle.verify()
        return bundle

    @cached_property
    def policy(self) -> Policy:
        """The policy, read at first use; :class:`PolicyError` if it breaks its schema or does not fit the
        tower."""
        policy, layers = Policy.load(self.path(POLICY)), self.manifest.model.vision.layers
        if max(policy.layers) > layers:
            raise PolicyError(
                f"{shown(self.root)}: {POLICY}: layers: {max(policy.layers)} lies beyond the {layers} layers"
                " of the vision tower; rebuild the bundle with a policy for this model"
            )
        features = (each.shape[1] for each in self.graph(names.VISION).outputs if each.name == port.FEATURES)
        given = next(features)
        if given != len(policy.layers):
            raise PolicyError(
                f"{shown(self.root)}: {POLICY} reads {len(policy.layers)} vision layers, but graph"
                f" {names.VISION!a} gives {given}: it is not the policy that the bundle was built with; rebuild the"
                " bundle with it"
            )
        return policy

    @cached_property
    def generation(self) -> Generation:
        """How tokens are chosen unless a request says otherwise.

        A manifest that does not say leaves it to the checkpoint's ``generation_config.json``, if that is among the
        files. Raises :class:`Unreadable` or :class:`InconsistentManifest` if that file is no JSON object, or asks for
        what is not supported.
        """
        name = generation_config.NAME
        if self.manifest.generation is not None:
            return self.manifest.generation
        if name not in self.manifest.files:
            return Generation()
        source, format = f"{shown(self.root)}: {name}", Format(Unreadable, InconsistentManifest, "rebuild the bundle")
        found = generation_config.settings(_read_settings(self.root, name), source, format)
        for problem in found.beyond(self.manifest.model.decoder.vocab_size):
            raise InconsistentManifest(f"{source}: {problem}; rebuild the bundle")
        return found

    def path(self, relative: str) -> Path:
        """Where the listed file ``relative`` lies; :class:`MissingFile` for any other name."""
        if relative not in self.manifest.files:
            raise MissingFile(f"{shown(self.root)}: {relative!a} is not among the files that {MANIFEST} lists")
        return self.root / relative

    def graph(self, name: str) -> Graph:
        """The graph called ``name``; :class:`InconsistentManifest` if there is none."""
        for graph in self.manifest.graphs:
            if graph.name == name:
                return graph
        known = ", ".join(graph.name for graph in self.manifest.graphs) or "none"
        raise InconsistentManifest(f"{shown(self.root)}: {MANIFEST}: graphs: no {name!a} (there are: {known})")

    def verify(self, progress: ByteProgress | None = None) -> None:
        """Hash every file and read the policy; :class:`HashMismatch` names the first file that differs."""
        if became := self._check_files() - self._links:
            raise UnsafePath(
                f"{shown(self.root)}: {min(became)}: became a symbolic link after the bundle was opened; {COPY}"
            )
        done, total = 0, sum(entry.bytes for entry in self.manifest.files.values())

        def advance(count: int) -> None:
            nonlocal done
            done += count
            if progress is not None:
                progress(done, total)

        for path in self.manifest.files:
            self._check_hash(path, advance)
        _ = self.policy

    def _check_hash(self, path: str, on_bytes: Callable[[int], None] = lambda count: None) -> None:
        entry = self.manifest.files[path]
        place = os.path.realpath(self.root / path) if path in self._links else self.root / path
        try:
            digest = tree.sha256(Path(place), on_bytes)
        except OSError as error:
            raise Unreadable(f"{shown(self.root)}: {path}: cannot be read ({reason(error)})") from None
        if digest != entry.sha256:
            stated = f"but {MANIFEST} says {entry.sha256[:12]}...: the file was changed or damaged"
            told = f"SHA-256 is {digest[:12]}..., {stated}"
            if path in self._links:
                raise UnsafePath(f"{shown(self.root)}: {path}: is a symbolic link to a file whose {told}; {COPY}")
            raise HashMismatch(f"{shown(self.root)}: {path}: its {told}; copy or rebuild the bundle")

    def _check_files(self) -> frozenset[str]:
        """The folder holds the listed files, in the listed sizes, and no others that could be taken for one. Returns
        those that are links."""
        listed = self.manifest.files
        found, folders, links = tree.survey(self.root, {*listed, MANIFEST})
        if unlisted := found.keys() - listed.keys() - {MANIFEST}:
            raise UnlistedFile(
                f"{shown(self.root)}: {shown(min(unlisted))}: not listed in {MANIFEST}; move it elsewhere"
            )
        for path, entry in listed.items():
            if path in folders:
                raise NotAFile(
                    f"{shown(self.root)}: {path}: a folder, where {MANIFEST} lists a file; rebuild the bundle"
                )
            if path not in found:
                raise MissingFile(f"{shown(self.root)}: {path}: listed in {MANIFEST}, but missing; copy or rebuild it")
            if found[path].st_size != entry.bytes:
                told = (
                    f"{found[path].st_size} bytes, but {MANIFEST} says {entry.bytes}: the file was changed or cut short"
                )
                if path in links:
                    raise UnsafePath(f"{shown(self.root)}: {path}: is a symbolic link to a file of {told}; {COPY}")
                raise SizeMismatch(f"{shown(self.root)}: {path}: {told}; copy or rebuild the bundle")
        return links & listed.keys()


def read_manifest(root: Path) -> Manifest:
    """The manifest of the bundle at the absolute path ``root``, of which no other file is looked at."""
    return codec.loads(_read_text(root), f"{shown(root)}: {MANIFEST}", partial(_read_settings, root, SETTINGS))


def _read_text(root: Path) -> bytes:
    name = shown(root)
    try:
        if not os.path.lexists(root):
            leftovers.restore(Path(os.path.realpath(root)))
        if not root.exists():
            raise NotABundle(f"{name}: {_absence(root)}")
        if not root.is_dir():
            raise NotABundle(f"{name}: not a folder; a bundle is a folder that holds {MANIFEST}")
        with open(tree.open_own(root, MANIFEST), "rb") as file:
            data = file.read(MAX_MANIFEST_BYTES + 1)
    except FileNotFoundError:
        raise NotABundle(f"{name}: not a bundle: it holds no {MANIFEST}; make one with clasp-trt build") from None
    except (OSError, ValueError) as error:  # ValueError: a path with a NUL
        raise NotABundle(f"{name}: its {MANIFEST} cannot be read ({reason(error)})") from None
    if len(data) > MAX_MANIFEST_BYTES:
        raise ManifestSyntax(f"{name}: {MANIFEST}: larger than {MAX_MANIFEST_BYTES >> 20} MiB, so not a manifest")
    return data


def _read_settings(root: Path, file: str) -> dict[str, Any]:
    """Settings that older bundles keep in the checkpoint's own form."""
    name = f"{shown(root)}: {file}"
    try:
        with open(tree.open_own(root, file), "rb") as opened:
            data = opened.read(MAX_SETTINGS_BYTES + 1)
        if len(data) > MAX_SETTINGS_BYTES:
            raise ValueError(f"larger than {MAX_SETTINGS_BYTES} bytes")
        value = json.loads(data)
    except FileNotFoundError:
        raise MissingFile(f"{name}: missing, but an older bundle needs it; copy or rebuild it") from None
    except RecursionError:
        raise Unreadable(f"{name}: cannot be read as JSON (nested too deeply); rebuild the bundle") from None
    except (OSError, ValueError) as error:
        raise Unreadable(f"{name}: cannot be read as JSON ({reason(error)}); rebuild the bundle") from None
    if not isinstance(value, dict):
        raise Unreadable(f"{name}: expected a JSON object, got {brief(value)}; rebuild the bundle")
    return value


def _absence(root: Path) -> str:
    asides = leftovers.siblings(Path(os.path.realpath(root)), leftovers.REPLACED)
    if asides:
        return f"is being replaced (its older state is {shown(asides[0].name)} beside it); try again in a moment"
    return "no such folder; make a bundle with clasp-trt build"
