"""import bert_cn, as a user writes it."""

import subprocess
import sys

import numpy as np
import pytest

import bert_cn
from bert_cn.conversion import formats, mask_filling
from tests.conftest import REPOSITORY

NEWS = REPOSITORY / "data_prep" / "sample_corpus" / "news.txt"


@pytest.fixture(scope="module")
def folder(build_bert, tmp_path_factory):
    path = tmp_path_factory.mktemp("api") / "pt"
    formats.write_checkpoint(build_bert(), "pt", str(path))
    return str(path)


def test_names_are_there_before_tensorflow_is():
    code = (
        "import sys, bert_cn; assert bert_cn.__version__;"
        "assert 'load' in dir(bert_cn);"
        "assert 'tensorflow' not in sys.modules; bert_cn.mask; "
        "assert 'tensorflow' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=True)
    with pytest.raises(AttributeError, match="has no attribute 'lode'"):
        _ = bert_cn.lode


def test_checkpoint_fills_masks_as_the_command_does(folder, run_command):
    bert = bert_cn.load(folder)
    filled = bert.fill_mask("中国的首都是[MASK]京。", top_k=2)
    done = run_command(
        "bert_cn.fill_mask",
        *(f"--checkpoint={folder}", "--top_k=2", "中国的首都是[MASK]京。"),
    )
    lines = done.stdout.splitlines()[1:3]
    assert [
        f"  [MASK]  {n}. {x}  {p:.4f}" for n, (x, p) in enumerate(filled[0], 1)
    ] == (lines)
    assert "layers, hidden" in repr(bert)
    with pytest.raises(ValueError, match=r"No \[MASK\] in"):
        bert.fill_mask("中国")


def test_joint_filling_takes_the_surest_first(folder):
    bert = bert_cn.load(folder)
    text = "中国的[MASK]都是[MASK]京。"
    alone = bert.fill_mask(text, top_k=1)
    joint = bert.fill_mask(text, top_k=1, joint=True)
    first = int(alone[1][0][1] > alone[0][0][1])
    assert joint[first] == alone[first]
    # The other one is what is likeliest once the first stands there.
    ids = mask_filling.encode_text(text, bert._bert)
    places = np.flatnonzero(ids == bert._bert.vocabulary.mask_id)
    ids[places[first]] = bert._bert.vocabulary.ids[joint[first][0][0]]
    rest = mask_filling.fill(bert.model, ids, bert._bert, 1)
    assert joint[1 - first][0][1] == pytest.approx(rest[0][0][1])


def test_vectors_are_those_of_the_command(folder, run_command, tmp_path):
    texts = ["中国的首都", "使用语言", "北京"]
    (tmp_path / "lines.txt").write_text("\n".join(texts) + "\n", encoding="utf-8")
    done = run_command(
        "bert_cn.encode_sentences",
        *(f"--checkpoint={folder}", f"--input_file={tmp_path}/lines.txt"),
        f"--output_file={tmp_path}/vectors.npy",
    )
    assert done.returncode == 0, done.stderr
    bert = bert_cn.load(folder)
    np.testing.assert_allclose(
        bert.encode(texts), np.load(tmp_path / "vectors.npy"), atol=1e-6
    )
    lengths = np.linalg.norm(bert.encode(texts, pooling="cls", normalize=True), axis=1)
    np.testing.assert_allclose(lengths, 1, rtol=1e-5)


def test_tokens_and_other_formats(folder, tmp_path):
    bert = bert_cn.load(folder)
    assert bert.tokens("使用语言") == list("使用语言")
    bert.save(str(tmp_path / "tf1"), "tf1")
    again = bert_cn.load(str(tmp_path / "tf1"))
    assert again.fill_mask("[MASK]京")[0][0][0] == bert.fill_mask("[MASK]京")[0][0][0]


@pytest.mark.parametrize("masking", ["wwm", "token", "ngram"])
def test_masks_take_whole_words_or_tokens(masking):
    text = "他们用语言模型来预测句子里的下一个词语。"
    found = set()
    for seed in range(30):
        tokens = bert_cn.mask(
            text, masking=masking, masked_lm_prob=0.3, random_seed=seed
        )
        assert len(tokens) == len(text)
        for word in ("语言", "模型", "预测", "词语"):
            place = text.index(word)
            kept = [tokens[place + i] == word[i] for i in range(2)]
            hidden = [tokens[place + i] == "[MASK]" for i in range(2)]
            if sum(hidden) == 1 and sum(kept) == 1:
                found.add(word)
    # By word, [MASK] beside a token that stays is one of the 10 % that do.
    assert len(found) == 4 if masking == "token" else True
    with pytest.raises(ValueError, match="masking must be one of wwm, token"):
        bert_cn.mask(text, masking="words")
    with pytest.raises(ValueError, match="has no token: pass a line of text"):
        bert_cn.mask("  ")


def test_records_are_read_as_training_reads_them(run_command, tmp_path):
    vocabulary = tmp_path / "vocab.txt"
    characters = sorted(set(NEWS.read_text(encoding="utf-8").lower()) - set(" \n"))
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *characters]
    vocabulary.write_text("\n".join(tokens) + "\n", encoding="utf-8")
    done = run_command(
        "data_prep.create_pretraining_data",
        *(f"--input_file={NEWS}", f"--output_file={tmp_path}/r.tfrecord"),
        *(f"--vocab_file={vocabulary}", "--masking_time=dynamic", "--packing=chunks"),
    )
    assert done.returncode == 0, done.stderr
    batches = bert_cn.dataset(f"{tmp_path}/r.tfrecord", batch_size=4)
    first, second = (next(iter(batches))["input_ids"].numpy() for _ in range(2))
    assert first.shape == (4, 128)
    np.testing.assert_array_equal(first, second)
    with pytest.raises(ValueError, match="matches no file"):
        bert_cn.dataset("none*.tfrecord", 4)
