"""Decoding on a GPU, as far as can be seen without one: no tensor is left behind on the CPU."""

import pytest
import torch

from egret.base.files import read_jsonl
from egret.base.options import as_plain
from egret.decoding import recognise, searches
from egret.decoding.recognise import encode
from egret.lang.lang import Lang
from egret.models.files import build_model
from egret.models.model import ENCODERS
from egret.models.options import ModelOptions
from folders import make_cuts, make_experiment, make_lang
from graphs import LEXICON, make_graph
from language_models import make_lm
from pretended_gpu import GPU, install, on_gpu

TEXTS = ["a be", "c", "ab a c", "bee", "be a"]
DECODE = ["--experiment", "exp", "--lang", "lang", "--threads", "1", "--test-cuts", "feats/test.jsonl", "--out", "out",
          "--word-times", "true"]  # fmt: skip


@pytest.fixture
def pretended_gpu(monkeypatch):
    return install(monkeypatch)


def test_the_pretended_gpu_tells_what_lies_where(pretended_gpu):
    with pretended_gpu:
        x = torch.ones(3, device="cuda")
        assert x.device == (x + 1).device == torch.ones(3).to(x).device == GPU
        assert x.cpu().device == torch.ones(3).device == torch.device("cpu")


@pytest.mark.parametrize("wrong", [
    lambda x: x + torch.ones(3), lambda x: x.numpy(), lambda x: torch.ones(3)[x.long()],
    lambda x: torch.cat([x, torch.ones(3)]), lambda x: torch.where(x > 0, x, torch.ones(3)),
])  # fmt: skip
def test_the_pretended_gpu_refuses_what_a_gpu_refuses(pretended_gpu, wrong):
    with pretended_gpu, pytest.raises((RuntimeError, TypeError)):
        wrong(torch.zeros(3, device="cuda"))


@pytest.fixture
def project(tmp_path):
    lang = make_lang(tmp_path / "lang", LEXICON, "SIL")
    make_experiment(tmp_path / "exp", lang, decoder="speller", ctc_weight=0.3)
    make_cuts(tmp_path / "feats/test.jsonl", TEXTS, [40, 12, 64, 13, 25], seed=2)
    return tmp_path


def hypotheses(project):
    found = {}
    for path in sorted(project.glob("out/*/hyp.jsonl")):
        for row in read_jsonl(path):
            found[path.parent.name, row["id"]] = [row["words"], row["tokens"], row["times"]]
    return found


def compare(project, run_step, gpu, *more):
    """Decode on the CPU and as if on a GPU."""
    run_step("decode", project, *DECODE, *more)
    wanted = hypotheses(project)
    encoded = []
    with gpu, pytest.MonkeyPatch.context() as patch:
        patch.setattr(recognise, "encode", lambda *given: encoded.append(encode(*given)) or encoded[-1])
        run_step("decode", project, *DECODE, *more, "--num-gpus", "1", "--force")
    assert encoded and all(on_gpu(each.x) for each in encoded)
    assert wanted and hypotheses(project) == wanted


@pytest.mark.parametrize("method", ["ctc_greedy", "ctc_prefix_beam", "attention_beam", "joint_beam"])
def test_a_search_finds_the_same_and_leaves_nothing_on_the_cpu(project, run_step, pretended_gpu, method):
    compare(project, run_step, pretended_gpu, "--method", method)


def test_so_does_a_transformers_decoder(project, run_step, pretended_gpu):
    make_experiment(project / "exp", Lang.read(project / "lang"), decoder="transformer_decoder", ctc_weight=0.3)
    compare(project, run_step, pretended_gpu, "--method", "joint_beam")


@pytest.mark.parametrize("network", ["lstm", "transformer"])
def test_so_does_a_language_model(project, run_step, pretended_gpu, network):
    make_lm(project / "lm", Lang.read(project / "lang"), network=network)
    compare(project, run_step, pretended_gpu, "--method", "neural_lm_rescore", "--neural-lm", "lm")


@pytest.mark.k2
@pytest.mark.parametrize("beam", ["8", "0.001"])
def test_so_do_searches_in_a_graph(k2, project, run_step, pretended_gpu, monkeypatch, beam):
    """But for what k2 itself does; with the narrower beam paths end where the graph may not."""
    make_graph(project / "graph", Lang.read(project / "lang"))
    scored = []
    search = k2.intersect_dense_pruned
    monkeypatch.setattr(k2, "with_cuda", True)
    monkeypatch.setattr(k2.Fsa, "to", lambda graph, device: graph)
    monkeypatch.setattr(k2, "intersect_dense_pruned", lambda graph, dense, **more: scored.append(dense.scores) or
                        search(graph, dense, **more))  # fmt: skip
    compare(project, run_step, pretended_gpu, "--method", "hlg_1best", "hlg_nbest", "attention_rescore",
            "--graph", "graph", "--hlg.sure-blank", "0.9", "--hlg.search-beam", beam)  # fmt: skip
    assert on_gpu(scored[-1])


@pytest.mark.k2
def test_a_k2_without_cuda_says_so(k2, project, run_step, pretended_gpu, monkeypatch):
    make_graph(project / "graph", Lang.read(project / "lang"))
    monkeypatch.setattr(k2, "with_cuda", False)
    with pretended_gpu:
        said = run_step(
            "decode", project, *DECODE, "--method", "hlg_1best", "--graph", "graph", "--num-gpus", "1", code=1
        )
    assert "the k2 that is installed was built without CUDA" in said


@pytest.mark.k2
def test_so_does_kaldi_decoder_which_searches_on_the_cpu(k2, project, run_step, pretended_gpu):
    pytest.importorskip("kaldi_decoder")
    make_graph(project / "graph", Lang.read(project / "lang"))
    compare(project, run_step, pretended_gpu, "--method", "hlg_1best", "--hlg.searcher", "kaldi-decoder",
            "--graph", "graph")  # fmt: skip


@pytest.mark.parametrize("encoder", ENCODERS)
def test_so_does_every_encoder(pretended_gpu, encoder):
    options = ModelOptions(encoder=encoder)
    config = {"model": as_plain(options), "features": 80, "tokens": 9}
    torch.manual_seed(1)
    model = build_model(config).eval()
    features, lengths = torch.randn(2, 90, 80), torch.tensor([90, 61])
    with torch.no_grad():
        wanted = encode(model, features, lengths)
        with pretended_gpu:
            found = encode(model.to(GPU), features, lengths)
            assert found.x.device == found.lengths.device == found.log_probs.device == GPU
    assert torch.equal(found.log_probs, wanted.log_probs)


def test_a_gpu_that_is_not_there_is_an_error(project, run_step):
    if torch.cuda.is_available():
        pytest.skip("there is one")
    said = run_step("decode", project, *DECODE, "--num-gpus", "1", code=1)
    assert (
        "--num-gpus 1: PyTorch sees no GPU; utils/doctor.py says what is wrong, --num-gpus 0 decodes on the CPU" in said
    )


def test_more_than_one_gpu_is_wrong_usage(project, run_step):
    assert "--num-gpus 2: must be at most 1" in run_step("decode", project, *DECODE, "--num-gpus", "2", code=2)


def test_before_the_next_attempt_the_cache_of_the_gpu_is_emptied(project, run_step, monkeypatch):
    happened = []
    whole = searches.ctc_greedy

    def greedy(log_probs, lengths):
        happened.append(len(log_probs))
        if len(log_probs) > 3:
            raise RuntimeError("CUDA out of memory. Tried to allocate 9.00 GiB")
        return whole(log_probs, lengths)

    monkeypatch.setattr(searches, "ctc_greedy", greedy)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: happened.append("emptied"))
    run_step("decode", project, *DECODE, "--method", "ctc_greedy")
    assert happened == [5, "emptied", 2, 3]
