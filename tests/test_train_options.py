"""What the options of training know of the models."""

import pytest

from egret.models.options import ConformerOptions, ModelOptions, TransformerOptions
from egret.models.zipformer_options import ZipformerOptions
from egret.training.options import has_middle

TWO = {"dims": [16, 16], "layers": [1, 1], "downsampling": [1, 2], "feed_forward": [8, 8], "heads": [2, 2],
       "kernels": [3, 3]}  # fmt: skip


@pytest.mark.parametrize(
    ("model", "has"),
    [
        (ModelOptions(encoder="conformer", conformer=ConformerOptions(layers=2)), True),
        (ModelOptions(encoder="conformer", conformer=ConformerOptions(layers=1)), False),
        (ModelOptions(encoder="transformer", transformer=TransformerOptions(layers=1)), False),
        (ModelOptions(encoder="zipformer"), True),
        (ModelOptions(encoder="zipformer", zipformer=ZipformerOptions(**TWO)), False),
    ],
)
def test_the_middle_of_an_encoder_is_neither_its_input_nor_its_output(model: ModelOptions, has: bool) -> None:
    assert has_middle(model) == has
