"""Whether a policy, a method and a request's images fit a bundle."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from clasp_trt.bundle import Bundle
from clasp_trt.chain import port
from clasp_trt.chain.selections import DEFAULT, READS
from clasp_trt.errors import BackendError, ImageError, MethodError, PolicyError, PromptError
from clasp_trt.methods import Method
from clasp_trt.policy import Policy
from clasp_trt.runtime.backends.interface import Backend

GIVEN = frozenset({port.SALIENCY, port.GRAM})
"""What a bundle's graphs alone can give; the rest is known on the host."""


def check_images(count: int, bundle: Bundle) -> None:
    """Raises :class:`ImageError` for a request with more images than the bundle takes."""
    most = bundle.manifest.media.images
    if count > most:
        taken = "1 image" if most == 1 else f"{most} images"
        raise ImageError(
            f"{count} images came with the prompt, but the bundle takes {taken} in a request; give fewer, or build it "
            f"with --max-images {count}"
        )


def check_clips(count: int, bundle: Bundle) -> None:
    """Raises :class:`ImageError` for a request with a clip where the bundle takes none, and with more than one."""
    if count and bundle.manifest.media.video is None:
        raise ImageError(
            f"{bundle.root} takes no clips: {bundle.manifest.model.name} ({bundle.manifest.model.model_type}) has no "
            "media.video; give frames as images"
        )
    if count > 1:
        raise ImageError(f"{count} clips came with the prompt, but a request has one; ask about one after the other")


def check_frames(count: int, bundle: Bundle) -> None:
    """Raises :class:`ImageError` for a clip of more frames than the bundle takes."""
    video = bundle.manifest.media.video
    if video is not None and count > (most := video.sampling.frames):
        raise ImageError(
            f"the clip has {count} frames, but the bundle takes {most} of one; take fewer (--frames {most}), or build "
            f"it with --max-frames {count}"
        )


def check_tokens(count: int, bundle: Bundle) -> None:
    """Raises :class:`ImageError` for more visual tokens than the bundle takes, as pictures beside a clip may have."""
    if count > (most := bundle.manifest.model.tokens[2]):
        raise ImageError(
            f"images and video have {count} visual tokens together, but the bundle takes {most}; give fewer images, or "
            "fewer frames of the video"
        )


def check_proposed(count: int, bundle: Bundle) -> None:
    """Raises :class:`PromptError` for more proposed tokens a step than the graphs or engines of the bundle compute."""
    most = bundle.manifest.step_rows - 1
    if count > most:
        raise PromptError(
            f"{count} proposed tokens a step are more than the {most} that {bundle.root} can verify; "
            + ("give fewer" if most else "build it again, with this release, or propose none")
        )


def check_drafted(count: int, *, drafts: bool) -> None:
    """Raises :class:`PromptError` for tokens of a draft bundle where none was given."""
    if count and not drafts:
        raise PromptError(
            f"draft is {count}, but there is no draft bundle; load the pipeline with one (draft=), or propose by lookup"
        )


def check_slots(slots: int | None, bundle: Bundle, backend: Backend[Any]) -> int:
    """How many requests ``bundle`` is to answer together: ``slots``, or what it was built for. Raises
    :class:`BackendError` for a number that its graphs or engines do not take."""
    manifest = bundle.manifest
    count = manifest.slots if slots is None else slots
    if type(count) is not int or count < 1:
        raise BackendError(f"slots is {count!r}, expected a whole number of at least 1")
    if count > 1 and not manifest.has_slots:
        raise BackendError(
            f"{bundle.root} is of a release whose graphs answer one request at a time; build it again, or give 1 slot"
        )
    most = backend.most_slots
    if most is not None and count > most:
        raise BackendError(
            f"{count} slots are more than the {most} that {bundle.root} can be given here; give fewer, or build it for "
            f"the CPU, or engines with --slots {count}"
        )
    return count


def check_method(method: Method, bundle: Bundle) -> None:
    """Raises :class:`MethodError` for a method that the bundle cannot follow."""
    stages, layer = bundle.manifest.schedule.stages, bundle.manifest.model.vision.feature_layer
    if not stages and method.needs_stages:
        raise MethodError(
            f"method {method.name} prunes, but the bundle has no stages; build it with --prune-at decoder or encoder"
        )
    if method.raters is not None and any(stage.after_layer < 0 for stage in stages):
        raise MethodError(f"method {method.name} rates by the prompt's attention; build with --prune-at decoder")
    compiled = bundle.manifest.method
    missing = (method.reads - READS[compiled]) & GIVEN
    if stages and missing:
        raise MethodError(
            f"method {method.name} reads {' and '.join(sorted(missing))}, which graphs made for method {compiled} do "
            f"not give; build with --method {method.form or DEFAULT}"
        )
    if not method.fused and layer not in bundle.policy.layers:
        raise MethodError(
            f"method {method.name} reads vision layer {layer}, which the bundle does not hold "
            f"(it has {_numbers(bundle.policy.layers)}); build it with a policy that names layer {layer}"
        )


def follows(method: Method, bundle: Bundle) -> bool:
    """Whether :func:`check_method` lets it pass."""
    try:
        check_method(method, bundle)
    except MethodError:
        return False
    return True


def columns(wanted: Sequence[int], exported: Sequence[int]) -> list[int]:
    """Where the layers of a policy are among those that the bundle's vision graph gives. Raises
    :class:`PolicyError` if one is not."""
    missing = [layer for layer in wanted if layer not in exported]
    if missing:
        raise PolicyError(
            f"the policy reads vision layers {_numbers(missing)}, but the bundle holds {_numbers(exported)}; "
            "build the bundle with this policy"
        )
    return [list(exported).index(layer) for layer in wanted]


def routing(policy: Policy) -> tuple[float, tuple[str, ...]]:
    """What a router takes from a policy."""
    return policy.threshold, tuple(category.name for category in policy.categories)


def _numbers(values: Sequence[int]) -> str:
    return ", ".join(map(str, values))
