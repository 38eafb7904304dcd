"""Pictures in the report: attention maps, spectrograms, and the PNG files that they are."""

import base64
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from egret.models.attention import RelativeAttention, attention_weights, relative_positions
from egret.models.model import JointModel
from egret.models.options import ModelOptions, SpellerOptions, TdnnOptions, TransformerDecoderOptions
from egret.models.zipformer_options import ZipformerOptions
from egret.report.attention import _picture, attention_maps, decoder_maps, reduced
from egret.report.png import heat_map, palette, png
from folders import conformer, make_cuts, make_lang

LEXICON = [("ONE", ["W", "AH", "N"])]


def test_attention_weights_are_what_the_module_itself_uses():
    torch.manual_seed(1)
    layer = RelativeAttention(16, 2, dropout=0.5).eval()
    torch.nn.init.normal_(layer.content_bias)
    torch.nn.init.normal_(layer.position_bias)
    x, positions = torch.randn(2, 9, 16), relative_positions(9, 16, torch.zeros(1))
    hidden = torch.arange(9) >= torch.tensor([[9], [6]])
    weights = attention_weights(layer, x, positions, hidden)
    value = layer.project(x).chunk(3, dim=2)[2].view(2, 9, 2, 8).transpose(1, 2)
    mixed = layer.narrow((weights @ value).transpose(1, 2).reshape(2, 9, 16))
    assert torch.allclose(mixed, layer(x, positions, hidden), atol=1e-5)


def test_the_first_the_middle_and_the_last_layer_are_shown(tmp_path: Path):
    model, _ = conformer(make_lang(tmp_path / "lang", LEXICON))
    (cut,) = make_cuts(tmp_path / "test.jsonl", ["ONE"], [60])
    maps = attention_maps(model, cut)
    assert [name for name, _ in maps] == ["layer 1 of 5", "layer 3 of 5", "layer 5 of 5"]
    assert all(weights.shape == (15, 15) and np.allclose(weights.sum(axis=1), 1, atol=1e-5) for _, weights in maps)


def test_a_model_of_two_layers_shows_both_once(tmp_path: Path):
    model, _ = conformer(make_lang(tmp_path / "lang", LEXICON), layers=2)
    (cut,) = make_cuts(tmp_path / "test.jsonl", ["ONE"], [60])
    assert [name for name, _ in attention_maps(model, cut)] == ["layer 1 of 2", "layer 2 of 2"]


def test_looking_at_the_attention_leaves_the_model_as_it_was(tmp_path: Path):
    model, _ = conformer(make_lang(tmp_path / "lang", LEXICON))
    (cut,) = make_cuts(tmp_path / "test.jsonl", ["ONE"], [60])
    attention_maps(model, cut)
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize(
    ("decoder", "layers"),
    [
        ({"decoder": "speller", "speller": SpellerOptions(dim=8, embedding=8, attention_dim=8)}, 1),
        ({"decoder": "transformer_decoder", "transformer_decoder": TransformerDecoderOptions(dim=8, layers=2)}, 2),
    ],
)
def test_where_a_decoder_looks_is_shown_token_by_token(tmp_path: Path, decoder: dict, layers: int):
    torch.manual_seed(2)
    model = JointModel(8, 9, ModelOptions(tdnn=TdnnOptions(dim=8), **decoder)).eval()
    (cut,) = make_cuts(tmp_path / "test.jsonl", ["ONE"], [60])
    maps = decoder_maps(model, cut)
    assert [name for name, _ in maps] == [f"decoder, layer {number} of {layers}" for number in range(1, layers + 1)]
    assert all(weights.shape[1] == 20 and np.allclose(weights.sum(axis=1), 1, atol=1e-5) for _, weights in maps)


def test_a_zipformer_shows_its_layers(tmp_path: Path):
    small = {"dims": [8, 8], "layers": [1, 1], "downsampling": [1, 2], "feed_forward": [16, 16], "heads": [2, 2],
             "kernels": [3, 3], "query_dim": 4, "channels": [2, 2, 4]}  # fmt: skip
    model = JointModel(8, 9, ModelOptions(encoder="zipformer", zipformer=ZipformerOptions(**small))).eval()
    (cut,) = make_cuts(tmp_path / "test.jsonl", ["ONE"], [60])
    assert [weights.shape for _, weights in attention_maps(model, cut)] == [(30, 30), (15, 15)]


def test_long_utterances_have_small_pictures_in_which_weights_are_averaged():
    weights = np.random.default_rng(1).random((1001, 1001))
    small = reduced(weights, 400)
    assert small.shape == (334, 334) and small[1, 2] == pytest.approx(weights[3:6, 6:9].mean())
    assert small[333, 0] == pytest.approx(weights[999:, :3].mean())


def test_attention_is_drawn_with_the_looking_frame_up_and_the_one_looked_at_across(tmp_path: Path):
    weights = np.zeros((20, 20))
    weights[:, 4] = 1.0  # all look at the fifth frame
    content = _picture("layer", weights)
    pixels, _ = pixels_of(base64.b64decode(content.split("base64,")[1].split('"')[0]))
    assert (pixels[:, 4] == 255).all() and not pixels[:, :4].any()


def pixels_of(content: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Pixels and palette of an unfiltered PNG with a palette; checks the checksum of every chunk."""
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    chunks, place = {}, 8
    while place < len(content):
        (size,) = struct.unpack(">I", content[place : place + 4])
        kind, data = content[place + 4 : place + 8], content[place + 8 : place + 8 + size]
        assert struct.unpack(">I", content[place + 8 + size : place + 12 + size]) == (zlib.crc32(kind + data),)
        chunks[kind], place = data, place + 12 + size
    width, height = struct.unpack(">II", chunks[b"IHDR"][:8])
    lines = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(height, width + 1)
    assert not lines[:, 0].any()
    return lines[:, 1:], np.frombuffer(chunks[b"PLTE"], np.uint8).reshape(-1, 3)


def test_a_png_holds_the_pixels_it_was_made_of():
    pixels = np.random.default_rng(1).integers(0, 256, (5, 7)).astype(np.uint8)
    found, colours = pixels_of(png(pixels, palette()))
    assert (found == pixels).all() and (colours == palette()).all()


def test_low_frequencies_are_at_the_bottom_and_the_loudest_is_lightest():
    values = np.zeros((50, 8))
    values[30:, 0] = 9.0  # time, frequency
    found, colours = pixels_of(heat_map(values))
    assert found.shape == (8, 50)
    assert (found[-1, 30:] == 255).all() and not found[:-1].any() and not found[:, :30].any()
    light = colours @ np.array([0.2126, 0.7152, 0.0722])
    assert light[255] == max(light) and (np.diff(light) > -0.6).all()


def test_silence_is_a_picture_too():
    assert not pixels_of(heat_map(np.full((3, 4), 7.0)))[0].any()


# The step
