"""Egret: speech recognition recipes, the Kaldi way, on Lhotse, kaldifeat, PyTorch, KenLM and k2."""

__version__ = "0.1.0"
