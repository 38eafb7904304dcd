"""Training of an acoustic model on cuts with features."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch

from egret.base.errors import EgretError
from egret.base.files import digest
from egret.base.log import log
from egret.base.options import as_plain
from egret.features.batching import Inputs
from egret.features.made import made_with, refuse_other_options
from egret.features.normalise import make_normaliser
from egret.features.options import FeatureOptions
from egret.features.stats import Stats
from egret.features.waveform import Augmenter, input_fingerprints
from egret.lang.lang import Lang
from egret.models.files import build_model
from egret.models.model import JointModel
from egret.training.data import Corpus
from egret.training.denominator import make_bigram
from egret.training.finetune import take_weights
from egret.training.loader import load_batches
from egret.training.objective import Objective
from egret.training.options import TrainOptions

SAMPLED = 1000  # utterances from which the mean of computed features is taken


class Speech:
    """Cuts, their features, and a model with CTC, a decoder or both."""

    def __init__(self, options: TrainOptions) -> None:
        self.options = options
        self.lang = Lang.read(options.lang)
        self.stats = Stats.load(options.stats) if options.stats else None

    def check(self) -> None:
        """Raises EgretError where stage 1 made other features than are wanted."""
        options = self.options
        if options.inputs == "stored" and options.features != FeatureOptions():
            for manifest in [*options.cuts, *([options.dev_cuts] if options.dev_cuts else [])]:
                refuse_other_options(manifest, options.features)

    def more_inputs(self) -> dict[str, str]:
        return input_fingerprints(self.options.augment)

    def describe(self) -> dict[str, Any]:
        options, lang = self.options, self.lang
        made = options.features if options.inputs == "computed" else made_with(options.cuts[0])
        return {
            **options.of_the_model(),
            "features": len(self.stats.total) if self.stats else options.features.dim,
            "feature_options": as_plain(made) if made else None,
            "tokens": len(lang.units),
            "units": digest(lang.units),
            "normaliser": lang.about["normaliser"],
        }

    def keep(self) -> None:
        shutil.copyfile(self.options.lang / "tokens.txt", self.options.out / "tokens.txt")

    def model(self, config: dict[str, Any]) -> JointModel:
        return build_model(config)

    def take_weights(self, model: JointModel) -> None:
        assert self.options.init_from is not None
        take_weights(model, self.options.init_from, self.lang.units)

    def corpora(self, model: JointModel, config: dict[str, Any]) -> tuple[Corpus, Corpus | None]:
        options = self.options
        if options.consistency and not options.specaugment.masks:
            log.warning("--consistency: without masks of SpecAugment both copies differ by dropout only")
        augmenter = Augmenter(options.augment) if options.augment.wanted() else None
        train = self._corpus(options.cuts, "train", options.max_reject_percent, model, config, augmenter)
        make_bigram(options, train)
        # Words that no lexicon has are no fault of the dev part; its loss is that of the others, and scores count all.
        dev = self._corpus([options.dev_cuts], "dev", 100.0, model, config) if options.dev_cuts else None
        if dev and dev.kind != train.kind:
            raise EgretError(f"{options.dev_cuts}: features of kind {dev.kind}, where those of {options.cuts[0]} "
                             f"are of kind {train.kind}; extract them with the same options")  # fmt: skip
        return train, dev

    def _corpus(
        self,
        manifests: list[Path],
        part: str,
        may_reject: float,
        model: JointModel,
        config: dict[str, Any],
        augment: Augmenter | None = None,
    ) -> Corpus:
        options, stats = self.options, self.stats
        rejected = options.out / f"rejected_{part}.jsonl"
        normalise = make_normaliser(options.normalise, manifests, *stats.mean_and_deviation()) if stats else None
        inputs = Inputs(options.inputs, options.features, augment, normalise)
        found = Corpus(manifests, self.lang, model.token_room, rejected, may_reject, inputs)
        if found.features != config["features"]:
            raise EgretError(f"{manifests[0]}: {found.features} features a frame, where --stats has "
                             f"{config['features']}; give those that stage 1 left beside it")  # fmt: skip
        return found

    def begin(self, model: JointModel, train: Corpus, config: dict[str, Any]) -> None:
        """Take the mean and deviation of the features."""
        stats = self.stats or sampled_stats(train, config["features"])
        mean, deviation = stats.mean_and_deviation()
        model.set_normalisation(torch.from_numpy(mean), torch.from_numpy(deviation))

    def objective(self, model: JointModel, device: torch.device) -> Objective:
        return Objective(self.options, self.lang, model, device)


def sampled_stats(corpus: Corpus, features: int) -> Stats:
    """Sums of the features of some utterances, as they are without augmentation, where nobody has made those of all."""
    stats = Stats.zero(features)
    rows = np.random.default_rng(0).permutation(len(corpus.table))[:SAMPLED]
    for batch in load_batches(corpus, np.array_split(rows, -(-len(rows) // 10))):
        for frames, length in zip(batch.features.numpy(), batch.lengths.tolist(), strict=True):
            stats.add(frames[:length])
    return stats
