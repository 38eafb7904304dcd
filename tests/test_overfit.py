"""Every encoder and decoder learns ten utterances by heart."""

import itertools
import random

import numpy as np
import pytest
import torch

from egret.models.decoder import attention_loss, with_ends
from egret.models.greedy import greedy
from egret.models.losses import ctc_loss
from egret.models.model import DECODERS, ENCODERS, JointModel
from egret.models.options import ModelOptions

BINS, TOKENS, FRAMES_PER_TOKEN, STEPS = 16, 8, 24, 400
SMALL = {
    "tdnn": {"dim": 32},
    "transformer": {"dim": 32, "layers": 2, "heads": 2, "feed_forward": 2, "channels": 8},
    "conformer": {"dim": 32, "layers": 2, "heads": 2, "kernel": 5, "channels": 8},
    "dcnn": {"channels": [8, 8, 16], "pools": [2, 2, 1], "dense": 32},
    "tdnn_lstm": {"dim": 32, "layers": 1},
    "deepspeech2": {"dim": 32, "layers": 1, "channels": [4, 4], "frequency_kernels": [5, 3], "time_kernels": [5, 3]},
    "zipformer": {
        "dims": [32, 48, 32],
        "layers": [1, 1, 1],
        "downsampling": [1, 2, 1],
        "feed_forward": [64, 96, 64],
        "heads": [2, 2, 2],
        "kernels": [7, 7, 7],
        "query_dim": 16,
        "channels": [4, 8, 16],
        "bypass_warmup": 20,
    },
    "listener": {"dim": 32, "layers": 1, "pyramidal": 0},
    "transformer_decoder": {"dim": 32, "layers": 2, "heads": 2, "feed_forward": 2},
    "speller": {"dim": 32, "embedding": 16, "attention_dim": 32, "layers": 1},
}


FORMS = {  # other forms of them: as in the paper, as in KoSpeech, and each kind of attention
    "listener, a pyramid": {"dim": 32, "layers": 1, "pyramidal": 1},
    "listener, VGG": {"dim": 32, "layers": 1, "pyramidal": 0, "extractor": "vgg", "channels": 8},
    "listener, Deep Speech": {"dim": 32, "layers": 1, "pyramidal": 0, "extractor": "deepspeech2", "channels": 8},
    "speller, location_aware": {"attention": "location_aware", "channels": 8, "kernel": 5},
    "speller, scaled_dot": {"attention": "scaled_dot"},
    "speller, multi_head": {"attention": "multi_head", "heads": 2, "feed_context": False},
}


def made(name: str, **form):
    """The small options of an encoder or decoder, without dropout."""
    group = type(getattr(ModelOptions(), name))
    silent = {field: 0.0 for field in ("dropout", "attention_dropout") if field in group.__dataclass_fields__}
    if name == "dcnn":  # which has a list of them, empty by default
        silent = {}
    return group(**{**silent, **SMALL.get(name, {}), **form})


class Ten:
    """Utterances whose tokens are patterns in noise, 24 frames each."""

    def __init__(self) -> None:
        draw, noise = random.Random(1), np.random.default_rng(1)
        patterns = noise.normal(size=(TOKENS, BINS)) * 2
        self.targets = [[draw.randrange(2, TOKENS) for _ in range(draw.randint(1, 5))] for _ in range(10)]
        frames = []
        for target in self.targets:
            here = noise.normal(scale=0.3, size=(FRAMES_PER_TOKEN * (len(target) + 1), BINS))
            for place, token in enumerate(target):
                start = FRAMES_PER_TOKEN * place + FRAMES_PER_TOKEN // 2
                here[start : start + FRAMES_PER_TOKEN // 2] += patterns[token]
            frames.append(torch.tensor(here, dtype=torch.float32))
        self.features = torch.nn.utils.rnn.pad_sequence(frames, batch_first=True)
        self.lengths = torch.tensor([len(each) for each in frames])
        self.texts = self.spoken = [""] * 10


def steps_to_learn(model: JointModel, ten: Ten) -> int:
    """After how many steps every utterance is recognised without an error; STEPS if never."""
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    given, wanted = with_ends(ten.targets, torch.device("cpu"))
    for step in itertools.count():
        if step % 20 == 0:
            model.eval()
            with torch.no_grad():
                x, lengths, _ = model.encode(ten.features, ten.lengths)
                heard = [tokens for tokens, _ in greedy(model, x, lengths, ten.lengths)]
            if heard == ten.targets or step >= STEPS:
                return step
            model.train()
        x, lengths, _ = model.encode(ten.features, ten.lengths)
        loss = torch.zeros(())
        if model.head is not None:
            loss = loss + ctc_loss(model.log_probs(x), lengths, ten)
        if model.decoder is not None:
            loss = loss + attention_loss(model.decoder(x, lengths, given), wanted).sum()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimiser.step()


@pytest.mark.slow
@pytest.mark.parametrize("name", list(ENCODERS))
def test_every_encoder_learns_ten_utterances_by_ctc(name):
    torch.manual_seed(1)
    model = JointModel(BINS, TOKENS, ModelOptions(encoder=name, **{name: made(name)}))
    assert steps_to_learn(model, Ten()) < STEPS


@pytest.mark.slow
@pytest.mark.parametrize("name", list(DECODERS))
def test_every_decoder_learns_ten_utterances_without_ctc(name):
    torch.manual_seed(1)
    parts = {"tdnn": made("tdnn"), name: made(name)}
    model = JointModel(BINS, TOKENS, ModelOptions(encoder="tdnn", decoder=name, ctc_weight=0.0, **parts))
    assert steps_to_learn(model, Ten()) < STEPS


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_them_learns_ten_utterances(form):
    torch.manual_seed(1)
    name = form.split(",")[0]
    shape = made(name, **FORMS[form])
    if name in ENCODERS:
        options = ModelOptions(encoder=name, **{name: shape})
    else:
        options = ModelOptions(encoder="tdnn", tdnn=made("tdnn"), decoder=name, ctc_weight=0.0, **{name: shape})
    assert steps_to_learn(JointModel(BINS, TOKENS, options), Ten()) < STEPS


def test_the_small_sizes_are_of_encoders_and_decoders_that_there_are():
    assert SMALL.keys() <= {*ENCODERS, *DECODERS}
