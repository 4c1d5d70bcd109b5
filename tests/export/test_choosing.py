"""What becomes zero of a decoder's layers, by element against a second implementation; and by what layers are fed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clasp_trt.chain import port
from clasp_trt.errors import SparsityError
from clasp_trt.export.calibrated import calibrate
from clasp_trt.export.choosing import Chosen, scored
from clasp_trt.export.requests import Requests
from clasp_trt.export.weights.masks import KeptMask
from clasp_trt.sparsity import parse
from tests import sparse
from tests.export.test_calibrated import decoder, feeds, matrices, reference
from tests.mistakes import says

VISUAL = np.array([1, 2, 3, 5, 8, 13])
Kept = dict[str, KeptMask]


def linears(model: Any) -> dict[str, Any]:
    return {name: each for name, each in model.layers.named_modules() if isinstance(each, torch.nn.Linear)}


def chosen(tmp_path: Path, asked: str, model: Any = None, *, rounds: bool = False) -> tuple[Kept, Chosen, Any]:
    model = model or decoder()
    kept = {
        f"layers.{name}.weight": KeptMask(tmp_path, f"layers.{name}.weight", tuple(each.weight.shape))
        for name, each in linears(model).items()
    }
    (tmp_path / "requests").mkdir()
    requests, found = Requests(tmp_path / "requests"), Chosen(parse(asked), kept)
    for feed in feeds():
        requests.add({**feed, port.VISUAL_INDEX: VISUAL})
    given = matrices(model, tmp_path) if rounds else {}
    told = calibrate(reference(model), requests, given, "float32", chosen=found)
    return kept, found, (given, told)


class Watched:
    """The stock model's layers, one request after the other: what enters and leaves each linear layer, and what the
    last row pays attention to."""

    def __init__(self, model: Any, layers: int) -> None:
        self.entered: dict[str, list[Any]] = {}
        self.left: dict[str, list[Any]] = {}
        self.attention: list[list[Any]] = [[] for _ in range(layers)]

        def hook(name: str) -> Any:
            def watch(_: Any, given: Any, made: Any) -> None:
                self.entered.setdefault(name, []).append(given[0][0].double().numpy())
                self.left.setdefault(name, []).append(made[0].double().numpy())

            return watch

        for name, each in linears(model).items():
            each.register_forward_hook(hook(name))
        for layer, found in zip(model.layers, self.attention, strict=False):
            layer.self_attn.register_forward_hook(
                lambda _, __, made, found=found: found.append(made[1][0, :, -1].mean(0).double().numpy())
            )
        with torch.inference_mode():
            for feed in feeds():
                hidden, positions = (torch.from_numpy(feed[name]) for name in (port.HIDDEN, port.POSITION_IDS))
                count = hidden.shape[1]
                mask = torch.full((count, count), torch.finfo(torch.float32).min).triu(1)[None, None]
                rotary = model.rotary_emb(hidden, positions)
                for layer in model.layers[:layers]:
                    hidden = layer(hidden, attention_mask=mask, position_embeddings=rotary)

    def rows(self, name: str, *, stand: bool) -> list[Any]:
        """What entered, of all tokens or of those that stand for them."""
        found = self.entered[name]
        if not stand:
            return found
        number, rows = int(name.partition(".")[0]), []
        for entered, left, attention in zip(found, self.left[name], self.attention[number], strict=True):
            visual = [place in VISUAL for place in range(len(entered))]
            rows.append(entered[sparse.taken(left, visual, attention.tolist())])
        return rows


def gone(scores: Any, asked: str) -> Any:
    """The mask by sorting each run."""
    run, count = (4, 2) if asked.startswith("2:4") else (scores.shape[1], scores.shape[1] // 2)
    found = np.zeros(scores.shape, bool)
    for row in range(len(scores)):
        for first in range(0, scores.shape[1], run):
            least = sorted(range(first, first + run), key=lambda place: (scores[row, place], place))[:count]
            found[row, least] = True
    return found


@pytest.mark.parametrize("asked", ["0.5,wanda", "2:4,wanda", "2:4", "2:4,magnitude"])
def test_the_first_layer_by_element(asked: str, tmp_path: Path) -> None:
    kept, _, _ = chosen(tmp_path, asked)
    stock = decoder()
    watched, scores = Watched(stock, 1), asked.partition(",")[2] or "tamp"
    for name, module in linears(stock).items():
        if name.startswith("0."):
            weight = module.weight.detach().numpy()
            if scores == "magnitude":
                direct = np.abs(weight)
            else:
                direct = sparse.scores(weight, watched.rows(name, stand=scores == "tamp"))
            found = kept[f"layers.{name}.weight"].of(module.weight).numpy()
            differ = found != gone(direct, asked)
            assert differ.mean() < 0.002, f"{name}: float32's order alone"


def test_scores_by_element() -> None:
    rng = np.random.default_rng(0)
    weight, rows = rng.standard_normal((5, 7)), [rng.standard_normal((count, 7)) for count in (4, 3)]
    squares = torch.from_numpy(np.square(np.concatenate(rows)).sum(0))
    np.testing.assert_allclose(scored(torch.from_numpy(weight), squares), sparse.scores(weight, rows), rtol=1e-12)


def test_tamp_is_another_choice_than_wanda_and_magnitude(tmp_path: Path) -> None:
    found = []
    for number, asked in enumerate(("2:4", "2:4,wanda", "2:4,magnitude")):
        folder = tmp_path / str(number)
        folder.mkdir()
        kept, _, _ = chosen(folder, asked)
        found.append(np.concatenate([each.of(torch.empty(0)).numpy().ravel() for each in kept.values()]))
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert 0.01 < (found[one] != found[other]).mean() < 0.5


def test_a_layer_is_fed_by_those_that_are_sparse_already(tmp_path: Path) -> None:
    kept, _, _ = chosen(tmp_path, "2:4,wanda")
    stock = decoder()
    with torch.no_grad():
        for name, module in linears(stock).items():
            if name.startswith("0."):
                module.weight.masked_fill_(kept[f"layers.{name}.weight"].of(module.weight), 0)
    name = "1.self_attn.q_proj"
    weight = linears(stock)[name].weight.detach()
    found = kept[f"layers.{name}.weight"].of(weight).numpy()
    direct = gone(sparse.scores(weight.numpy(), Watched(stock, 2).rows(name, stand=False)), "2:4")
    dense = gone(sparse.scores(weight.numpy(), Watched(decoder(), 2).rows(name, stand=False)), "2:4")
    assert (found != direct).mean() < 0.002
    assert (found != dense).mean() > 0.01


def test_rounded_weights_have_the_same_zeros(tmp_path: Path) -> None:
    kept, found, (given, told) = chosen(tmp_path, "2:4", rounds=True)
    assert len(told) == len(kept)
    zeros = 0
    for name, mask in kept.items():
        gone_here = mask.of(torch.empty(0)).numpy()
        assert (given[name].values("float32")[gone_here] == 0).all()
        zeros += int(gone_here.sum())
    assert found.zeros == zeros == sum(each.values("float32").size for each in given.values()) // 2


def test_values_that_are_not_finite_are_refused_by_name(tmp_path: Path) -> None:
    model = decoder()
    with torch.no_grad():
        model.layers[1].mlp.up_proj.weight[0, 0] = torch.inf
    with pytest.raises(SparsityError) as error:
        chosen(tmp_path, "2:4,wanda", model)
    says(error, "layers.1.mlp.up_proj.weight", "not finite", "--sparsity")
