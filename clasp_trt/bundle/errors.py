"""The malformations of a bundle, one class each; ``docs/bundle-format.md`` says which rule raises which."""

from __future__ import annotations

from clasp_trt.errors import BundleError


class NotABundle(BundleError):
    """Nothing there, not a folder, or a folder without a regular ``clasp.json``."""


class Unreadable(BundleError):
    """The operating system refused to read a part of the bundle."""


class ManifestSyntax(BundleError):
    """``clasp.json`` is not strict JSON: encoding, truncation, duplicate keys, NaN, depth or size."""


class SchemaVersion(BundleError):
    """A bundle of another schema than those this version reads."""


class ManifestField(BundleError):
    """A field of ``clasp.json`` that is unknown, absent, of a wrong type or out of its range."""


class InconsistentManifest(BundleError):
    """Fields that are each legal but contradict one another."""


class UnknownKind(BundleError):
    """A processor, layout or positions of a kind that this version does not know."""


class UnsafePath(BundleError):
    """A path that may leave the bundle or does not travel: absolute, ``..``, backslash, symbolic link."""


class NotAFile(BundleError):
    """A folder, FIFO, socket or device where a regular file belongs."""


class MissingFile(BundleError):
    """A file that the manifest lists and the folder lacks."""


class UnlistedFile(BundleError):
    """A file in the folder that the manifest does not list."""


class SizeMismatch(BundleError):
    """A file whose size differs from the manifest's."""


class HashMismatch(BundleError):
    """A file whose SHA-256 differs from the manifest's."""
