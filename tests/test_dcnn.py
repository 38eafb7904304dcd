"""The deep convolutional network: ASRT's counts, shapes, padding, normalisation."""

from pathlib import Path

import pytest
import torch

from egret.base.errors import UsageError
from egret.base.options import parse
from egret.models.dcnn import Dcnn
from egret.models.image_norm import ImageNorm
from egret.models.masking import frame_mask
from egret.models.model import JointModel
from egret.models.norm import BatchNorm
from egret.models.options import DcnnOptions, ModelOptions
from egret.training.options import TrainOptions

PRESETS = Path(__file__).parent.parent / "conf" / "models"
COUNTS = {"dcnn_24": 880_340, "dcnn_25": 1_175_508, "dcnn_251": 1_470_676, "dcnn_251bn": 1_474_548}
UNITS = 1428
SMALL = {"channels": [3, 4], "pools": [2, 2], "dense": 5}


def preset(name: str) -> TrainOptions:
    words = ["--config", str(PRESETS / f"{name}.yaml"), "--cuts", "a", "--stats", "b", "--lang", "c", "--out", "d"]
    return parse(TrainOptions, words, "train.py", "")


def small(**more) -> Dcnn:
    torch.manual_seed(1)
    encoder = Dcnn(10, DcnnOptions(**{**SMALL, **more})).eval()
    for parameter in encoder.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    for name, buffer in encoder.named_buffers():
        buffer.uniform_(0.5, 2) if name.endswith("variance") else buffer.normal_()
    return encoder


@pytest.mark.parametrize("name", COUNTS)
def test_parameters_are_as_many_as_published(name):
    """Running mean and variance included."""
    options = preset(name)
    model = JointModel(options.features.dim, UNITS, options.model)
    parts = [*model.encoder.state_dict().values(), *model.head.state_dict().values()]
    assert sum(tensor.numel() for tensor in parts) == COUNTS[name]


@pytest.mark.parametrize("name", COUNTS)
def test_presets_differ_from_the_defaults_in_what_they_say(name):
    options = preset(name)
    assert options.features.name == "log1p-spectrogram" and options.features.dim == 200
    assert options.model.encoder == "dcnn" and options.model.dcnn.norm == ("batch" if name.endswith("bn") else "none")


@pytest.mark.parametrize("frames", [1, 2, 7, 8, 9, 37])
def test_every_pool_rounds_up(frames):
    x, lengths, middle = small(channels=[3, 4, 4], pools=[2, 2, 2])(
        torch.randn(2, frames, 10), torch.tensor([frames, 1])
    )
    assert x.shape == (2, -(-frames // 8), 5) and lengths.tolist() == [-(-frames // 8), 1] and middle is None


@pytest.mark.parametrize("pools", [[2, 2], [1, 1], [3, 1], [1, 4]])
@pytest.mark.parametrize("norm", ["none", "batch"])
def test_an_utterance_is_the_same_alone_and_in_a_batch(norm, pools):
    encoder = small(norm=norm, pools=pools)
    lengths = torch.arange(1, 25)
    features = torch.randn(len(lengths), 24, 10) + 100 * ~frame_mask(lengths, 24).unsqueeze(2)
    together, counts, _ = encoder(features, lengths)
    for row, length in enumerate(lengths.tolist()):
        alone, count, _ = encoder(features[row : row + 1, :length], torch.tensor([length]))
        assert torch.allclose(alone[0], together[row, : count[0]], atol=1e-5) and count[0] == counts[row]


@pytest.mark.parametrize("norm", ["none", "batch"])
def test_padding_changes_no_gradient(norm):
    gradients = []
    for frames in (21, 40):
        encoder = small(norm=norm).train()
        features = torch.full((3, frames, 10), 50.0)
        features[:, :21] = torch.randn(3, 21, 10, generator=torch.Generator().manual_seed(1))
        x, counts, _ = encoder(features, torch.tensor([21, 17, 6]))
        (x * frame_mask(counts, x.shape[1]).unsqueeze(2)).square().sum().backward()
        gradients.append([parameter.grad for parameter in encoder.parameters()])
    assert all(torch.allclose(*pair, rtol=1e-4, atol=1e-3) for pair in zip(*gradients, strict=True))


@pytest.mark.parametrize("norm", ["none", "batch"])
def test_the_scripted_network_gives_the_same(norm):
    encoder, batch = small(norm=norm), (torch.randn(2, 30, 10), torch.tensor([30, 11]))
    assert torch.allclose(torch.jit.script(encoder)(*batch)[0], encoder(*batch)[0], atol=1e-6)


def test_dropout_is_where_it_was_asked_for():
    chances = [0.1, 0.2, 0.3, 0.4, 0.5]
    encoder = Dcnn(10, DcnnOptions(**SMALL, norm="none", dropout=chances))
    assert [module.p for module in encoder.modules() if isinstance(module, torch.nn.Dropout)] == chances


def test_image_normalisation_is_batch_normalisation_with_zeros_beyond_the_end():
    torch.manual_seed(1)
    ours, plain = ImageNorm(3).double(), BatchNorm(3).double()
    torch.nn.init.normal_(ours.weight), torch.nn.init.normal_(ours.bias)
    plain.load_state_dict(ours.state_dict())
    images, lengths = torch.randn(2, 3, 7, 4, dtype=torch.float64, requires_grad=True), torch.tensor([7, 3])
    inside = frame_mask(lengths, 7)[:, None, :, None]
    rows = plain(images.permute(0, 2, 3, 1).flatten(1, 2), lengths * 4)
    expected = rows.unflatten(1, [7, 4]).permute(0, 3, 1, 2) * inside
    found, weight = ours(images, lengths), torch.randn(2, 3, 7, 4, dtype=torch.float64)
    pairs = [(found, expected), (ours.mean, plain.mean), (ours.variance, plain.variance)]
    gradients = [torch.autograd.grad((y * weight).sum(), [images, norm.weight, norm.bias])
                 for y, norm in ((found, ours), (expected, plain))]  # fmt: skip
    assert all(torch.allclose(*pair, atol=1e-10) for pair in [*pairs, *zip(*gradients, strict=True)])


@pytest.mark.parametrize(
    ("wrong", "says"),
    [({"channels": [], "pools": []}, "one number for each pair"), ({"pools": [2]}, "one number for each pair"),
     ({"dropout": [0.1, 0.2]}, "2 probabilities where 11 are due")],
)  # fmt: skip
def test_impossible_networks_are_refused(wrong, says):
    with pytest.raises(UsageError, match=says):
        DcnnOptions(**wrong)


def test_it_is_an_encoder_of_the_joint_model():
    model = JointModel(10, 6, ModelOptions(encoder="dcnn", dcnn=DcnnOptions(**SMALL)))
    log_probs, lengths = model(torch.randn(2, 9, 10), torch.tensor([9, 4]))
    assert log_probs.shape == (2, 3, 6) and lengths.tolist() == [3, 1] and model.output_frames(9) == 3
