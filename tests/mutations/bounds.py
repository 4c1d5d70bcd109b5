"""Bounds that could be taken away, and the tests of their own room that must then fail within a minute."""

from __future__ import annotations

from tests.mutations.table import Mutation

DEADLINE, FETCH, URLS = (f"runtime/media/{name}.py" for name in ("deadline", "fetch", "urls"))
IMAGE, DECODING = "runtime/media/image.py", "runtime/media/decoding.py"
WORK, SANDBOX = "runtime/text/work.py", "runtime/text/chat_sandbox.py"
READER, TREE, WRITER = (f"clasp_trt/bundle/{name}.py" for name in ("reader", "tree", "writer"))
IN_FETCH, IN_URLS = ("tests/runtime/media/test_fetch.py",), ("tests/runtime/media/test_urls.py",)
IN_IMAGE, IN_DECODING = ("tests/runtime/media/test_image.py",), ("tests/runtime/media/test_decoding.py",)
IN_CHAT = ("tests/runtime/text/test_chat_bombs.py",)
TRAVELLED, IN_WORK = ("tests/bundle/test_travelled.py",), ("tests/runtime/text/test_work.py",)
NEEDED = 'is_shortage(error) or "out of memory" in str(error) or not _available(_needed(image))'
SOUGHT = "any(isinstance(text, str) and len(text) > _LONGEST_SOUGHT for text in texts)"
UNSAFE = "elif not _within(target, real) or target in entered:"

BOUNDS = (
    Mutation("a wait for each byte", DEADLINE, "self._sock.settimeout(self._deadline.left())", "pass", IN_FETCH),
    Mutation("a name without end", DEADLINE, "thread.join(deadline.left())", "thread.join()", IN_FETCH),
    Mutation(
        "a body without end", FETCH, "while len(data) + (response.length or 0) <= limit and (", "while (", IN_FETCH
    ),
    Mutation("a body that unpacks without end", FETCH, "(data, limit + 1 - len(made))", "(data)", IN_FETCH),
    Mutation("a password for every host", URLS, " and target.origin == self.origin", "", IN_URLS),
    Mutation("a password in an error", URLS, 'rest = rest[authority.rfind("@") + 1 :]', "pass", IN_URLS),
    Mutation("text that is copied first", IMAGE, 'check_length(text, MAX_BYTES, "the text given")', "pass", IN_IMAGE),
    Mutation("a pipe without end", IMAGE, "if size > MAX_BYTES:", "if size > 1 << 27:", IN_IMAGE),
    Mutation("files of strangers", IMAGE, '"files" in sources and len(text)', "len(text)", IN_IMAGE),
    Mutation("paths of strangers", IMAGE, '_allow("files", sources, "a path")', "pass", IN_IMAGE),
    Mutation("URLs of strangers", IMAGE, '_allow("urls", sources, "an http(s) URL")', "pass", IN_IMAGE),
    Mutation("pixels without end", DECODING, "if width * height > max_pixels:", "if False:", IN_DECODING),
    Mutation("icons without end", DECODING, "in icons.sizes(file)", "in ()", IN_DECODING),
    Mutation("tiles without end", DECODING, "_check_pixels(*_tile_size(image), what, max_pixels)", "pass", IN_DECODING),
    Mutation(
        "a JPEG that is not reduced", DECODING, "_reduce(image, max_pixels)\n        return", "return", IN_DECODING
    ),
    Mutation("a shortage that is damage", DECODING, NEEDED, "False", IN_DECODING),
    Mutation("deep samples cut off", DECODING, 'image.mode != "F" and not', "True or not", IN_DECODING),
    Mutation("values without end", WORK, "if self._made > MAX_MADE:", "if False:", IN_WORK),
    Mutation("rendering without end", WORK, "if time.monotonic() > self._deadline:", "if False:", IN_WORK),
    Mutation("searches from the end", SANDBOX, SOUGHT, "False", IN_CHAT),
    Mutation("methods of numbers", SANDBOX, "attr in names and super()", "super()", IN_CHAT),
    Mutation(
        "a link to anything",
        READER,
        "for path in () if verify else sorted(bundle._links):",
        "for path in ():",
        TRAVELLED,
    ),
    Mutation("a folder elsewhere", TREE, UNSAFE, UNSAFE.replace("not _within(target, real) or ", ""), TRAVELLED),
    Mutation("a folder in itself", TREE, UNSAFE, UNSAFE.replace(" or target in entered", ""), TRAVELLED),
    Mutation("a manifest elsewhere", TREE, " or not _within(target, str(home))", "", TRAVELLED),
    Mutation("what lies aside is removed", WRITER, "_check_alone(destination)\n            ", "", TRAVELLED),
)
