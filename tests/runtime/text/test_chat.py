"""Prompts render as transformers renders them; bad prompts and bad templates are one line, soon."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clasp_trt.errors import PromptError
from clasp_trt.runtime.text import chat_sandbox
from clasp_trt.runtime.text.chat import MAX_PROMPT_CHARACTERS, ChatTemplate
from clasp_trt.runtime.text.messages import dialogue
from examples.llava_files import CHAT_TEMPLATE
from tests.mistakes import says

QWEN = (  # the shape of Qwen-VL's
    "{% for message in messages %}{% if loop.first and message['role'] != 'system' %}<|im_start|>system\n"
    "You are a helpful assistant.<|im_end|>\n{% endif %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}<|im_end|>\n{% else %}"
    "{% for content in message['content'] %}{% if content['type'] == 'image' or 'image' in content %}"
    "{% set n = namespace(value=1) %}<image>"
    "{% elif 'text' in content %}{{ content['text'] }}{% endif %}{% endfor %}"
    "<|im_end|>\n{% endif %}{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
MIXED = """{{- bos_token }}
{%- macro turn(message) %}
  {%- for part in message.content if part.type != 'video' %}
    {%- if part.type == 'image' %}{% continue %}{% endif %}
    {{- '[' ~ loop.index ~ '] ' + part.text.strip() | replace('x', 'y') }} {{ part | tojson }}
  {%- endfor %}
{%- endmacro %}
{% set parts = messages[0].content | selectattr('type', 'equalto', 'image') | list %}
{% for part in parts %}
    {{ "<image>" * 1 }}
{% endfor %}
{{ turn(messages[0]) }} {{ messages | length % 2 }} {{ messages | map(attribute='role') | join(', ') }}
{%- generation %}{{ 'cue:' | indent(2, true) }}{% endgeneration %}
"""
PROMPTS = [
    "What is this?",
    "  two  spaces and a\nnewline  ",
    "图里有什么?😀",
    "{{ 7 * 7 }} {% raise %} {# no #}",
    "<b>\"quotes\" & 'ticks'</b>",
    "</s> <|im_end|>",
    "x" * 10_000,
]


@pytest.fixture(scope="module")
def reference() -> Any:
    """transformers' renderer, through a tokenizer that carries the template."""
    transformers = pytest.importorskip("transformers")
    import tokenizers

    inner = tokenizers.Tokenizer(tokenizers.models.WordLevel({"<s>": 0, "<unk>": 1}, unk_token="<unk>"))
    return transformers.PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>", unk_token="<unk>")


@pytest.mark.parametrize("template", [CHAT_TEMPLATE, QWEN, MIXED], ids=["llava", "qwen", "mixed"])
@pytest.mark.parametrize("images", [0, 1, 2])
def test_renders_as_transformers(template: str, images: int, reference: Any) -> None:
    ours = ChatTemplate(template, "<image>", {"bos_token": "<s>"})
    for prompt in PROMPTS:
        content = [{"type": "image"}] * images + [{"type": "text", "text": prompt}]
        theirs = reference.apply_chat_template(
            [{"role": "user", "content": content}],
            chat_template=template,
            add_generation_prompt=True,
            tokenize=False,
        )
        assert ours.render(prompt, images=images) == theirs


IDIOMS = [
    "{{ '%s: %5.2f|%-6d|%05d' % ('a', 1.5, 42, 7) }}{{ '%(role)s' % messages[0] }}{{ '%%' % () }}{{ 7 % 4 }}",
    "{{ '%*d|%.*f' % (6, 3, 2, 1.239) }}{{ '%s' % 'x' }}{{ '%r' % 'x' }}{{ '%c%x' % (65, 255) }}",
    "{{ '{0:>8}|{x:^6}|{0!r}'.format('a', x=2) }}{{ '{} {:5.1f}'.format('a', 2) }}",
    "{{ '{:{w}d}'.format(5, w=8) }}{{ '{a[b]}'.format(a={'b': 3}) }}{{ '{x}'.format_map({'x': 1}) }}",
    "{{ '%s=%d' | format('n', 3) }}{{ '%(a)s' | format(a=1) }}",
    "{{ 'ab'.ljust(6, '.') }}{{ 'ab'.rjust(6) }}{{ 'ab'.center(7, '*') }}{{ '7'.zfill(3) }}{{ 'a\tb'.expandtabs(4) }}",
    "{{ 'abc'.translate({97: 'xyz', 98: none}) }}{{ 'abc' | center(9) }}{{ 'ab' | center }}",
    "{{ 'a\nb\n\nc' | indent }}{{ 'a\nb' | indent(80) }}{{ 'a\r\nb' | indent('> ', true, true) }}{{ '' | indent }}",
    "{{ [1, 2, 3] | batch(2, 'x') | list }}{{ [1, 2, 3, 4] | slice(3, '-') | list }}{{ [1, 2, 3] | batch(2) | list }}",
    "{{ 2.567 | round(1) }}{{ 2.5 | round }}{{ 2.1 | round(0, 'ceil') }}{{ 1234 | round(-2, 'floor') }}",
    "{{ 'one two three four' | wordwrap(9) }}{{ 'onetwo' | wordwrap(4, false) }}{{ 'a b' | wordwrap(1, true, '/') }}",
    "{{ messages | join('-', attribute='role') }}{{ [1, 'a'] | join }}{{ 'abc' | join('.') }}{{ ''.join(['a', 'b']) }}",
    "{{ 'a,b' | replace(',', ';', 1) }}{{ 'aaa'.replace('a', 'b', 2) }}{{ 'aXb' | replace('X', 1) }}",
    "{{ {'a': [1, {'b': none}]} | tojson(indent=2) }}{{ 'ü<&' | tojson }}{{ {'b': 1, 'a': 2} | tojson(sort_keys=1) }}",
    "{{ {'a': 1} | tojson(indent=20) }}{{ 'ü' | tojson(ensure_ascii=true) }}{{ [1] | tojson(separators=(',', ':')) }}",
    "{{ 1536 | filesizeformat }}{{ {'a': 1} | pprint }}{{ {'class': 'b'} | xmlattr }}{{ 'http://x.y' | urlize }}",
    "{{ dict(a=1) }}{{ dict.fromkeys(['a'], 2) }}{% set n = namespace(x=1) %}{% set n.x = n.x + 1 %}{{ n.x }}",
    "{{ strftime_now('%Y-%m-%d') }}{{ strftime_now('%d %b %Y') }}",
    "{{ 'A b'.upper() }}{{ 'A b'.title() }}{{ 'a-b'.split('-') }}{{ 'x.y'.partition('.') }}{{ '  a '.strip() }}",
    "{{ 'abc'[::-1] }}{{ 'abc'[-1] }}{{ 'a' in 'abc' }}{{ 'a' ~ 1 ~ none }}{{ 'ab' | last }}{{ 3 // 2 }}{{ 2 ** 5 }}",
    "{{ messages | selectattr('role', 'in', ['user']) | map(attribute='role') | unique | sort | list }}",
    "{% for m in messages %}{{ loop.cycle('a', 'b') }}{{ loop.last }}{% break %}{% endfor %}{{ bos_token | length }}",
    "{{ messages[0].copy().role }}{{ b is defined }}{{ x | default('d') }}{{ 'a' if tools else 'b' }}",
]


@pytest.mark.parametrize("template", IDIOMS)
def test_idioms_render_as_transformers(template: str, reference: Any) -> None:
    content = [{"type": "text", "text": "hi"}]
    theirs = reference.apply_chat_template(
        [{"role": "user", "content": content}], chat_template=template, add_generation_prompt=True, tokenize=False
    )
    assert ChatTemplate(template, "<image>", {"bos_token": "<s>"}).render("hi") == theirs


def test_every_filter_test_and_global_of_transformers_is_there() -> None:
    from transformers.utils import chat_template_utils

    theirs = chat_template_utils._compile_jinja_template("x").environment
    ours = chat_sandbox.ChatEnvironment()
    assert theirs.filters.keys() <= ours.filters.keys()
    assert theirs.tests.keys() <= ours.tests.keys()
    assert theirs.globals.keys() <= ours.globals.keys()


def test_the_default_is_vicunas() -> None:
    chat = ChatTemplate(CHAT_TEMPLATE, "<image>")
    assert chat.render("What is this?", images=1) == "USER: <image>\nWhat is this? ASSISTANT:"
    assert chat.render("What is this?") == "USER: What is this? ASSISTANT:"


def test_an_image_goes_where_the_prompt_says() -> None:
    chat = ChatTemplate(CHAT_TEMPLATE, "<image>")
    assert chat.render("Look: <image> What?", images=1) == "USER: Look: <image> What? ASSISTANT:"
    assert chat.render("From <image> to <image>?", images=2) == "USER: From <image> to <image>? ASSISTANT:"


@pytest.mark.parametrize(
    ("prompt", "images", "facts"),
    [
        ("", 1, ("empty",)),
        (" \n\t\u3000", 0, ("empty",)),
        ("<image> and <image>", 1, ("<image>", "2 times", "1 image")),
        ("<image>, what?", 2, ("<image>", "1 times", "2 images")),
        ("<image><image>", 0, ("<image>", "no image")),
        ("<image> hi", 0, ("<image>", "no image")),
        ("x" * (MAX_PROMPT_CHARACTERS + 1), 1, (MAX_PROMPT_CHARACTERS + 1, MAX_PROMPT_CHARACTERS)),
    ],
)
def test_prompts_refused(prompt: str, images: int, facts: tuple[object, ...]) -> None:
    with pytest.raises(PromptError) as refused:
        ChatTemplate(CHAT_TEMPLATE, "<image>").render(prompt, images=images)
    says(refused, *facts)


TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": [{"type": "image", "path": "a.png"}, {"type": "text", "text": "What is it?"}]},
    {"role": "assistant", "content": "It is  one: of two."},
    {"role": "user", "content": " Of two? "},
]


@pytest.mark.parametrize("template", [CHAT_TEMPLATE, QWEN], ids=["llava", "qwen"])
def test_conversations_render_as_transformers(template: str, reference: Any) -> None:
    ours = ChatTemplate(template, "<image>", {"bos_token": "<s>"})
    for turns in ([TALK[0], TALK[1]], TALK, [*TALK[1:], {"role": "assistant", "content": "Yes."}, TALK[1]]):
        read = dialogue(turns)
        theirs = reference.apply_chat_template(
            list(read.messages), chat_template=template, add_generation_prompt=True, tokenize=False
        )
        rendered, begins = ours.converse(read)
        assert rendered == theirs
        if turns is TALK:
            assert rendered[begins:].startswith(" Of two? ")
            assert rendered[:begins].count("two") == 1
        else:
            assert begins == 0, "the last message has an image of its own"


@pytest.mark.parametrize(
    ("template", "talk", "facts"),
    [
        (CHAT_TEMPLATE, [{"role": "user", "content": "What is <image>?"}], ("<image>", "parts")),
        (
            CHAT_TEMPLATE,
            [*TALK[:3], {"role": "user", "content": "x" * MAX_PROMPT_CHARACTERS}],
            (MAX_PROMPT_CHARACTERS,),
        ),
        ("{{ messages[-1].content[0].text }}", TALK, ("<image>", "0 times", "1 image")),
        ("<image>{{ messages[-1].content[0].text | length }}", TALK, ("last message", "show the image again")),
        ("{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}", TALK, ("no system",)),
    ],
)
def test_conversations_refused(template: str, talk: list[dict[str, Any]], facts: tuple[object, ...]) -> None:
    with pytest.raises(PromptError) as refused:
        ChatTemplate(template, "<image>").converse(dialogue(talk))
    says(refused, *facts)


@pytest.mark.parametrize("images", [1, 2])
@pytest.mark.parametrize("template", ["{{ messages[0].content[-1].text }}", "<image>" * 3, ""])
def test_a_template_that_loses_an_image_is_reported(template: str, images: int) -> None:
    with pytest.raises(PromptError, match=r"0 times|3 times"):
        ChatTemplate(template, "<image>").render("hi", images=images)


def failure(template: str) -> str:
    started = time.perf_counter()
    with pytest.raises(PromptError) as caught:
        ChatTemplate(template, "<image>").render("hi")
    assert time.perf_counter() - started < chat_sandbox.MAX_SECONDS + 3
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 400
    return message


@pytest.mark.parametrize(
    "template",
    [
        "{% for %}",
        "{{",
        "{% generation %}",
        "{{ nope() }}",
        "{{ none.x.y }}",
        "{{ 1 / 0 }}",
        "{{ messages[0].content | nosuchfilter }}",
        "{% include 'x' %}",
        "{{ raise_exception('no\nsystem role') }}",
        "{{ '(' * 3 }}{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
        "x" * 300_000,
    ],
)
def test_broken_templates(template: str) -> None:
    assert "template" in failure(template)


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages.__class__.__base__.__subclasses__() }}",
        "{{ raise_exception.__globals__ }}",
        "{{ strftime_now.__globals__ }}",
        "{{ _clasp_step.__self__.globals.clear() }}",
        "{{ cycler.__init__.__globals__.os.popen('id') }}",
        "{{ '{0.__class__.__mro__}'.format(1) }}",
        "{{ messages.append(1) }}",
        "{{ messages[0].update({'role': 'x'}) }}",
        "{{ (messages | map(attribute='__class__') | list)[0].mro() }}",
    ],
)
def test_nothing_escapes_the_sandbox(template: str) -> None:
    """An unsafe attribute is undefined: it fails when used, and prints as nothing when merely printed."""
    try:
        rendered = ChatTemplate(template, "<image>").render("hi")
    except PromptError:
        return
    assert rendered == ""


@pytest.mark.parametrize(
    "template",
    [
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
        "{% for i in range(99999) %}{% for j in range(99999) if j < 0 %}{% endfor %}{% endfor %}",
        "{% for i in range(10**9) %}x{% endfor %}",
        "{% for i in range(99999) %}{{ 'x' * 1000 }}{% endfor %}",
        "{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}{{ f() }}",
        "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(40) }}",
        "{{ 'x' * 10**10 }}",
        "{{ 10**10 * 'x' }}",
        "{{ [0] * 10**10 }}",
        "{{ 10 ** (10 ** 10) }}",
        "{{ (2 ** 5000) ** 5000 }}",
        "{{ '%9999999999d' % 1 }}",
        "{{ '%9999999999d' | format(1) }}",
        "{{ 'x' | center(10**10) }}",
        "{{ 'x'.ljust(10**10) }}",
        "{{ 'x'.rjust(10**10) }}",
        "{{ 'x' | attr('zfill') }}{{ ('x' | attr('zfill'))(10**10) }}",
        "{{ ('\t' * 1000).expandtabs(10**9) }}",
        "{{ ('\t' * 1000).expandtabs(tabsize=10**9) }}",
        "{{ ('x' * 10**6).translate({120: 'x' * 10**6}) }}",
        "{{ '{:9999999999}'.format(1) }}",
        "{{ '{:.9999999999f}'.format(1.5) }}",
        "{{ '{:{w}}'.format(1, w=10**10) }}",
        "{{ '{0[x]:{0[w]}}'.format({'w': 10**10, 'x': 1}) }}",
        "{{ ('{0}' * 10**5).format('x' * 10**6) }}",
        "{{ '{x:9999999999}'.format_map({'x': 1}) }}",
        "{{ '%*d' % (10**10, 1) }}",
        "{{ '%.9999999999f' % 1.5 }}",
        "{{ '%(a)9999999999d' % {'a': 1} }}",
        "{{ ('%(a)s' * 10**5) % {'a': 'x' * 10**6} }}",
        "{{ 'x'.encode().ljust(10**10) }}",
        "{{ 'x'.encode() * 10**10 }}",
        "{{ '%9999999999d'.encode() % 1 }}",
        "{{ (1).to_bytes(10**10, 'big') }}",
        "{{ 'a\nb' | indent(10**10) }}",
        "{{ [[[[1]]]] | tojson(indent=10**9) }}",
        "{{ [1] | slice(10**10, 0) | list }}",
        "{{ ('a ' * 10**5) | wordwrap(1, true, 'x' * 10**6) }}",
        "{{ 1.5 | round(10**10, 'floor') }}",
        "{{ messages | map('center', 10**10) | list }}",
        "{{ ('x' * 10**6).replace('x', 'x' * 10**6) }}",
        "{{ 'x' * 10**6 | replace('x', 'x' * 10**6) }}",
        "{{ ('x' * 10**6) | replace('x', 'x' * 10**6) }}",
        "{{ range(99999) | join('x' * 10**6) }}",
        "{{ ('x' * 10**6).join(range(99999) | map('string')) }}",
        "{{ [1] | batch(10**10, 0) | list }}",
        "{{ 1.5 | round(10**10, 'ceil') }}",
        "{{ lipsum(n=10**9) }}",
        "{% set x = 'x' * 1000 %}" + "{% set x = x ~ x %}" * 60 + "{{ x }}",
        "{% set x = 'x' * 1000 %}" + "{% set x = x + x %}" * 60 + "{{ x }}",
        "{% set x = [0] %}" + "{% set x = x + x %}" * 60 + "{{ x }}",
    ],
)
def test_bombs_end_soon(template: str) -> None:
    failure(template)


def test_a_template_can_be_rendered_again_after_a_failure() -> None:
    chat = ChatTemplate("{% if messages[0].content[0].text == 'no' %}{{ 1 / 0 }}{% endif %}ok", "<image>")
    with pytest.raises(PromptError, match="ZeroDivisionError"):
        chat.render("no")
    assert chat.render("yes") == "ok"


@given(st.text(min_size=1, max_size=300))
@settings(max_examples=100, deadline=None)
def test_any_prompt_is_rendered_verbatim(prompt: str) -> None:
    if prompt.strip() and "<image>" not in prompt:
        chat = ChatTemplate(CHAT_TEMPLATE, "<image>")
        assert chat.render(prompt, images=1) == f"USER: <image>\n{prompt} ASSISTANT:"


def test_an_empty_image_token_is_refused() -> None:
    with pytest.raises(PromptError, match="image token"):
        ChatTemplate(CHAT_TEMPLATE, "")


def test_special_tokens_come_in_two_forms() -> None:
    tokens = {"bos_token": "<s>", "eos_token": {"content": "</s>", "lstrip": False}, "other": ["<a>"], "n": 3}
    chat = ChatTemplate("{{ bos_token }}{{ messages[0].content[0].text }}{{ eos_token }}{{ other }}", "<image>", tokens)
    assert chat.render("hi") == "<s>hi</s>"
