"""Jinja for chat templates from strangers: the environment of ``transformers``, with the work it may do
bounded.

The sandbox keeps a template from reaching Python. The bounds keep honest mistakes and simple bombs from
hanging the process: iterations and macro calls are counted against a limit and a deadline, operators that
multiply are checked before they run, and filters and methods whose only use is padding are absent. They are
no prison: a bundle's template is to be trusted as much as its graphs are.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

MAX_STEPS = 200_000
MAX_SECONDS = 2.0
MAX_CHARACTERS = 4_000_000
"""Longest string or list that an operator may make, and longest rendered prompt."""

_PADDING_FILTERS = (
    *("batch", "center", "filesizeformat", "format", "indent", "pprint"),
    *("random", "round", "slice", "urlize", "wordwrap", "xmlattr"),
)
_PADDING_METHODS = frozenset({"center", "expandtabs", "format", "format_map", "ljust", "rjust", "translate", "zfill"})


class BoundExceeded(jinja2.TemplateRuntimeError):
    """The template did more than a chat template has any reason to."""


class ChatEnvironment(ImmutableSandboxedEnvironment):
    """Compile with :meth:`template`, render within bounds with :meth:`render`. One thread at a time."""

    intercepted_binops = frozenset({"*", "**", "%", "+"})

    def __init__(self) -> None:
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols])
        self._steps = 0
        self._deadline = 0.0
        for name in _PADDING_FILTERS:
            del self.filters[name]
        self.filters.update(tojson=_tojson, join=_join, replace=_replace, indent=_indent)
        self.globals.pop("lipsum")
        self.globals.update(
            raise_exception=_raise_exception,
            strftime_now=lambda format: datetime.now().strftime(str(format)[:200]),
            _clasp_step=self._step,
            _clasp_join=_concatenate,
        )

    def template(self, source: str) -> jinja2.Template:
        """Compile `source` to count its iterations and macro calls; raises what jinja2 and Python raise."""
        tree = _Bounding().visit(self.parse(source))
        return self.template_class.from_code(self, self.compile(tree), self.make_globals(None))

    def render(self, template: jinja2.Template, values: Mapping[str, object]) -> str:
        """Render; raises :class:`BoundExceeded` and whatever the template stumbles over."""
        self._steps, self._deadline = 0, time.monotonic() + MAX_SECONDS
        pieces: list[str] = []
        length = 0
        for piece in template.generate(**values):
            self._step()
            pieces.append(piece)
            length += len(piece)
            if length > MAX_CHARACTERS:
                raise BoundExceeded(f"over {MAX_CHARACTERS} characters of output")
        return "".join(pieces)

    def _step(self) -> str:
        self._steps += 1
        if self._steps > MAX_STEPS:
            raise BoundExceeded(f"over {MAX_STEPS} loop iterations")
        if time.monotonic() > self._deadline:
            raise BoundExceeded(f"over {MAX_SECONDS:.0f} s of rendering")
        return ""

    def call_binop(self, context: jinja2.runtime.Context, operator: str, left: Any, right: Any) -> Any:
        """Operators that make long things of short ones, checked before they run."""
        if operator == "+":
            _check(_length(left) + _length(right))
        elif operator == "*":
            _check(_length(left) * _count(right), _count(left) * _length(right))
            if isinstance(left, int) and isinstance(right, int):
                _check(left.bit_length() + right.bit_length())
        elif operator == "**":
            _check(_count(right) * max(1, left.bit_length() if isinstance(left, int) else 1))
        elif isinstance(left, str):  # "%9999999999d" % 1
            raise BoundExceeded("the % operator on text is not supported; use ~ or +")
        return super().call_binop(context, operator, left, right)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """As the sandbox, and no padding methods of strings."""
        return super().is_safe_attribute(obj, attr, value) and not (isinstance(obj, str) and attr in _PADDING_METHODS)

    def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        """As the sandbox; ``join`` and ``replace`` of strings are measured first."""
        owner, name = getattr(__obj, "__self__", None), getattr(__obj, "__name__", "")
        if isinstance(owner, str) and name == "join" and args:
            return _join(args[0], owner)
        if isinstance(owner, str) and name == "replace" and len(args) >= 2:
            return _replace(owner, *args)
        return super().call(__context, __obj, *args, **kwargs)


class _Generation(Extension):
    """``{% generation %}`` marks what the assistant wrote, for training; here it is plain."""

    tags = {"generation"}  # noqa: RUF012 - jinja2's declaration

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _Bounding(NodeTransformer):
    """Puts a step at the head of each loop body and macro, and measures ``~``."""

    def visit_For(self, node: nodes.For) -> nodes.For:
        self.generic_visit(node)
        node.body.insert(0, _call_step())
        if node.test is not None:  # a filtered loop may pass over everything without entering its body
            node.test = nodes.And(nodes.Not(_step_expression()), node.test)
        return node

    def visit_Macro(self, node: nodes.Macro) -> nodes.Macro:
        self.generic_visit(node)
        node.body.insert(0, _call_step())
        return node

    def visit_CallBlock(self, node: nodes.CallBlock) -> nodes.CallBlock:
        self.generic_visit(node)
        node.body.insert(0, _call_step())
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Call:
        self.generic_visit(node)
        return nodes.Call(nodes.Name("_clasp_join", "load"), node.nodes, [], None, None)


def _step_expression() -> nodes.Call:
    return nodes.Call(nodes.Name("_clasp_step", "load"), [], [], None, None)


def _call_step() -> nodes.ExprStmt:
    return nodes.ExprStmt(_step_expression())


def _length(value: object) -> int:
    return len(value) if isinstance(value, (str, list, tuple)) else 0


def _count(value: object) -> int:
    return max(0, value) if isinstance(value, int) else 0


def _check(*sizes: int) -> None:
    if max(sizes) > MAX_CHARACTERS:
        raise BoundExceeded(f"a value of over {MAX_CHARACTERS} characters")


def _concatenate(*values: object) -> str:
    texts = [str(value) for value in values]
    _check(sum(map(len, texts)))
    return "".join(texts)


def _join(values: Any, separator: object = "", attribute: str | None = None) -> str:
    if attribute is not None:
        raise BoundExceeded("join with an attribute is not supported; use map(attribute=...) before it")
    texts = [str(value) for value in values]
    _check(sum(map(len, texts)) + len(texts) * len(str(separator)))
    return str(separator).join(texts)


def _replace(text: object, old: object, new: object, count: int = -1) -> str:
    text, old, new = str(text), str(old), str(new)
    _check(len(text) + text.count(old) * len(new))
    return text.replace(old, new, count)


def _indent(text: object, width: int | str = 4, first: bool = False, blank: bool = False) -> str:
    margin = " " * min(width, 64) if isinstance(width, int) else width[:64]
    lines = str(text).split("\n")
    _check(sum(map(len, lines)) + len(lines) * (len(margin) + 1))
    return "\n".join(
        margin + line if (i or first) and (line or blank or not i) else line for i, line in enumerate(lines)
    )


def _tojson(
    value: object,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """``transformers``' own: plain JSON, where jinja2's would escape it for HTML."""
    if indent is not None:
        indent = min(int(indent), 16)
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise_exception(message: object) -> None:
    raise jinja2.TemplateError(str(message))
