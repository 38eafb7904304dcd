"""Commands in wav.scp that only decode a file are understood, and no others."""

from pathlib import Path

import pytest

from egret.corpus.kaldi_dir import Recording, decoder_of

A = Path("a b.flac")


@pytest.mark.parametrize(
    ("command", "recording"),
    [
        ("flac -c -d -s 'a b.flac'", Recording(A)),
        ("/usr/bin/flac -cds 'a b.flac'", Recording(A)),
        ("flac --decode --stdout 'a b.flac'", Recording(A)),
        ("cat 'a b.flac'", Recording(A)),
        ("sph2pipe -f wav 'a b.flac'", Recording(A)),
        ("sph2pipe -f wav -p -c 2 'a b.flac'", Recording(A, 1)),
    ],
)
def test_a_plain_decoder_is_its_file(command: str, recording: Recording):
    assert decoder_of(command) == recording


@pytest.mark.parametrize(
    "command",
    [
        "sox a.wav -r 16000 -t wav -",
        "flac -c -d a.flac | sox - -t wav -",
        "flac -c -d a.flac; rm -rf x",
        "flac -d a.flac",
        "cat $(touch harm)",
        "cat a.wav > b.wav",
        "sph2pipe -f raw a.sph",
        "sph2pipe -c 3 a.sph",
        "cat",
        "flac 'a",
    ],
)
def test_whatever_else_is_a_command(command: str):
    assert decoder_of(command) is None
