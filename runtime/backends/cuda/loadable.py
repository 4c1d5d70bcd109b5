"""Whether engines can be loaded: told from the manifest, since TensorRT may die of an engine that is not its own."""

from __future__ import annotations

from clasp_trt.brief import shown
from clasp_trt.bundle.reader import Bundle
from clasp_trt.errors import BackendError


def check_loadable(bundle: Bundle, backend: str, version: str, sm: str | None) -> None:
    """Verifies the files, and that the engines are for library ``version`` of ``backend`` and for a GPU ``sm``.

    ``sm`` is the compute capability of the GPU here, such as ``"8.9"``, or None without one. To be called before an
    engine is given to TensorRT. Whoever loads engines with plugins registers these first
    (:func:`clasp_trt.plugins.register`). Raises :class:`BackendError`, or a :class:`~clasp_trt.errors.BundleError` for
    a damaged file.
    """
    name, manifest = shown(bundle.root), bundle.manifest
    engines = manifest.engines
    again = f"build the portable bundle, or the checkpoint, again with --target {manifest.target}"
    if engines is None or manifest.backend != backend:
        raise BackendError(
            f"{name} is a bundle for backend {manifest.backend}, not for {backend}; {again} --backend {backend}"
        )
    if engines.version != version:
        raise BackendError(
            f"{name}: its engines were built by {backend} {engines.version}, and run under that version alone, but "
            f"{version} is installed; install {engines.version}, or {again}"
        )
    if sm not in engines.sms:
        here = "there is no CUDA GPU here" if sm is None else f"the GPU here is SM {sm}"
        raise BackendError(
            f"{name}: its engines are for SM {', '.join(engines.sms)}, but {here}; {again}, for this GPU"
        )
    bundle.verify()
