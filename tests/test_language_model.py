"""Neural language models: what they are, what they see, and the scores that they give."""

import math

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from egret.base.errors import EgretError, UsageError
from egret.models import language_model
from egret.models.decoder import END, attention_loss, with_ends
from egret.models.files import save_config
from egret.models.language_model import LanguageModel, token_scores
from egret.models.language_model_files import build_language_model, load_language_model
from egret.models.language_model_options import LanguageModelOptions, TransformerLmOptions
from egret.models.model import count_parameters
from folders import make_experiment, make_lang
from language_models import SIZES, config_of, make_lm, small_model

SENTENCES = [[3, 4, 5, 6, 7, 8], [], [8, 8], [5], [7, 3, 7]]
NETWORKS = pytest.mark.parametrize("network", list(SIZES))


@NETWORKS
@pytest.mark.parametrize("tied", [True, False])
def test_scores_are_those_of_the_tokens_one_after_the_other(network: str, tied: bool) -> None:
    model = small_model(network, tied=tied)
    sentence = SENTENCES[0]
    one_by_one = []
    for place, token in enumerate([*sentence, END]):
        before = torch.tensor([[END, *sentence[:place]]])
        one_by_one.append(model(before)[0, -1].log_softmax(0)[token].item())
    assert token_scores(model, [sentence])[0] == pytest.approx(one_by_one, abs=1e-5)


@NETWORKS
def test_the_probabilities_of_what_may_follow_add_up_to_one(network: str) -> None:
    model = small_model(network)
    total = sum(math.exp(token_scores(model, [[3, token]])[0][1]) for token in range(9) if token != END)
    assert total + math.exp(token_scores(model, [[3]])[0][1]) == pytest.approx(1, abs=1e-5)


@NETWORKS
def test_a_sentence_has_the_same_scores_alone_and_in_a_batch(network: str) -> None:
    model = small_model(network)
    together = token_scores(model, SENTENCES)
    for sentence, scores in zip(SENTENCES, together, strict=True):
        assert len(scores) == len(sentence) + 1
        assert scores == pytest.approx(token_scores(model, [sentence])[0], abs=1e-5)


@NETWORKS
@pytest.mark.parametrize("length", [4, 60])
def test_no_tensor_of_a_batch_is_larger_than_allowed(
    network: str, length: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not those of hidden layers, where the vocabulary is small, nor those of attention, where sentences are long."""
    model = small_model(network)
    sentences = [[3 + place % 5 for place in range(length - 1)]] * 20
    whole = token_scores(model, sentences)
    most = 5 * length * max(4 * SIZES[network]["dim"], 2 * length)  # some five sentences
    sizes: list[int] = []
    monkeypatch.setattr(language_model, "AT_ONCE", most)
    with TensorSizes(sizes):
        divided = token_scores(model, sentences)
    # Nor needlessly small. PyTorch 2 computes an LSTM on a CPU as one: only its output shows, a quarter of the gates.
    assert most / 5 < max(sizes) <= most
    assert divided == [pytest.approx(scores, abs=1e-5) for scores in whole]


class TensorSizes(TorchDispatchMode):
    """Notes how many numbers each tensor has that PyTorch computes."""

    def __init__(self, sizes: list[int]) -> None:
        super().__init__()
        self.sizes = sizes

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        self.sizes += [each.numel() for each in (found if isinstance(found, tuple) else (found,))
                       if isinstance(each, torch.Tensor)]  # fmt: skip
        return found


@NETWORKS
def test_padding_has_no_gradient(network: str) -> None:
    model = small_model(network)
    given, wanted = with_ends(SENTENCES, torch.device("cpu"))
    gradients = []
    for filler in (END, 6):
        model.zero_grad()
        changed = torch.where(torch.nn.functional.pad(wanted, (1, 0))[:, :-1] == -1, filler, given)
        attention_loss(model(changed), wanted).sum().backward()
        gradients.append([parameter.grad.clone() for parameter in model.parameters()])
    for one, other in zip(*gradients, strict=True):
        assert torch.allclose(one, other, atol=1e-5)


@NETWORKS
@pytest.mark.parametrize("tied", [True, False])
def test_torchscript_gives_the_same(network: str, tied: bool) -> None:
    model = small_model(network, tied=tied)
    given, _ = with_ends(SENTENCES, torch.device("cpu"))
    assert torch.allclose(torch.jit.script(model)(given), model(given), atol=1e-6)


def test_tied_models_have_the_numbers_of_tokens_once() -> None:
    tied, untied = (count_parameters(small_model("lstm", tied=tied)) for tied in (True, False))
    assert untied - tied == 9 * SIZES["lstm"]["dim"]


def test_the_usual_lstm_has_the_layers_of_zaremba() -> None:
    model = LanguageModel(10_000, LanguageModelOptions(tied=False))
    assert 19e6 < count_parameters(model) < 20.5e6  # the paper does not say; two layers, two tables of 10,000 x 650


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(UsageError, match="--model.transformer: dim 10 does not divide by heads 4"):
        TransformerLmOptions(dim=10, heads=4)


# On disk


def test_what_was_saved_is_loaded(tmp_path) -> None:
    lang = make_lang(tmp_path / "lang", [("a", ["x"]), ("b", ["y"])])
    model = make_lm(tmp_path / "lm", lang)
    loaded, config = load_language_model(tmp_path / "lm")
    assert config["unit"] == "word" and not loaded.training
    assert token_scores(loaded, [[3, 4]]) == token_scores(model, [[3, 4]])


def test_an_acoustic_model_is_no_language_model(tmp_path) -> None:
    make_experiment(tmp_path / "exp", make_lang(tmp_path / "lang", [("a", ["x"])]))
    with pytest.raises(
        EgretError, match="does not describe a neural language model; give the folder that steps/train_lm"
    ):
        load_language_model(tmp_path / "exp")


def test_a_model_that_was_not_trained_to_the_end_is_an_error(tmp_path) -> None:
    make_lm(tmp_path / "lm", make_lang(tmp_path / "lang", [("a", ["x"])]))
    (tmp_path / "lm/final.safetensors").unlink()
    with pytest.raises(
        EgretError, match="not there; the model was not trained to its end, run steps/train_lm.py again"
    ):
        load_language_model(tmp_path / "lm")


@pytest.mark.parametrize(
    ("change", "says"),
    [({"network": "rwkv"}, "there is no network 'rwkv'"), ({"lstm": {"dim": 3}}, "lstm lacks dropout, layers")],
)
def test_a_model_of_another_version_is_refused(tmp_path, change: dict, says: str) -> None:
    config = config_of("lstm", 9)
    config["model"] |= change
    with pytest.raises(EgretError, match=says):
        build_language_model(config)


def test_weights_of_another_size_are_refused(tmp_path) -> None:
    make_lm(tmp_path / "lm", make_lang(tmp_path / "lang", [("a", ["x"])]))
    config = load_language_model(tmp_path / "lm")[1]
    save_config(tmp_path / "lm/config.yaml", {**config, "vocabulary": 99})
    with pytest.raises(EgretError, match="weights of another model than config.yaml describes"):
        load_language_model(tmp_path / "lm")
