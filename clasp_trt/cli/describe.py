"""A bundle in words and in JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from clasp_trt.chain import selections
from clasp_trt.cli.output import megabytes, print_json

if TYPE_CHECKING:
    from clasp_trt.bundle import Bundle, Engine, Engines, Manifest, Source
    from clasp_trt.generation import Generation
    from clasp_trt.policy import Policy

_KINDS = {"prior": "uncalibrated prior", "calibrated": "calibrated", "user": "written by a user, uncalibrated"}


def tell(bundle: Bundle, as_json: bool) -> None:
    """Prints what a bundle is."""
    if as_json:
        print_json(describe(bundle))
    else:
        click.echo(summary(bundle))


def describe(bundle: Bundle) -> dict[str, Any]:
    """What ``inspect --json`` prints: the manifest, what follows from it, and the policy's provenance."""
    from clasp_trt.bundle.codec import dumps

    return {
        "path": str(bundle.root),
        "bytes": _size(bundle),
        "mean_visual_tokens": bundle.manifest.schedule.mean_tokens,
        "text_context": bundle.manifest.text_context,
        "policy": {
            "calibrated": bundle.policy.calibrated,
            "provenance": dict(bundle.policy.provenance),
            "layers": list(bundle.policy.layers),
            "unreached": list(_unreached(bundle)),
        },
        "router": _router(bundle),
        "manifest": json.loads(dumps(bundle.manifest)),
    }


def summary(bundle: Bundle) -> str:
    """A few lines for people."""
    manifest, policy = bundle.manifest, bundle.policy
    model, schedule = manifest.model, manifest.schedule
    layers = ", ".join(map(str, policy.layers))
    vision, decoder = model.vision, model.decoder
    by = "" if manifest.method == selections.DEFAULT else f", by {manifest.method}"
    read = f"policy     reads vision layers {layers} ({calibration(policy)})"
    lines = [
        f"{bundle.root}: {model.name} ({model.model_type}), {manifest.precision}, "
        f"{manifest.backend} on {manifest.target}, {megabytes(_size(bundle))}",
        f"vision     {vision.layers} layers, {_pixels(manifest)}, {_visual_tokens(manifest)}",
        read,
        f"decoder    {decoder.layers} layers, width {decoder.width}, {decoder.heads} heads "
        f"({decoder.kv_heads} KV), context {_context(manifest)}",
        f"pruning    {schedule.describe()}{by}",
    ]
    if model.source is not None:
        lines.insert(1, f"source     {_source(model.source)}")
    if manifest.quantization:
        by = "" if manifest.calibration is None else f"; decoder by {manifest.calibration}"
        lines.insert(-1, f"weights    {manifest.quantization}{by}")
    if manifest.sparse is not None:
        lines.insert(-1, f"zeros      {manifest.sparse}")
    brought, unreached = _router(bundle), _unreached(bundle)
    if brought is not None or unreached:
        missing = f"reaches no {', '.join(map(repr, unreached))}; name it with run --category" if unreached else ""
        kind = "" if brought is None else f"{brought['kind']}, {megabytes(int(str(brought['bytes'])))}"
        lines.insert(lines.index(read) + 1, f"router     {'; '.join(part for part in (kind, missing) if part)}")
    if bundle.generation.effective():
        lines.append(f"tokens     {chosen(bundle.generation)}")
    for segment in manifest.segments:
        lines.append(
            f"{segment.graph:<10} layers {segment.first_layer}-{segment.last_layer}, {segment.capacity} KV slots"
        )
    if manifest.slots > 1:
        lines.append(f"slots      {manifest.slots} requests are answered together")
    if manifest.step_rows == 1:
        lines.append("steps      of one token: no proposed ones are verified")
    if manifest.engines is not None:
        lines.append(_engines(manifest, manifest.engines))
    return "\n".join(lines)


def chosen(generation: Generation) -> str:
    """How tokens are chosen: greedy or sampled, and the settings that matter; of ids how many."""
    settings = generation.effective()
    kind = "sampled" if settings.pop("do_sample", False) else "greedy"
    words = [f"{name} {len(value) if isinstance(value, list) else value}" for name, value in settings.items()]
    return f"{kind}{': ' if words else ''}{', '.join(words)}"


def _source(source: Source) -> str:
    """The repository, and what is known of its state."""
    revision = "" if source.revision is None else f" at {source.revision}"
    return f"{source.repository}{revision}{'' if source.commit is None else f', commit {source.commit}'}"


def _pixels(manifest: Manifest) -> str:
    from clasp_trt.bundle import Grid, Square

    processor = manifest.media.image.processor
    if isinstance(processor, Grid):
        return f"patches of {processor.patch} px"
    if not isinstance(processor, Square):
        return f"tiles of {processor.tile} px"
    height, width = processor.usual_size
    return f"{width} px" if width == height else f"{width}x{height} px"


def _visual_tokens(manifest: Manifest) -> str:
    least, _, most = manifest.model.tokens
    number, images = str(most) if least == most else f"{least}-{most}", manifest.media.images
    return f"{number} tokens" if images == 1 else f"{number} tokens of up to {images} images"


def profiles(engine: Engine) -> list[str]:
    """One line for each profile of an engine: what each size may be, and what it is tuned for."""
    return [
        f"  {profile.name:<8} "
        + ", ".join(
            f"{name} {least}" if least == most else f"{name} {least}-{most} (tuned for {usual})"
            for name, (least, usual, most) in profile.sizes.items()
        )
        for profile in engine.profiles
    ]


def _engines(manifest: Manifest, engines: Engines) -> str:
    size = sum(manifest.files[engine.path].bytes for engine in engines.engines)
    return (
        f"engines    {len(engines.engines)} by {manifest.backend} {engines.version} for SM {', '.join(engines.sms)}, "
        f"{megabytes(size)}, prompts of up to {engines.max_prompt} tokens of text{_plugins(engines)}"
    )


def _plugins(engines: Engines) -> str:
    held = sum(bool(engine.plugins) for engine in engines.engines)
    return f", {held} with plugins" if held else ""


def calibration(policy: Policy) -> str:
    """Where a policy's numbers come from; a prior's are not the paper's, and nobody may take them for it."""
    return _KINDS[str(policy.provenance["kind"])]


def _context(manifest: Manifest) -> str:
    whole, text = manifest.max_context, manifest.text_context
    return str(whole) if text == whole else f"{whole} with an image, {text} for text alone"


def _router(bundle: Bundle) -> dict[str, object] | None:
    """The router that a bundle brings; None: it is routed by rules."""
    from clasp_trt.runtime.routing.folder import RouterSpec, bundled

    folder = bundled(bundle)
    if folder is None:
        return None
    spec = RouterSpec.read(folder)
    size = sum(bundle.manifest.files[path.name].bytes for path in spec.files())
    return {"kind": spec.kind, "bytes": size}


def _unreached(bundle: Bundle) -> tuple[str, ...]:
    """The categories that the bundle's router never leads to."""
    from clasp_trt.runtime.routing.folder import bundled, unreachable

    return unreachable(bundle.policy, bundled(bundle))


def _size(bundle: Bundle) -> int:
    return sum(entry.bytes for entry in bundle.manifest.files.values())
