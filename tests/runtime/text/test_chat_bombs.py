"""No template outlives its seconds or takes the memory, whatever it spells."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from clasp_trt.errors import PromptError
from clasp_trt.runtime.text.chat import ChatTemplate
from tests.house import ROOT
from tests.started import own_environment

BOMBS = [
    "{{ 'x' | center(10**9) }}",
    "{{ 'x' | attr('center')(10**9) }}",
    "{{ (10**9).to_bytes(10**9) }}",
    "{{ (10**9).to_bytes(10**9, 'big') }}",
    "{{ (5).from_bytes('x'.encode() * 10**9, 'big') }}",
    "{{ 'x'.encode().center(10**9) }}",
    "{{ 'x'.encode().ljust(10**9) }}",
    "{{ 'x'.encode() * 10**9 }}",
    "{{ (1).__mul__ }}{{ 'x'.__mul__(10**9) }}",
    "{{ (2 ** 4000) ** 4000 }}",
    "{% set ns = namespace(x=3) %}{% for i in range(200) %}{% set ns.x = ns.x * ns.x %}{% endfor %}{{ ns.x // 7 }}",
    "{% set ns = namespace(x=[]) %}{% for i in range(9999) %}{% set ns.x = ns.x + [[0] * 200000] %}{% endfor %}",
    "{% set ns = namespace(x=[]) %}{% for i in range(9999) %}{% set ns.x = ns.x + ['x' * 3999999] %}{% endfor %}",
    "{% set x %}{% for i in range(99999) %}{{ 'x' * 400000 }}{% endfor %}{% endset %}",
    "{% set x %}{% for i in range(99999) %}" + "x" * 200000 + "{% endfor %}{% endset %}",
    "{% macro f() %}{% for i in range(99999) %}{{ 'x' * 400000 }}{% endfor %}{% endmacro %}{% set x = f() %}",
    "{% filter upper %}{% for i in range(99999) %}" + "x" * 200000 + "{% endfor %}{% endfilter %}",
    "{% set x = [1] %}" + "{% set x = [x, x] %}" * 60 + "{{ x }}",
    "{% set x = [1] %}" + "{% set x = [x, x] %}" * 60 + "{{ x | string | length }}",
    "{% set x = [1] %}" + "{% set x = {'a': x, 'b': x} %}" * 60 + "{{ x | tojson }}",
    "{% set x = (1,) %}" + "{% set x = (x, x) %}" * 60 + "{{ {x: 1} }}",
    "{% set x = (1,) %}{% set y = (1,) %}" + "{% set x = (x, x) %}{% set y = (y, y) %}" * 60 + "{{ x == y }}",
    "{% macro f(n) %}{% if n %}{{ f(n - 1, varargs, varargs) }}{% else %}{{ varargs }}{% endif %}"
    "{% endmacro %}{{ f(60, 1) }}",
    "{% set a = namespace(x=1) %}"
    + "".join(
        f"{{% set n{i} = namespace(x=[{'a' if not i else f'n{i - 1}'}, {'a' if not i else f'n{i - 1}'}]) %}}"
        for i in range(60)
    )
    + "{{ n59 }}{% for i in range(10**9) %}{% endfor %}",
    "{% set x = range(99999) | list %}{{ x | map('string') | map('length') | list | length }}",
    "{{ ([[1]] * 100000) | sum(start=[]) }}",
    "{% set x = [[1]] * 20000 %}{% for i in range(99999) %}{{ x | tojson(16) | length }}{% endfor %}",
    "{% set ns = namespace(x=range(90000) | list) %}{% for i in range(300) %}{% set ns.x = [ns.x] %}"
    "{% endfor %}{{ ns.x | tojson(indent=16) }}",
    "{% set x = 'a' * 1000000 ~ 'b' ~ 'a' * 1000000 %}{{ ('a' * 3999999).rfind(x) }}",
    "{% set x = 'b' * 1999999 ~ 'a' %}{{ ('a' * 3999999).strip(x) | length }}",
    "{% set x = 'b' * 1999999 ~ 'a' %}{{ ('a' * 3999999) | trim(x) | length }}",
    "{{ ('<!-- -->' * 400000) | striptags }}",
    "{% for i in range(99999) %}{% for c in ('x y' * 999999).split() %}{% break %}{% endfor %}{% endfor %}",
    "{% for i in range(99999) %}{% set x = ('x' * 3999999) | list %}{% endfor %}",
    "{% for i in range(99999) %}{% if range(99999) | list | sort(reverse=true) | unique | list %}"
    "{% endif %}{% endfor %}",
    "{% for i in range(99999) if (range(99999) | list | length) %}{% endfor %}",
    "{{ strftime_now('%999999999d' * 99) }}{% for i in range(10**9) %}{% endfor %}",
    "{{ 'x' * 3999999 | int }}{{ ('f' * 3999999) | int(base=16) }}",
    "{{ '😀' * 999999 | urlencode }}",
    "{{ ''.join(range(99999) | map('string') | map('replace', '', 'x' * 400)) }}",
    "{{ ('x' * 999999 ~ '\n' * 999999) | indent(64, true, true) }}",
    "{% for i in range(99999) %}{% for j in range(99999) %}{{ i }}{% endfor %}{% endfor %}",
    "{% macro f() %}{{ caller() }}{% endmacro %}{% for i in range(99999) %}{% call f() %}"
    + "x" * 9999
    + "{% endcall %}{% endfor %}",
    "{% set ns = namespace(x='x') %}{% for i in range(10**9) recursive %}{{ loop([1, 2]) }}{% endfor %}",
]


SECONDS = 0.5
EACH = """
import json, resource, sys, time
from clasp_trt.errors import PromptError
from clasp_trt.runtime.text import work
from clasp_trt.runtime.text.chat import ChatTemplate
work.MAX_SECONDS = float(sys.argv[1])
resource.setrlimit(resource.RLIMIT_AS, (2 << 30,) * 2)
resource.setrlimit(resource.RLIMIT_CPU, (30, 30))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for template in json.load(sys.stdin):
    started = time.process_time()
    try:
        said = "rendered " + ChatTemplate(template, "<image>").render("hi")[:40]
    except PromptError as error:
        said = str(error)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before >> 10
    print(json.dumps([said, time.process_time() - started, grown]), flush=True)
"""


@pytest.mark.full
def test_no_bomb_takes_long_or_much() -> None:
    """In a process of its own, whose memory can be told: each ends within its seconds, which are fewer here, and all of
    them in 400 MB."""
    done = subprocess.run(
        [sys.executable, "-c", EACH, str(SECONDS)],
        input=json.dumps(BOMBS),
        capture_output=True,
        text=True,
        env=own_environment(PYTHONPATH=str(ROOT)),
        timeout=50,
    )
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(found) == len(BOMBS), done.stderr
    for template, (said, seconds, grown) in zip(BOMBS, found, strict=True):
        assert "chat template" in said, template[:90]
        assert "Memory" not in said, template[:90]
        assert seconds < SECONDS + 1.5, template[:90]
        assert grown < 400, template[:90]


@pytest.mark.parametrize(
    ("template", "rendered"),
    [
        ("{{ [1, 2.5] | sum }} {{ 'a-b' | trim('-b') }} {{ ' a '.strip() }} {{ 'x' ~ 1 ~ [2] }}", "3.5 a a x1[2]"),
        ("{% set ns = namespace(n=1) %}{% for i in range(9) %}{% set ns.n = ns.n * 2 %}{% endfor %}{{ ns.n }}", "512"),
        (
            "{% set x %}{{ 'a' * 3 }}b{% endset %}{{ x | upper }} {{ ('a', 'b') | join }} {{ {'k': 1}.k }}",
            "AAAB ab 1",
        ),
        (
            "{{ {'a': [1, {'b': none}]} | tojson(indent=2) | length }} {{ 'abc'.rfind('c') }} {{ 7 in [7] }}",
            "51 2 True",
        ),
        ("{% for a, b in {'k': 'v'}.items() %}{{ a }}{{ b }}{% endfor %}{{ 'x,y'.split(',')[-1] }}", "kvy"),
        ("{% macro f(a) %}<{{ a }}{{ varargs | length }}>{% endmacro %}{{ f(1, 2, 3) }}", "<12>"),
        ("{% set ns = namespace(x=1) %}{{ [ns] | length }}", "1"),
    ],
)
def test_what_templates_do_is_left_to_them(template: str, rendered: str) -> None:
    assert ChatTemplate(template, "<image>").render("hi") == rendered


def test_many_messages_worth_of_work_is_no_bomb() -> None:
    """A million characters, looked at again and again, as long templates do."""
    template = (
        "{% for m in messages %}{% for part in m.content | selectattr('type', 'equalto', 'text') | list %}"
        "{% set text = part.text | trim %}{% if '</think>' in text %}"
        "{% set text = text.split('</think>')[-1] %}{% endif %}"
        "{{ '<|im_start|>' + m.role + '\n' + text | string ~ '<|im_end|>' }}{% endfor %}{% endfor %}"
    )
    assert len(ChatTemplate(template, "<image>").render("x" * 999_999)) > 999_999


def test_a_failure_leaves_no_debt() -> None:
    chat = ChatTemplate("{% if messages[0].content[0].text == 'no' %}{{ 'x' * 10**9 }}{% endif %}ok", "<image>")
    for _ in range(3):
        with pytest.raises(PromptError):
            chat.render("no")
    assert chat.render("yes") == "ok"
