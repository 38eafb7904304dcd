"""The recipe thchs30 reads transcripts of three lines through links of any kind, makes dictionaries, loses nothing."""

import json
import shutil
import sys
import tarfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import soundfile

from egret.corpus.cuts import read_cuts, references
from program import program

ROOT = Path(__file__).resolve().parents[1]
PREPARE = "egs/thchs30/local/prepare.py"
RATE = 16000
# By sentence: words, syllables, phones. 行 and 乐 have two readings.
SENTENCES = {
    0: ("我 在 银行", "wo3 zai4 yin2 hang2", "uu uo3 z ai4 ii in2 h ang2"),
    1: ("自行车 是 绿 的", "zi4 xing2 che1 shi4 lv4 de5", "z iy4 x ing2 ch e1 sh ix4 l v4 d e5"),
    2: ("音乐", "yin1 yue4", "ii in1 vv ve4"),
    3: ("快乐 的 老师", "kuai4 le4 de5 lao3 shi1", "k uai4 l e4 d e5 l ao3 sh ix1"),
    750: ("山水 在 北京", "shan1 shui3 zai4 bei3 jing1", "sh an1 sh ui3 z ai4 b ei3 j ing1"),
    751: ("老师 是 我", "lao3 shi1 shi4 wo3", "l ao3 sh ix1 sh ix4 uu uo3"),
}
PARTS = {
    "train": [f"{speaker}_{sentence}" for speaker in ("A2", "A11", "A33") for sentence in range(4)][:-2],
    "dev": ["A33_2", "A33_3"],
    "test": [f"{speaker}_{sentence}" for speaker in ("D4", "D6", "D8", "D31") for sentence in (750, 751)],
}
LEXICON = "<s> sil\n</s> sil\n北京 b ei3 j ing1\n行 h ang2\n天津 t ian1 j in1\n"
ARPA = "\\data\\\nngram 1=3\n\n\\1-grams:\n-1\t<unk>\n-99\t<s>\n-1\t</s>\n\n\\end\\\n"


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return make_corpus(tmp_path / "data_thchs30")


def make_corpus(folder: Path) -> Path:
    """Three training speakers, two dev utterances, four test speakers; noise for speech. Returns the folder."""
    (folder / "data").mkdir(parents=True)
    for part, names in PARTS.items():
        (folder / part).mkdir()
        for seed, name in enumerate(names):
            write_noise(folder / "data" / f"{name}.wav", seed + 100 * len(part))
            lines = SENTENCES[int(name.partition("_")[2])]
            (folder / "data" / f"{name}.wav.trn").write_text("".join(f"{line}\n" for line in lines))
            for ending in (".wav", ".wav.trn"):
                (folder / part / f"{name}{ending}").symlink_to(f"../data/{name}{ending}")
    for kind in ("word", "phone"):
        (folder / f"lm_{kind}").mkdir()
        (folder / f"lm_{kind}" / f"{kind}.3gram.lm").write_text(ARPA)
        (folder / f"lm_{kind}" / "lexicon.txt").write_text(LEXICON)
    return folder


def write_noise(path: Path, seed: int) -> None:
    samples = (np.random.RandomState(seed).randn(RATE // 2) * 2000).astype(np.int16)
    soundfile.write(path, samples, RATE, subtype="PCM_16")


def prepare(corpus: Path, *options: object, code: int = 0) -> str:
    """What stage 0 says; the cuts are in `cuts` beside the corpus."""
    out = corpus.parent / "cuts"
    ended, said = program(PREPARE, "--corpus", corpus, "--out", out, "--max-reject-percent", 20, *options)
    assert ended == code, said
    return said


def texts(corpus: Path, part: str) -> dict[str, str]:
    return references(corpus.parent / "cuts" / f"{part}.jsonl")


def supervision(corpus: Path, part: str, name: str) -> dict:
    cuts = read_cuts(corpus.parent / "cuts" / f"{part}.jsonl")
    return next(cut["supervisions"][0] for cut in cuts if cut["id"] == name)


def rejected(corpus: Path) -> list[dict]:
    return [json.loads(line) for line in (corpus.parent / "cuts/rejected.jsonl").read_text().splitlines()]


def lexicon(corpus: Path, unit: str) -> list[str]:
    return (corpus.parent / "cuts" / f"lexicon_{unit}.txt").read_text().splitlines()


def as_text(corpus: Path, ending: str) -> None:
    """Make a text file of every link to a file of this ending, as where links cannot be."""
    for path in [path for part in PARTS for path in (corpus / part).glob(f"*{ending}")]:
        target = path.readlink()
        path.unlink()
        path.write_text(f"{target}\n")


# What is read


def test_the_first_line_is_the_text_of_the_word_task(corpus: Path):
    assert "kept 20, rejected 0" in prepare(corpus)
    assert texts(corpus, "test")["D4_750"] == "山水 在 北京"


def test_characters_are_words_after_the_normaliser(corpus: Path):
    prepare(corpus, "--normaliser", "mandarin")
    assert texts(corpus, "test")["D4_750"] == "山 水 在 北 京"


def test_syllables_and_phones_go_with_it(corpus: Path):
    prepare(corpus)
    spoken = {"syllables": "yin1 yue4", "phones": "ii in1 vv ve4"}
    assert supervision(corpus, "train", "A11_2")["custom"] == spoken


def test_the_third_line_is_the_text_of_the_phone_task(corpus: Path):
    prepare(corpus, "--task", "phone")
    about = supervision(corpus, "train", "A11_2")
    assert about["text"] == "ii in1 vv ve4" and "custom" not in about


def test_the_name_says_who_speaks(corpus: Path):
    prepare(corpus)
    assert supervision(corpus, "train", "A11_2")["speaker"] == "A11"


def test_speakers_and_sentences_are_ordered_as_numbers(corpus: Path):
    prepare(corpus)
    assert list(texts(corpus, "train")) == PARTS["train"]


@pytest.mark.parametrize("ending", [".wav.trn", ".wav"])
def test_links_that_were_unpacked_as_texts_are_followed(ending: str, corpus: Path):
    prepare(corpus)
    before = texts(corpus, "train")
    as_text(corpus, ending)
    prepare(corpus, "--force", "true")
    assert rejected(corpus) == []
    assert texts(corpus, "train") == before


def test_a_link_that_was_lost_is_looked_for_in_data(corpus: Path):
    (corpus / "test/D4_750.wav").unlink()
    (corpus / "test/D6_750.wav.trn").unlink()
    assert "kept 20, rejected 0" in prepare(corpus)


def test_a_part_with_files_of_its_own_needs_no_data(corpus: Path):
    for path in [path for part in PARTS for path in (corpus / part).iterdir()]:
        content = path.read_bytes()
        path.unlink()
        path.write_bytes(content)
    shutil.rmtree(corpus / "data")
    assert "kept 20, rejected 0" in prepare(corpus)


def test_other_line_ends_a_mark_and_gbk_change_nothing(corpus: Path):
    path = corpus / "data/D4_750.wav.trn"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b" \r\n"))
    other = corpus / "data/D6_750.wav.trn"
    other.write_bytes(other.read_text().encode("gbk"))
    said = prepare(corpus)
    assert "D6_750.wav.trn:1: not UTF-8; the file is read as GBK" in said
    assert texts(corpus, "test")["D4_750"] == texts(corpus, "test")["D6_750"] == "山水 在 北京"


@pytest.mark.parametrize("above", [True, False])
def test_the_folder_that_holds_the_corpus_may_be_given(above: bool, corpus: Path):
    given = corpus.parent if above else corpus
    assert program(PREPARE, "--corpus", given, "--out", corpus.parent / "cuts")[0] == 0


# What does not fit together


def test_a_transcript_without_all_three_lines_is_rejected(corpus: Path):
    path = corpus / "data/A2_1.wav.trn"
    path.write_text("自行车 是 绿 的\n")
    assert "rejected: transcript 1" in prepare(corpus)
    (row,) = rejected(corpus)
    assert (row["id"], row["detail"]) == ("A2_1", "A2_1.wav.trn: lacks its line of syllables and of phones")


def test_a_recording_without_a_transcript_is_rejected(corpus: Path):
    for place in ("train", "data"):
        (corpus / place / "A2_1.wav.trn").unlink()
    prepare(corpus)
    (row,) = rejected(corpus)
    assert row["detail"] == "no A2_1.wav.trn to be read, neither there nor in data/"


def test_a_transcript_without_a_recording_is_rejected(corpus: Path):
    for place in ("train", "data"):
        (corpus / place / "A2_1.wav").unlink()
    prepare(corpus)
    (row,) = rejected(corpus)
    assert (row["reason"], row["detail"]) == ("no recording", "A2_1.wav.trn is there, A2_1.wav is not")


def test_a_training_word_that_nothing_pronounces_is_named(corpus: Path):
    path = corpus / "data/A2_1.wav.trn"
    path.write_text(path.read_text().replace("自行车", "DVD 龘"))
    assert "rejected: unknown word 1" in prepare(corpus, "--normaliser", "mandarin")
    (row,) = rejected(corpus)
    assert row["detail"] == "neither a dictionary nor a transcript tells how DVD, 龘 is pronounced"


def test_a_transcript_whose_lines_do_not_match_stays_where_its_words_are_known(corpus: Path):
    path = corpus / "data/A2_1.wav.trn"
    path.write_text(path.read_text().replace("自行车", "自行"))
    assert "rejected 0" in prepare(corpus, "--normaliser", "mandarin")
    assert texts(corpus, "train")["A2_1"] == "自 行 是 绿 的"


def test_a_link_to_nothing_is_rejected(corpus: Path):
    (corpus / "data/A2_1.wav").unlink()
    assert "rejected: missing 1" in prepare(corpus)


def test_a_truncated_recording_is_rejected(corpus: Path):
    path = corpus / "data/A2_1.wav"
    path.write_bytes(path.read_bytes()[:-1000])
    assert "rejected: truncated 1" in prepare(corpus)


def test_recordings_that_no_part_has_are_named(corpus: Path):
    write_noise(corpus / "data/C4_700.wav", 7)
    assert "1 recording of data/ in no part, left out: C4_700" in prepare(corpus)


def test_more_than_the_allowed_share_stops_it(corpus: Path):
    for path in (corpus / "data").glob("D*.wav"):
        path.unlink()
    said = prepare(corpus, code=1)
    assert "8 of 20 utterances rejected, 40.0 % where 20 % are allowed (missing 8;" in said


# What is no corpus


@pytest.mark.parametrize("files", [[], ["waves_yesno/1_0.wav"], ["dev/x.wav", "doc/trans.txt"]])
def test_a_corpus_of_another_kind_is_named_with_what_it_holds(files: list[str], tmp_path: Path):
    (tmp_path / "other").mkdir()
    for name in files:
        (tmp_path / "other" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "other" / name).touch()
    said = prepare(tmp_path / "other", code=1).splitlines()[-1]
    holds = {0: "(empty)", 1: "(it holds waves_yesno)", 2: "(it holds dev, doc)"}[len(files)]
    assert f"other: no train/, dev/ and test/ in it or in data_thchs30/ {holds}; give --corpus DIR" in said


def test_a_corpus_with_folders_of_the_same_names_is_refused(tmp_path: Path):
    for part in ("train", "dev", "test"):
        (tmp_path / "other" / part / "S0002").mkdir(parents=True)
    said = prepare(tmp_path / "other", code=1)
    assert "other/train: holds no recordings; is this another corpus than THCHS-30?" in said


def test_a_folder_that_is_not_there_is_named(tmp_path: Path):
    assert "nowhere: no such folder; give --corpus DIR" in prepare(tmp_path / "nowhere", code=1)


def test_a_part_that_is_missing_is_named(corpus: Path):
    shutil.rmtree(corpus / "dev")
    assert "data_thchs30: lacks dev/; unpack the whole of data_thchs30.tgz" in prepare(corpus, code=1)


# Dictionaries and language models


def test_words_and_characters_of_the_transcripts_have_their_readings(corpus: Path):
    prepare(corpus)
    phones = lexicon(corpus, "phone")
    assert "银行 ii in2 h ang2" in phones and "自行车 z iy4 x ing2 ch e1" in phones
    assert [line for line in lexicon(corpus, "syllable") if line.startswith("行 ")] == ["行 hang2", "行 xing2"]


def test_the_test_part_says_nothing_about_the_dictionary(corpus: Path):
    prepare(corpus)
    assert not [line for line in lexicon(corpus, "phone") if line.startswith("山")]


def test_words_of_the_corpus_dictionary_are_added_without_its_marks(corpus: Path):
    prepare(corpus)
    assert "北京 b ei3 j ing1" in lexicon(corpus, "phone")
    assert not [line for line in lexicon(corpus, "phone") if line.startswith("<")]


def test_resource_beside_the_corpus_is_read_too(corpus: Path):
    (corpus.parent / "resource/dict").mkdir(parents=True)
    (corpus.parent / "resource/dict/lexicon.txt").write_text("SIL sil\n<SPOKEN_NOISE> sil\n绿茶 l v4 ch a2\n")
    prepare(corpus)
    assert "绿茶 l v4 ch a2" in lexicon(corpus, "phone")
    assert not [line for line in lexicon(corpus, "phone") if line.endswith(" sil")]


def test_words_with_syllables_that_nobody_says_are_in_no_syllable_dictionary(corpus: Path):
    said = prepare(corpus)
    assert "天津 t ian1 j in1" in lexicon(corpus, "phone")
    assert not [line for line in lexicon(corpus, "syllable") if line.startswith("天津")]
    assert "2 pronunciations have syllables that nobody says in train" in said and "天津" in said


def test_words_of_two_dictionaries_are_counted_once(corpus: Path):
    (corpus.parent / "resource/dict").mkdir(parents=True)
    shutil.copy(corpus / "lm_word/lexicon.txt", corpus.parent / "resource/dict/lexicon.txt")
    said = prepare(corpus)
    (line,) = (line for line in said.splitlines() if "nobody says in train" in line)
    assert "2 pronunciations have" in line and line.count("天津") == 1


def test_without_dictionaries_the_words_are_those_of_the_transcripts(corpus: Path):
    shutil.rmtree(corpus / "lm_word")
    assert "neither lm_word/lexicon.txt nor resource/" in prepare(corpus)
    assert "音乐 ii in1 vv ve4" in lexicon(corpus, "phone")


@pytest.mark.parametrize("task", ["word", "phone"])
def test_the_3_gram_of_the_task_lies_beside_the_cuts(task: str, corpus: Path):
    (corpus / f"lm_{task}/{task}.3gram.lm").write_text(ARPA + task)
    prepare(corpus, "--task", task)
    assert (corpus.parent / "cuts/corpus.arpa").read_text() == ARPA + task


def test_without_a_3_gram_there_is_an_empty_file(corpus: Path):
    prepare(corpus)
    shutil.rmtree(corpus / "lm_word")
    prepare(corpus)
    assert (corpus.parent / "cuts/corpus.arpa").read_text() == ""


# The parts


def test_sentences_that_two_parts_share_are_counted(corpus: Path):
    assert "dev: 2 of 2 utterances are of sentences that train has too" in prepare(corpus)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_no_sentence_of_a_held_out_dev_part_is_in_train(corpus: Path, seed: int):
    assert "kept 20" in prepare(corpus, "--dev", "sentences", "--dev-seed", seed)
    train, dev = ({name.partition("_")[2] for name in texts(corpus, part)} for part in ("train", "dev"))
    assert dev and not train & dev


def test_the_dictionary_knows_nothing_of_held_out_sentences(corpus: Path):
    prepare(corpus, "--dev", "sentences")
    trained = set("".join(texts(corpus, "train").values()))
    held_out = set("".join(texts(corpus, "dev").values())) - trained
    characters = set("".join(line.split()[0] for line in lexicon(corpus, "phone")))
    assert held_out and not held_out & characters


def test_both_tasks_hold_out_the_same_sentences(corpus: Path):
    prepare(corpus, "--dev", "sentences")
    first = list(texts(corpus, "dev"))
    prepare(corpus, "--dev", "sentences", "--task", "phone")
    assert list(texts(corpus, "dev")) == first


# The download


@pytest.fixture
def server(tmp_path: Path):
    folder = tmp_path / "server"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def download(folder: Path, url: str) -> tuple[int, str]:
    return program(PREPARE, "--download", folder / "download", "--url", url, "--out", folder / "cuts")


def test_without_a_corpus_both_archives_are_downloaded(server: str, tmp_path: Path):
    with tarfile.open(tmp_path / "server/data_thchs30.tgz", "w:gz") as out:
        out.add(make_corpus(tmp_path / "made"), "data_thchs30")
    (tmp_path / "lexicon.txt").write_text("绿茶 l v4 ch a2\n")
    with tarfile.open(tmp_path / "server/resource.tgz", "w:gz") as out:
        out.add(tmp_path / "lexicon.txt", "resource/dict/lexicon.txt")
    code, said = download(tmp_path, server)
    assert code == 0 and "kept 20, rejected 0" in said
    assert "绿茶 l v4 ch a2\n" in (tmp_path / "cuts/lexicon_phone.txt").read_text()


def test_a_failed_download_says_both_ways_on(server: str, tmp_path: Path):
    code, said = download(tmp_path, server)
    assert code == 1 and "give --corpus DIR" in said
    assert f"download {server}/data_thchs30.tgz by hand to {tmp_path}/download/data_thchs30.tgz" in said


# The miniature


def test_the_miniature_has_the_same_layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("espeakng_loader")
    monkeypatch.syspath_prepend(ROOT / "local")
    from mini.corpus import Shape, make
    from mini.thchs30 import plan

    make(plan(Shape(speakers=3, test_speakers=1, utterances=2)), tmp_path / "mini", workers=1)
    assert (tmp_path / "mini/data_thchs30/test").is_dir() and "mini.thchs30" in sys.modules
    said = prepare(tmp_path / "mini")
    assert "kept 8, rejected 1" in said and "1 recording of data/ in no part" in said


@pytest.mark.parametrize(
    ("syllable", "phones"),
    [("shi4", "sh ix4"), ("zi4", "z iy4"), ("ri4", "r iz4"), ("lv4", "l v4"), ("xue2", "x ve2"), ("yuan2", "vv van2"),
     ("er2", "ee er2"), ("an1", "aa an1"), ("wo3", "uu uo3"), ("you3", "ii iu3"), ("liu4", "l iu4"), ("yi1", "ii i1")],
)  # fmt: skip
def test_syllables_are_spelled_as_the_corpus_spells_them(syllable: str, phones: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(ROOT / "local")
    from mini.thchs30 import phones as spelled

    assert " ".join(spelled(syllable)) == phones
