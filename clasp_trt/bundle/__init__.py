"""The bundle: a self-contained, relocatable folder that a runtime executes.

``docs/bundle-format.md`` specifies it. :class:`Bundle` opens one, :func:`write` makes one, and every
malformation has its own :class:`~clasp_trt.errors.BundleError`.
"""

from __future__ import annotations

from clasp_trt.bundle.clips import Clips, Frames, Pairs, Stills
from clasp_trt.bundle.errors import (
    HashMismatch,
    InconsistentManifest,
    ManifestField,
    ManifestSyntax,
    MissingFile,
    NotABundle,
    NotAFile,
    SchemaVersion,
    SizeMismatch,
    UnknownKind,
    UnlistedFile,
    Unreadable,
    UnsafePath,
)
from clasp_trt.bundle.manifest import (
    MANIFEST,
    POLICY,
    PORTABLE,
    SCHEMA,
    DecoderDims,
    Engine,
    Engines,
    FileEntry,
    Graph,
    Manifest,
    ModelInfo,
    Profile,
    Segment,
    Source,
    VisionDims,
)
from clasp_trt.bundle.media import (
    Anyres,
    Grid,
    Layout,
    Media,
    Medium,
    Processor,
    Run,
    Sequential,
    Spatial,
    Square,
    Tiles,
)
from clasp_trt.bundle.mixed import Mixed
from clasp_trt.bundle.reader import MAX_MANIFEST_BYTES, Bundle
from clasp_trt.bundle.split import Longest, Ratio
from clasp_trt.bundle.writer import Writer, write
from clasp_trt.tensors import DTYPES, TensorSpec

__all__ = [
    "DTYPES",
    "MANIFEST",
    "MAX_MANIFEST_BYTES",
    "POLICY",
    "PORTABLE",
    "SCHEMA",
    "Anyres",
    "Bundle",
    "Clips",
    "DecoderDims",
    "Engine",
    "Engines",
    "FileEntry",
    "Frames",
    "Graph",
    "Grid",
    "HashMismatch",
    "InconsistentManifest",
    "Layout",
    "Longest",
    "Manifest",
    "ManifestField",
    "ManifestSyntax",
    "Media",
    "Medium",
    "MissingFile",
    "Mixed",
    "ModelInfo",
    "NotABundle",
    "NotAFile",
    "Pairs",
    "Processor",
    "Profile",
    "Ratio",
    "Run",
    "SchemaVersion",
    "Segment",
    "Sequential",
    "SizeMismatch",
    "Source",
    "Spatial",
    "Square",
    "Stills",
    "TensorSpec",
    "Tiles",
    "UnknownKind",
    "UnlistedFile",
    "Unreadable",
    "UnsafePath",
    "VisionDims",
    "Writer",
    "write",
]
