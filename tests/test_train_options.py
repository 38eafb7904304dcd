"""What the options of training know of the models, and refuse."""

import pytest

from egret.base.errors import UsageError
from egret.base.options import parse
from egret.models.options import ConformerOptions, ModelOptions, TdnnOptions, TransformerOptions
from egret.models.recurrent_options import TdnnLstmOptions
from egret.models.zipformer_options import ZipformerOptions
from egret.training.options import TrainOptions, has_middle

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


@pytest.mark.parametrize("options", [TdnnOptions, TdnnLstmOptions])
def test_a_network_without_a_convolution_is_refused(options):
    with pytest.raises(UsageError, match="at least one"):
        options(kernels=[], dilations=[], strides=[])


def test_a_kernel_has_at_least_one_frame():
    words = [f"--{name}=none" for name in ("cuts", "stats", "lang", "out")]
    with pytest.raises(UsageError, match=r"--model\.tdnn\.kernels -1: must be at least 1"):
        parse(TrainOptions, [*words, "--model.tdnn.kernels", "3", "3", "-1", "3", "3"], "train.py", "")
