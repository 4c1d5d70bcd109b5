"""Jinja for chat templates from strangers: the environment of ``transformers``, with the work it may do
bounded.

The sandbox keeps a template from reaching Python. The bounds keep it from hanging the process or taking its memory:
iterations, calls and filters are counted, with what they make, against a limit and a deadline; values are measured
where they are made; operators, methods and filters that make long things of short ones before they run.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.filters import make_attrgetter
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace
from jinja2.visitor import NodeTransformer

from clasp_trt.runtime.text import chat_sizes as sizes
from clasp_trt.runtime.text.work import MAX_BITS, MAX_CHARACTERS, MAX_SECONDS, BoundExceeded, Work, weight

__all__ = ["MAX_CHARACTERS", "MAX_SECONDS", "BoundExceeded", "ChatEnvironment"]

_OF_STRINGS = frozenset((
    *("capitalize", "casefold", "count", "endswith", "find", "index", "isalnum", "isalpha", "isascii", "isdecimal"),
    *("isdigit", "islower", "isnumeric", "isprintable", "isspace", "istitle", "isupper", "join", "lower", "lstrip"),
    *("partition", "removeprefix", "removesuffix", "replace", "rfind", "rindex", "rpartition", "rsplit", "rstrip"),
    *("split", "splitlines", "startswith", "strip", "swapcase", "title", "upper"),
    *("format", "format_map", "isidentifier", *sizes.METHODS),
))  # fmt: skip
_METHODS: tuple[tuple[type | tuple[type, ...], frozenset[str]], ...] = (
    (str, _OF_STRINGS),
    (Mapping, frozenset(("copy", "get", "items", "keys", "values"))),
    ((list, tuple), frozenset(("copy", "count", "index"))),
    ((int, float, complex, bytes), frozenset(("bit_length", "is_integer"))),
)
"""What may be called of a value of each type."""
_SLOW_WITH_LONG_TEXTS = frozenset(("lstrip", "rfind", "rindex", "rpartition", "rsplit", "rstrip", "strip"))
_LONGEST_SOUGHT = 100
_WIDEST = 1000  # of an indentation that grows with depth


class ChatEnvironment(ImmutableSandboxedEnvironment):
    """Compile with :meth:`template`, render within bounds with :meth:`render`. One thread at a time."""

    intercepted_binops = frozenset({"*", "**", "%", "+"})

    def __init__(self) -> None:
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=[_Generation, loopcontrols],
            optimized=False,  # what is computed while it compiles is not counted
            finalize=self._printed,
        )
        self._work = Work()
        self.filters.update(tojson=self._tojson, join=self._join, replace=self._replace, sum=self._sum, trim=_trim)
        for name, size in sizes.FILTERS.items():
            self.filters[name] = self._sized(size, self.filters[name])
        self.filters = {name: self._counted(each) for name, each in self.filters.items()}
        self.tests = {name: self._counted(each) for name, each in self.tests.items()}
        self.globals.update(
            lipsum=self._sized(sizes.lipsum, self.globals["lipsum"]),
            namespace=_Namespace,
            raise_exception=_raise_exception,
            strftime_now=lambda format: datetime.now().strftime(str(format)[:200]),
            _clasp_step=self._step,
            _clasp_join=self._joined,
            _clasp_made=self._made,
        )

    def template(self, source: str) -> jinja2.Template:
        """Compile `source` to count its iterations and macro calls; raises what jinja2 and Python raise."""
        self._work = Work()
        tree = _Bounding().visit(self.parse(source))
        return self.template_class.from_code(self, self.compile(tree), self.make_globals(None))

    def render(self, template: jinja2.Template, values: Mapping[str, object]) -> str:
        """Render; raises :class:`BoundExceeded` and whatever the template stumbles over."""
        self._work = Work()
        pieces: list[str] = []
        length = 0
        for piece in template.generate(**values):
            self._work.step()
            pieces.append(piece)
            length += len(piece)
            if length > MAX_CHARACTERS:
                raise BoundExceeded(f"over {MAX_CHARACTERS} characters of output")
        return "".join(pieces)

    def _step(self, characters: int = 0) -> str:
        return self._work.step(characters)

    def _joined(self, *values: object) -> str:
        return self._join(values)

    def _made(self, value: object) -> object:
        return self._work.measured(value)

    @jinja2.pass_context  # so that nothing is printed while it compiles
    def _printed(self, context: jinja2.runtime.Context, value: object) -> object:
        return self._work.measured(value)

    def _sized(self, size: Callable[..., int], function: Any) -> Callable[..., Any]:
        """``function``, told off before it runs if ``size`` of its arguments is too much."""
        first = int(hasattr(function, "jinja_pass_arg"))

        @functools.wraps(function)
        def sized(*args: Any, **kwargs: Any) -> Any:
            self._work.make(size(*args[first:], **kwargs))
            return function(*args, **kwargs)

        return sized

    def _counted(self, function: Any) -> Callable[..., Any]:
        """A filter or test as a step, whose values are measured; an environment or context before them is not."""
        first = int(hasattr(function, "jinja_pass_arg"))

        @functools.wraps(function)
        def counted(*args: Any, **kwargs: Any) -> Any:
            self._work.step()
            _check(args[first:], kwargs)
            made = function(*args, **kwargs)
            return self._work.measured(made) if isinstance(made, (str, int, list, tuple, Mapping)) else made

        return counted

    def call_binop(self, context: jinja2.runtime.Context, operator: str, left: Any, right: Any) -> Any:
        """Operators that make long things of short ones, checked before they run."""
        if isinstance(left, int) and isinstance(right, int):
            bits = left.bit_length() * right if operator == "**" else left.bit_length() + right.bit_length()
            if bits > MAX_BITS:
                raise BoundExceeded(f"an integer of over {MAX_BITS} bits")
        elif operator == "+":
            self._work.make(weight(left) + weight(right))
        elif operator == "*":
            self._work.make(max(weight(left) * sizes.count(right), sizes.count(left) * weight(right)))
        elif operator == "%" and isinstance(left, (str, bytes)):
            self._work.make(sizes.percent(left, right))
        return super().call_binop(context, operator, left, right)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """As the sandbox; of plain values, only what takes little."""
        for kind, names in _METHODS:
            if isinstance(obj, kind):
                return attr in names and super().is_safe_attribute(obj, attr, value)
        return super().is_safe_attribute(obj, attr, value)

    def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        """As the sandbox, as a step whose values are measured; ``join`` and ``replace`` of strings before they run."""
        owner, name = getattr(__obj, "__self__", None), getattr(__obj, "__name__", "")
        if owner is __self and __obj in (__self._step, __self._joined, __self._made):
            return __obj(*args)
        __self._work.step()
        _check(args, kwargs)
        if isinstance(owner, str):
            if name == "join" and args:
                return __self._join(args[0], owner)
            if name == "replace" and len(args) >= 2:
                return __self._replace(owner, *args)
            if name in _SLOW_WITH_LONG_TEXTS:
                _check_sought(*args)
            if name in sizes.METHODS:
                __self._work.make(sizes.METHODS[name](owner, *args, **kwargs))
        made = super().call(__context, __obj, *args, **kwargs)
        return __self._work.measured(made) if isinstance(made, (str, int, list, tuple, Mapping)) else made

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """As the sandbox, which formats by itself, and the result is measured first."""
        wrapped: Callable[..., str] | None = super().wrap_str_format(value)
        if wrapped is None:
            return None
        text = str(value.__self__)
        return self._sized(lambda *args, **kwargs: sizes.braces(text, (*args, *kwargs.values())), wrapped)

    def _attributes(self, values: Iterable[Any], attribute: str | int | None) -> Iterable[Any]:
        return values if attribute is None else map(make_attrgetter(self, attribute), values)

    def _join(self, values: Iterable[Any], d: object = "", attribute: str | int | None = None) -> str:
        between, texts = str(d), list[str]()
        for value in self._attributes(values, attribute):
            self._work.look_at_the_clock()
            self._work.make(weight(value) + len(between))
            texts.append(str(value))
        return between.join(texts)

    def _sum(self, values: Iterable[Any], attribute: str | int | None = None, start: Any = 0) -> Any:
        numbers = [start, *self._attributes(values, attribute)]
        if not all(isinstance(number, (int, float)) for number in numbers):
            raise BoundExceeded("sum of what are no numbers")  # lists would be copied for each of them
        return sum(numbers)

    def _replace(self, text: object, old: object, new: object, count: int | None = None) -> str:
        text, old, new = str(text), str(old), str(new)
        self._work.make(len(text) + text.count(old) * len(new))
        return text.replace(old, new, -1 if count is None else count)

    def _tojson(
        self,
        value: object,
        ensure_ascii: bool = False,
        indent: int | str | None = None,
        separators: tuple[str, str] | None = None,
        sort_keys: bool = False,
    ) -> str:
        """``transformers``' own: plain JSON, where jinja2's would escape it for HTML."""
        if sizes.count(indent) > _WIDEST:
            raise BoundExceeded(f"an indentation of over {_WIDEST} characters")
        encoder = json.JSONEncoder(ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
        pieces = []
        for piece in encoder.iterencode(value):  # its indentation grows with depth, which no measure of the value tells
            self._work.look_at_the_clock()
            self._work.make(len(piece))
            pieces.append(piece)
        return "".join(pieces)


class _Namespace(Namespace):
    """One that does not print what it holds: namespaces in one another would print for ever."""

    def __repr__(self) -> str:
        return "<Namespace>"


class _Generation(Extension):
    """``{% generation %}`` marks what the assistant wrote, for training; here it is plain."""

    tags = {"generation"}  # noqa: RUF012 - jinja2's declaration

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _Bounding(NodeTransformer):
    """Puts a step at the head of each loop body and macro, counts the template's own text where it is written, and
    measures ``~`` and every list, tuple and dictionary where it is made."""

    def visit_For(self, node: nodes.For) -> nodes.For:
        self.generic_visit(node)
        node.body.insert(0, _call_step())
        if node.test is not None:  # a filtered loop may pass over everything without entering its body
            node.test = nodes.And(nodes.Not(_call("_clasp_step")), node.test)
        return node

    def visit_Macro(self, node: nodes.Macro) -> nodes.Macro:
        self.generic_visit(node)
        node.body.insert(0, _call_step())
        return node

    def visit_CallBlock(self, node: nodes.CallBlock) -> nodes.CallBlock:
        self.generic_visit(node)
        node.body.insert(0, _call_step())
        return node

    def visit_Output(self, node: nodes.Output) -> nodes.Output:
        self.generic_visit(node)
        own = sum(len(child.data) for child in node.nodes if isinstance(child, nodes.TemplateData))
        if own:
            node.nodes.append(_call("_clasp_step", nodes.Const(own)))
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Call:
        self.generic_visit(node)
        return _call("_clasp_join", *node.nodes)

    def visit_List(self, node: nodes.List) -> nodes.Call:
        self.generic_visit(node)
        return _call("_clasp_made", node)

    def visit_Dict(self, node: nodes.Dict) -> nodes.Call:
        self.generic_visit(node)
        return _call("_clasp_made", node)

    def visit_Tuple(self, node: nodes.Tuple) -> nodes.Expr:
        self.generic_visit(node)
        return _call("_clasp_made", node) if node.ctx == "load" else node


def _call(name: str, *values: nodes.Expr) -> nodes.Call:
    return nodes.Call(nodes.Name(name, "load"), [*values], [], None, None)


def _call_step() -> nodes.ExprStmt:
    return nodes.ExprStmt(_call("_clasp_step"))


def _check(*values: object) -> None:
    """What a call is given, several times or together, can be written out and compared."""
    if weight(values) > MAX_CHARACTERS:
        raise BoundExceeded(f"a value of over {MAX_CHARACTERS} characters")


def _check_sought(*texts: object) -> None:
    if any(isinstance(text, str) and len(text) > _LONGEST_SOUGHT for text in texts):
        raise BoundExceeded(f"a text of over {_LONGEST_SOUGHT} characters to strip or to search for from the end")


def _trim(text: object, chars: str | None = None) -> str:
    _check_sought(chars)
    return str(text).strip(chars)


def _raise_exception(message: object) -> None:
    raise jinja2.TemplateError(str(message))
