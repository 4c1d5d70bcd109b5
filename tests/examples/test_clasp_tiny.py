"""The training of clasp-tiny: what it packs, labels and drops, against the stock model; and going on after a stop."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from examples.clasp_tiny import architecture, batches, checkpoint, forward, labels, processing, train, words  # noqa: E402
from examples.clasp_tiny.dropping import depths  # noqa: E402
from examples.shapesvqa import draw_questions, make_scene, sample, tokenize, vocabulary  # noqa: E402


@pytest.fixture(scope="module")
def model():
    torch.set_num_threads(1)
    return architecture.new_model(5).eval()


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory, model) -> Path:
    folder = tmp_path_factory.mktemp("clasp-tiny")
    torch.save({"model": model.state_dict()}, folder / "trained.pt")
    checkpoint.write(folder / "trained.pt", folder / "out")
    return folder / "out"


def test_stock_transformers_loads_the_checkpoint_and_prompts_it_as_it_was_trained(saved: Path) -> None:
    processor = transformers.AutoProcessor.from_pretrained(saved)
    model = transformers.LlavaForConditionalGeneration.from_pretrained(saved)
    assert sum(p.numel() for p in model.parameters()) * 2 < 12e6
    image, questions = sample(3, "test")
    for question in questions:
        content = [{"type": "image"}, {"type": "text", "text": question.prompt}]
        text = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
        inputs = processor(images=image, text=text, return_tensors="pt")
        picture = [words.VOCABULARY[words.IMAGE]] * architecture.TOKENS
        expected = words.encode(words.PREFIX) + picture + words.question_ids(question.prompt)
        assert inputs["input_ids"][0].tolist() == expected
    pixels = batches.load(range(3, 4), "test", batches.Quota(1), 200)[0].pixels
    torch.testing.assert_close(inputs["pixel_values"].float(), pixels, rtol=0, atol=1e-6)


def test_the_tokenizer_cuts_text_as_the_vocabulary_does() -> None:
    made = processing.tokenizer()
    for seed in range(20):
        for question in draw_questions(seed, "test")[1]:
            assert made.encode(question.prompt, add_special_tokens=False).tokens == tokenize(question.prompt)
    assert set(vocabulary()) <= set(words.VOCABULARY)
    assert made.encode("a zebra", add_special_tokens=False).tokens == ["a", words.UNKNOWN]
    assert made.decode(words.encode(["top", "left", "</s>"])) == "top left"


def _alone(model, pixels, ids: list[int], visual_keep=None):
    """Logits of the stock model for one unpacked sequence; ``visual_keep`` drops visual tokens, positions kept."""
    whole = torch.tensor([words.encode(words.PREFIX) + [words.VOCABULARY[words.IMAGE]] * architecture.TOKENS + ids])
    positions = torch.arange(whole.shape[1])
    embeddings = model.model.language_model.embed_tokens(whole)
    features = forward.see(model, pixels)[0][:, 1:]
    start = len(words.PREFIX)
    embeddings[:, start : batches.LENGTH] = model.model.multi_modal_projector(features)
    rows = torch.ones(whole.shape[1], dtype=torch.bool)
    if visual_keep is not None:
        rows[start : batches.LENGTH] = visual_keep
    decoder = model.model.language_model
    hidden = decoder(inputs_embeds=embeddings[:, rows], position_ids=positions[rows][None]).last_hidden_state
    return model.lm_head(hidden)[0, -len(ids) :]


@pytest.mark.parametrize("dropped", [False, True])
@torch.no_grad()
def test_a_packed_question_is_answered_as_if_it_were_alone(model, dropped: bool) -> None:
    pictures, packed, _ = batches.load(range(2), "train", batches.Quota(1), 120)
    keep = torch.rand(2, architecture.TOKENS, generator=torch.Generator().manual_seed(1)) < 0.4
    depth = torch.where(keep, forward.NEVER, 0) if dropped else torch.full(keep.shape, forward.NEVER)
    logits, _ = forward.answer(model, forward.see(model, pictures.pixels)[0], packed, depth)
    for picture, number in ((0, 0), (0, 3), (1, 2)):
        rows = packed.owner[picture] == number
        alone = _alone(
            model,
            pictures.pixels[picture][None],
            packed.ids[picture][rows].tolist(),
            keep[picture] if dropped else None,
        )
        torch.testing.assert_close(logits[picture, rows], alone, rtol=1e-4, atol=1e-4)


def test_every_answer_is_a_target_and_nothing_else() -> None:
    _, packed, asked = batches.load(range(4), "train", batches.Quota(2), 200)
    for picture, questions in enumerate(asked):
        for number, question in enumerate(questions):
            rows = packed.owner[picture] == number
            due = [i for i in packed.targets[picture][rows].tolist() if i != batches.IGNORE]
            assert due == words.answer_ids(question.answer)
            ids = packed.ids[picture][rows].tolist()
            assert ids == (words.question_ids(question.prompt) + words.answer_ids(question.answer))[:-1]
        assert (packed.targets[picture][packed.owner[picture] < 0] == batches.IGNORE).all()


def test_labels_say_what_stands_where() -> None:
    names = list(labels.PATCH_CLASSES)
    for seed in range(30):
        scene = make_scene(seed)
        found = labels.label(scene)
        for shape in scene.shapes:
            patch = int(shape.at.y // 12) * 12 + int(shape.at.x // 12)
            values = dict(zip(names, found.patches[:, patch].tolist(), strict=True))
            assert labels.WHAT[values["what"]] == shape.kind
            assert values["row"] == patch // 12
            assert values["column"] == patch % 12
        drawn = len(scene.shapes) + sum(x is not None for x in (scene.tool, scene.person, scene.arrow, scene.sign))
        assert len(set(found.thing.tolist()) - {-1}) == drawn
        assert ((found.thing < 0) == (found.patches[0] == 0)).all()
        sizes = np.array(list(labels.PATCH_CLASSES.values()))
        assert (found.patches.max(axis=1) < sizes).all()
        assert (found.picture < np.array(list(labels.PICTURE_CLASSES.values()))).all()


def test_dropping_takes_tokens_at_the_stages_and_leaves_some() -> None:
    thing = batches.load(range(64), "train", batches.Quota(1), 120)[0].thing
    depth = depths(thing, 1.0, torch.Generator().manual_seed(0))
    assert set(depth.unique().tolist()) == {0, 1, 2, 4, forward.NEVER}
    left = (depth == forward.NEVER).sum(1)
    assert left.min() >= 1
    assert left.max() < architecture.TOKENS
    assert (depths(thing, 0.0, torch.Generator().manual_seed(0)) == forward.NEVER).all()
    kept_things = ((depth == forward.NEVER) & (thing >= 0)).sum() / (thing >= 0).sum()
    kept_ground = ((depth == forward.NEVER) & (thing < 0)).sum() / (thing < 0).sum()
    assert kept_things > kept_ground  # biased, yet not always


def test_bfloat_products_are_those_of_bfloat_operands() -> None:
    from examples.clasp_tiny.products import BfloatLinear, use_bfloat_products

    plain = torch.nn.Linear(24, 16)
    x = torch.randn(5, 3, 24, generator=torch.Generator().manual_seed(0), requires_grad=True)
    exact = (x.detach().bfloat16().float() @ plain.weight.detach().bfloat16().float().T).bfloat16().float()
    module = torch.nn.Sequential(plain)
    use_bfloat_products(module)
    assert type(module[0]) is BfloatLinear
    assert list(module.state_dict()) == ["0.weight", "0.bias"]
    said = module(x)
    torch.testing.assert_close(said, exact + plain.bias, rtol=2**-7, atol=2**-7)
    said.square().sum().backward()
    gradient = (2 * said.detach()).reshape(-1, 16)
    expected = gradient.T @ x.detach().reshape(-1, 24)
    assert (plain.weight.grad - expected).norm() < 0.02 * expected.norm()
    torch.testing.assert_close(plain.bias.grad, gradient.sum(0))


@pytest.fixture
def shallow(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is trained has two layers in the tower and one in the decoder."""
    whole = architecture.configuration

    def configuration() -> object:
        made = whole()
        made.vision_config.num_hidden_layers, made.text_config.num_hidden_layers = 2, 1
        return made

    monkeypatch.setattr(architecture, "configuration", configuration)
    monkeypatch.setattr(forward, "FEATURE_LAYER", 1)


@pytest.mark.full
@pytest.mark.usefixtures("shallow")
def test_a_stopped_training_goes_on_to_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    once = batches.Quota(1)
    stages = (
        train.Stage("tower", 2, 2, muon=0.02, adam=2e-3, tower=1.0, labels=1.0, answers=False),
        train.Stage(
            "joint", 3, 2, muon=0.02, adam=2e-3, tower=0.5, labels=0.2, by_thing=True, dropping=1.0, questions=once,
            early=1,
        ),
    )  # fmt: skip
    monkeypatch.setattr(train, "STAGES", stages)
    monkeypatch.setattr(train, "CHECKPOINT_EVERY", 1)
    monkeypatch.setattr(train, "GATE", 0.0)
    train.train(tmp_path / "whole", seed=3, workers=1, compiled=False)

    saves = 0
    save = train._save

    def stop_after_fourth(path: Path, state: dict[str, object]) -> None:
        nonlocal saves
        save(path, state)
        saves += 1
        if saves == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(train, "_save", stop_after_fourth)
    with pytest.raises(KeyboardInterrupt):
        train.train(tmp_path / "stopped", seed=3, workers=1, compiled=False)
    monkeypatch.setattr(train, "_save", save)
    train.train(tmp_path / "stopped", seed=3, workers=1, compiled=False)

    whole, stopped = (torch.load(tmp_path / n / "trained.pt", weights_only=True)["model"] for n in ("whole", "stopped"))
    fresh = architecture.new_model(3).state_dict()
    assert all(torch.equal(whole[name], stopped[name]) for name in whole)
    assert any(not torch.equal(whole[name], fresh[name]) for name in whole if "language_model" in name)


@pytest.mark.full
@pytest.mark.usefixtures("shallow")
def test_two_processes_train_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each process takes its own shards of a step, and their gradients add up to those of one process with all."""
    stage = train.Stage("joint", 1, 2, muon=0.02, adam=2e-3, tower=0.5, labels=0.2, early=1)
    caught: dict[tuple[int, int], list[torch.Tensor]] = {}

    def catch(self: train.Trainer, sums: torch.Tensor) -> None:
        caught[self.workers, self.rank] = [p.grad.clone() for p in self._parameters() if p.grad is not None]

    monkeypatch.setattr(train.Trainer, "_reduce", catch)
    for rank, workers in ((0, 1), (0, 2), (1, 2)):
        train.Trainer(0, rank, workers, compiled=False).step(stage, 0, 0)
    for both, first, second in zip(caught[1, 0], caught[2, 0], caught[2, 1], strict=True):
        torch.testing.assert_close(first + second, both, rtol=1e-4, atol=1e-6)
        assert not torch.equal(first, second)


def test_a_thing_counts_as_much_as_another_whatever_its_size() -> None:
    from examples.clasp_tiny.heads import MEDIUM, _by_thing

    thing = torch.tensor([[-1, 0, 0, 0, 1, -1], [0, -1, -1, -1, -1, -1]])
    weight = _by_thing(thing)
    assert weight[0, 1:4].sum() == weight[0, 4] == weight[1, 0] == MEDIUM


def test_a_quota_takes_the_first_of_each_category() -> None:
    questions = draw_questions(0, "train", 4)[1]
    chosen = batches.Quota(1, {"spatial relations": 3}).of(questions)
    for category in {question.category for question in questions}:
        every = [question for question in questions if question.category == category]
        taken = [question for question in chosen if question.category == category]
        assert taken == every[: 3 if category == "spatial relations" else 1]


@torch.no_grad()
def test_settling_scales_what_the_projector_reads_and_nothing_else() -> None:
    model = architecture.new_model(1)
    for parameter in model.model.vision_tower.encoder.parameters():
        parameter.mul_(2)  # as far from unit variance as training leaves it
    pixels = batches.load(range(4), "train", batches.Quota(1), 120)[0].pixels
    before, summary = forward.see(model, pixels)
    forward.settle(model, pixels)
    after, same = forward.see(model, pixels)
    assert after[:, 1:].flatten(0, 1).std(0).square().mean() == pytest.approx(1, rel=1e-3)
    scale = before.norm() / after.norm()
    assert scale > 2
    assert (scale * after - before).norm() < 0.01 * before.norm()  # no more than the norms' epsilon
    assert (same - summary).norm() < 0.01 * summary.norm()


def test_words_mean_the_one_shape_of_their_kind() -> None:
    found = 0
    for seed in range(12):
        scene = draw_questions(seed, "train", 2)[0]
        _, packed, _ = batches.load(range(seed, seed + 1), "train", batches.Quota(2), 200)
        ids, meant = packed.ids[0].tolist(), packed.meant[0].T.tolist()
        kinds = [shape.kind for shape in scene.shapes]
        for word, where in zip(ids, meant, strict=True):
            named = [shape for shape in scene.shapes if words.VOCABULARY[shape.kind] == word]
            if len(named) != 1:
                assert where == [batches.IGNORE] * 3
                continue
            (shape,) = named
            assert kinds.count(shape.kind) == 1
            assert where[0] == int(shape.at.y) // 12
            assert where[1] == int(shape.at.x) // 12
            found += 1
    assert found > 50
