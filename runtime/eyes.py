"""From pictures to visual tokens: preprocess, vision graph, fused projector; and what was seen before is kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clasp_trt.bundle import Bundle
from clasp_trt.chain import names, port
from clasp_trt.errors import BackendError, ImageError
from clasp_trt.runtime.backends.interface import Backend, Runner, Tensor
from clasp_trt.runtime.encoded import Encoded, Eye, Fresh, Picture, Shown
from clasp_trt.runtime.feature_cache import FeatureCache
from clasp_trt.runtime.fitting import check_clips, check_frames
from clasp_trt.runtime.media.clip import Clip, ClipSource, load_clip
from clasp_trt.runtime.media.image import load_image
from clasp_trt.runtime.media.processors import processor
from clasp_trt.runtime.media.processors.clips import Filmed, clip_processor
from clasp_trt.runtime.media.seen import Seen
from clasp_trt.runtime.timing import Timer


class Visual(NamedTuple):
    """All visual tokens of a request ``[1, tokens, width]``, what the tower says of each ``[1, tokens]``, and what it
    gives the decoder's first layers, if it gives them something; None of no picture. ``kept`` int64 ``[tokens]``,
    ascending, says which of the pictures' tokens these are, where the tower dropped some."""

    tokens: Tensor | None
    saliency: Tensor | None
    deepstack: Tensor | None
    kept: NDArray[np.int64] | None = None


class Eyes:
    """The graphs of a bundle that come before its decoder. Pictures are kept in ``cache_bytes`` of the backend's memory
    as the vision graph saw them, which is the same for every category."""

    def __init__(self, bundle: Bundle, backend: Backend[Any], cache_bytes: int) -> None:
        self._bundle, self._features = bundle, FeatureCache(cache_bytes)
        self._backend: Backend[Tensor] = backend
        self._loaded: dict[str, Runner[Tensor]] = {}
        media = bundle.manifest.media
        self._process = processor(media.image.processor)
        self._several = None if media.several is None else processor(media.several)
        self._clips = None if media.video is None else clip_processor(media.video.processor)
        self._eye = self._watching = self._load(names.VISION, names.PROJECTOR)
        if bundle.manifest.own_to_clips:
            self._watching = self._load(*(bundle.manifest.for_clips(name) for name in names.OF_CLIPS))

    def _load(self, vision: str, projector: str) -> Eye:
        """The graphs of these names, each loaded once."""
        for name in (vision, projector):
            if name not in self._loaded:
                graph = self._bundle.graph(name)
                self._loaded[name] = self._backend.load(self._bundle.path(graph.path), graph)
        taken = tuple(each.name for each in self._bundle.graph(projector).inputs)
        return Eye(self._loaded[vision], self._loaded[projector], taken)

    def process(self, image: Image.Image, *, several: bool = False) -> Seen:
        """What the model sees of an image, alone or as one of several; nothing is computed of it."""
        return self._several(image) if several and self._several is not None else self._process(image)

    def see(self, image: Picture, timer: Timer, *, several: bool = False) -> Encoded | Fresh:
        """The picture as the vision graph saw it before, or else as it will, alone or as one of several. Raises
        :class:`ImageError`."""
        apart = several and self._several is not None
        if isinstance(image, Encoded):
            if image.apart != apart:
                raise ImageError(
                    f"the image was encoded as {'one of several' if image.apart else 'the only one'} of a request, and "
                    f"the model sees it otherwise; encode it with several={several}"
                )
            return image
        with timer.step("preprocess"):
            picture = load_image(image)
            key = self._features.key(picture, apart=apart)
            found = self._features.get(key)
            return found or Fresh(self.process(picture, several=several), key, self._eye, apart)

    def load_clip(self, source: ClipSource, *, frames: int | None = None, fps: float = 1.0) -> Clip:
        """The frames that the model takes of a clip, or ``frames`` of them. Raises :class:`ImageError`."""
        check_clips(1, self._bundle)
        video = self._bundle.manifest.media.video
        assert video is not None
        clip = load_clip(source, frames=frames, fps=fps, sampling=video.sampling)
        check_frames(len(clip.frames), self._bundle)
        return clip

    def watch(self, source: ClipSource | Shown, timer: Timer) -> Shown:
        """The clip, each of its steps as the vision graph saw it before, or else as it will. Raises
        :class:`ImageError`."""
        if isinstance(source, Shown):
            return source
        with timer.step("preprocess"):
            filmed = self.film(self.load_clip(source))
            keys = (self._features.key_of({**seen.vision, **seen.pack}) for seen in filmed.steps)
            steps = tuple(
                self._features.get(key) or Fresh(seen, key, self._watching)
                for seen, key in zip(filmed.steps, keys, strict=True)
            )
            return Shown(steps, filmed.blocks)

    def encode_clip(self, source: ClipSource, timer: Timer) -> Shown:
        """The clip, each of its steps as the vision graph sees it now, or saw it before."""
        watched = self.watch(source, timer)
        return replace(watched, steps=tuple(self.encode(step, timer) for step in watched.steps))

    def film(self, clip: Clip) -> Filmed:
        """What the model sees of a clip; nothing is computed of it."""
        if self._clips is None:
            raise ImageError("the bundle takes no clips; give frames as images")
        return self._clips(clip)

    def encode(self, picture: Encoded | Fresh, timer: Timer) -> Encoded:
        """Runs the vision graph, unless it saw the picture already."""
        if isinstance(picture, Encoded):
            return picture
        if (known := self._features.get(picture.key)) is not None:  # of the same request
            return known
        upload, seen = self._backend.upload, picture.seen
        with timer.step(names.VISION):
            outputs = picture.eye.vision({name: upload(array) for name, array in seen.vision.items()}, {})
            pack = {name: upload(array) for name, array in seen.pack.items()}
        held = sum(self._backend.nbytes(tensor) for tensor in (*outputs.values(), *pack.values()))
        held += sum(block.boxes.nbytes for block in seen.blocks)
        encoded = Encoded(outputs, pack, seen.blocks, picture.eye, held, picture.apart)
        self._features.put(picture.key, encoded, held)
        return encoded

    def look(self, pictures: Sequence[Encoded | Fresh], alpha: NDArray[np.float32], timer: Timer) -> Visual:
        """What :meth:`project` makes of each picture, one after another along the tokens."""
        if not pictures:
            return Visual(None, None, None)
        encoded = [self.encode(each, timer) for each in pictures]
        visual, saliency = zip(*(self.project(each, alpha, timer) for each in encoded), strict=True)
        stacked = [each.outputs[port.DEEPSTACK] for each in encoded if port.DEEPSTACK in each.outputs]
        with timer.step("project"):
            join = self._backend.join
            joined = join(visual), join(saliency), join(stacked) if stacked else None
            return Visual(*joined, self._kept(encoded))

    def _kept(self, encoded: Sequence[Encoded]) -> NDArray[np.int64] | None:
        """Which tokens of all pictures the tower left; None where it leaves all."""
        thinning = self._bundle.manifest.schedule.tower
        if thinning is None:
            return None
        found, start = list[NDArray[np.int64]](), 0
        for each in encoded:
            kept = self._backend.download(each.outputs[port.KEPT])[0]
            if (np.diff(kept, prepend=-1) < 1).any() or kept[-1] >= thinning.of:
                raise BackendError(
                    f"the tower kept tokens that are not ascending, or outside of the {thinning.of} of a picture; "
                    "rebuild the bundle"
                )
            found.append(kept + start)
            start += thinning.of
        return np.concatenate(found)

    def project(self, image: Encoded, alpha: NDArray[np.float32], timer: Timer) -> tuple[Tensor, Tensor]:
        """Visual tokens ``[1, tokens, width]``, layers fused by the weights ``alpha`` ``[1, layers]``, and what the
        tower says of each, ``[1, tokens]``."""
        if image.eye not in (self._eye, self._watching):
            raise ImageError("the image was encoded by another loaded bundle; encode it with this pipeline")
        with timer.step("project"):
            given = {**image.outputs, **image.pack, port.ALPHA: self._backend.upload(alpha)}
            # the saliency too, where patches are not tokens yet
            projected = image.eye.projector({name: given[name] for name in image.eye.taken}, {})
        return projected[port.VISUAL], projected.get(port.TOKEN_SALIENCY, image.outputs[port.CLS_SALIENCY])

    def forget(self) -> None:
        """Lets all pictures go."""
        self._features.clear()
