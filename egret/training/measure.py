"""What batches are measured in, in the words of messages and curves."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Measure:
    """Words for a kind of data.

    Attributes:
      item: what a batch consists of.
      amount: what its size is counted in.
      limit: the option that bounds the size of a batch.
      dev: the options that give what training is judged by.
      speed: how much is trained on in a second, or the same in an hour for an hour, as a format.
      curve: the speed's name among the curves.
    """

    item: str
    amount: str
    limit: str
    dev: str
    speed: str
    curve: str


SPEECH = Measure(
    "utterance", "s of speech", "--batch.max-duration", "--dev-cuts", "%.1f h of speech/h", "speech_per_hour"
)
TEXT = Measure(
    "sentence", "tokens", "--batch.max-tokens", "--dev-cuts or --dev-text", "%.0f tokens/s", "tokens_per_second"
)
