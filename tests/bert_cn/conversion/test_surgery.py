"""Another vocabulary, fewer layers: which rows and layers stay, which are new."""

import dataclasses

import numpy as np
import pytest

from bert_cn.conversion import formats, surgery, tokenizer_files
from bert_cn.conversion.weight_map import Part
from data_prep.text import vocab as vocab_lib

WORDS = "bert/embeddings/word_embeddings"
BIAS = "cls/predictions/output_bias"


@pytest.fixture
def larger(vocab_file, tmp_path):
    """The vocabulary backwards with 300 new tokens in front, and without "中"."""
    tokens = vocab_file.read_text(encoding="utf-8").split()
    tokens = [*(f"new{i}" for i in range(300)), *reversed(tokens)]
    tokens.remove("中")
    path = tmp_path / "larger.txt"
    path.write_text("\n".join(tokens) + "\n", encoding="utf-8")
    return vocab_lib.load_vocabulary(str(path))


def test_tokens_of_both_vocabularies_keep_their_rows(build_bert, larger):
    bert = build_bert()

    resized = surgery.resize_vocabulary(bert, larger, np.random.default_rng(1))

    assert resized.config.vocab_size == len(larger) == 341
    assert resized.weights[WORDS].shape == (341, 12)
    for token in ("[PAD]", "[MASK]", "国", "##bility", ">"):
        new, old = larger.ids[token], bert.vocabulary.ids[token]
        assert new != old
        for name in (WORDS, BIAS):
            assert np.array_equal(resized.weights[name][new], bert.weights[name][old])
    assert resized.vocabulary.data == larger.data
    for name in bert.weights.keys() - {WORDS, BIAS}:
        assert np.array_equal(resized.weights[name], bert.weights[name])
    assert bert.config.vocab_size == 42
    assert "41 of 341 tokens kept their rows" in resized.training_notes


def test_new_rows_are_as_the_initializer_draws_them(build_bert, larger):
    bert = build_bert(initializer_range=0.05)

    resized = surgery.resize_vocabulary(bert, larger, np.random.default_rng(1))
    again = surgery.resize_vocabulary(bert, larger, np.random.default_rng(1))
    other = surgery.resize_vocabulary(bert, larger, np.random.default_rng(2))

    rows = resized.weights[WORDS][:300]
    # A normal cut off at two deviations has 0.88 of its deviation.
    assert np.abs(rows).max() <= 0.1
    assert rows.std() == pytest.approx(0.88 * 0.05, rel=0.05)
    assert abs(rows.mean()) < 0.004
    assert not resized.weights[BIAS][:300].any()
    assert np.array_equal(rows, again.weights[WORDS][:300])
    assert not np.array_equal(rows, other.weights[WORDS][:300])


def test_model_without_head_is_resized(build_bert, larger):
    bert = build_bert(parts=(Part.ENCODER, Part.POOLER))
    rng = np.random.default_rng(1)

    assert BIAS not in surgery.resize_vocabulary(bert, larger, rng).weights


def test_model_without_vocabulary_cannot_be_resized(build_bert, larger):
    bert, rng = build_bert(), np.random.default_rng(1)
    bert.vocabulary = None

    with pytest.raises(ValueError, match=r"has no vocab.txt, so which row belongs"):
        surgery.resize_vocabulary(bert, larger, rng)


def test_kept_layers_are_numbered_from_0_again(build_bert):
    bert = build_bert(num_hidden_layers=4)

    kept = surgery.keep_layers(bert, [1, 3])

    assert kept.config.num_hidden_layers == 2
    for new, old in ((0, 1), (1, 3)):
        for name in ("attention/self/query/kernel", "output/LayerNorm/beta"):
            assert np.array_equal(
                kept.weights[f"bert/encoder/layer_{new}/{name}"],
                bert.weights[f"bert/encoder/layer_{old}/{name}"],
            )
    assert len(kept.weights) == len(bert.weights) - 2 * 16
    assert "Layers kept after that: 1,3 of 4" in kept.training_notes


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([], "must name layers from 0 to 1, .*Received: none"),
        ([0, 2], "must name layers from 0 to 1, .*Received: 0,2"),
        ([-1], "must name layers from 0 to 1, .*Received: -1"),
        ([1, 0], "must ascend, each layer once.*Received: 1,0"),
        ([1, 1], "must ascend, each layer once.*Received: 1,1"),
    ],
)
def test_layers_that_are_not_there_are_refused(layers, message, build_bert):
    with pytest.raises(ValueError, match=message):
        surgery.keep_layers(build_bert(), layers)


def test_command_resizes_and_drops_layers(run_command, build_bert, larger, tmp_path):
    bert = build_bert()
    formats.write_checkpoint(bert, "tf1", str(tmp_path / "in"))

    done = run_command(
        "bert_cn.convert_checkpoint",
        f"--input={tmp_path / 'in'}",
        f"--output_dir={tmp_path / 'out'}",
        "--output_format=tf2",
        "--resize_embeddings",
        f"--vocab_file={larger.path}",
        "--random_seed=3",
        "--keep_layers=1",
    )

    assert done.returncode == 0, done.stderr
    assert (
        "Resized the embeddings from 42 to 341 rows: 41 are kept, 0 are means of their "
        "pieces' rows, 300 are drawn with --random_seed=3, 1 are dropped."
        in done.stdout
    )
    assert "Kept layers 1." in done.stdout
    back = formats.read_checkpoint(str(tmp_path / "out"))
    expected = surgery.resize_vocabulary(
        surgery.keep_layers(bert, [1]), larger, np.random.default_rng(3)
    )
    assert np.array_equal(back.weights[WORDS], expected.weights[WORDS])
    assert back.vocabulary.tokens == larger.tokens
    assert tokenizer_files.lower_case(back) is False
    assert "Vocabulary replaced after that" in (tmp_path / "out/README.md").read_text()


def test_command_drops_the_rows_that_pad_a_model(
    run_command, build_bert, assert_same_weights, assert_refused, tmp_path
):
    padded = build_bert(vocab_size=48)
    formats.write_checkpoint(padded, "pt", str(tmp_path / "padded"))
    vocab_file = tmp_path / "padded" / "vocab.txt"
    convert = (
        "bert_cn.convert_checkpoint",
        f"--input={tmp_path / 'padded'}",
        "--output_format=tf1",
        f"--output_dir={tmp_path / 'out'}",
    )
    assert_refused(*convert, saying=("has 42 tokens", "has 48:", "padded model"))

    done = run_command(*convert, "--resize_embeddings", f"--vocab_file={vocab_file}")

    assert done.returncode == 0, done.stderr
    assert "from 48 to 42 rows: 42 are kept, 0 are means" in done.stdout
    rows = {WORDS: padded.weights[WORDS][:42], BIAS: padded.weights[BIAS][:42]}
    expected = dataclasses.replace(
        padded,
        config=dataclasses.replace(padded.config, vocab_size=42),
        weights=padded.weights.replace(rows),
    )
    assert_same_weights(formats.read_checkpoint(str(tmp_path / "out")), expected)


def test_command_takes_the_named_vocabulary_for_one_that_does_not_fit(
    run_command, build_bert, assert_same_weights, tmp_path
):
    bert = build_bert()
    formats.write_checkpoint(bert, "tf1", str(tmp_path / "in"))
    (tmp_path / "in" / "vocab.txt").rename(tmp_path / "named.txt")
    (tmp_path / "in" / "vocab.txt").write_bytes(bert.vocabulary.data + b"more\n")

    done = run_command(
        "bert_cn.convert_checkpoint",
        f"--input={tmp_path / 'in'}",
        "--output_format=tf1",
        f"--output_dir={tmp_path / 'out'}",
        f"--vocab_file={tmp_path / 'named.txt'}",
    )

    assert done.returncode == 0, done.stderr
    back = formats.read_checkpoint(str(tmp_path / "out"))
    assert_same_weights(back, bert)
    assert back.vocabulary.data == bert.vocabulary.data


def test_more_tokens_than_rows_are_not_resized(build_bert, larger):
    bert = build_bert()
    bert.vocabulary = larger
    with pytest.raises(ValueError, match="has 341 tokens, but the model .* has 42:"):
        surgery.resize_vocabulary(bert, larger, np.random.default_rng(1))


@pytest.mark.parametrize(
    ("flag", "saying"),
    [
        ("--resize_embeddings", "name it by --vocab_file"),
        ("--keep_layers=first", "--keep_layers must be numbers with commas between"),
    ],
)
def test_command_refuses_flags_that_make_no_sense(
    flag, saying, assert_refused, build_bert, tmp_path
):
    formats.write_checkpoint(build_bert(), "tf1", str(tmp_path / "in"))

    assert_refused(
        "bert_cn.convert_checkpoint",
        f"--input={tmp_path / 'in'}",
        f"--output_dir={tmp_path / 'out'}",
        "--output_format=tf2",
        flag,
        saying=(saying,),
    )
    assert not (tmp_path / "out").exists()


def test_new_words_begin_as_the_mean_of_their_pieces(build_bert):
    bert = build_bert()
    words = ["中国", "国中国"]
    vocabulary = surgery.add_words(bert, words)
    changed = surgery.resize_vocabulary(bert, vocabulary, np.random.default_rng(1))
    assert changed.config.vocab_size == len(vocabulary) == 44
    for name in (WORDS, BIAS):
        old, new = bert.weights[name], changed.weights[name]
        for word in words:
            pieces = [bert.vocabulary.ids[char] for char in word]
            np.testing.assert_allclose(
                new[vocabulary.ids[word]], old[pieces].mean(0), rtol=1e-6
            )
        assert np.array_equal(new[:42], old)
    assert (
        "2 began as the mean of their pieces', 0 are random" in changed.training_notes
    )


def test_positions_are_extended_by_hierarchical_decomposition(build_bert):
    name = "bert/embeddings/position_embeddings"
    bert = build_bert()
    old = bert.weights[name]
    count = len(old)

    larger = surgery.resize_positions(bert, 2 * count + 3)

    table = larger.weights[name]
    assert larger.config.max_position_embeddings == len(table) == 2 * count + 3
    assert np.array_equal(table[:count], old)
    base = (old - 0.4 * old[0]) / 0.6
    for block, place in ((1, 0), (1, count - 1), (2, 2)):
        expected = 0.4 * base[block] + 0.6 * base[place]
        np.testing.assert_allclose(table[block * count + place], expected, atol=1e-6)
    for other in bert.weights.keys() - {name}:
        assert np.array_equal(larger.weights[other], bert.weights[other])
    for wrong in (count - 1, count * count + 1):
        with pytest.raises(ValueError, match=f"--resize_positions={wrong}: .* has"):
            surgery.resize_positions(bert, wrong)


def test_command_adds_words_and_positions_that_transformers_uses(
    run_command, build_bert, tmp_path
):
    transformers = pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    bert = build_bert()
    formats.write_checkpoint(bert, "tf1", str(tmp_path / "in"))
    (tmp_path / "words.txt").write_text("中国\n国中国 10 n\n", encoding="utf-8")
    positions = 3 * bert.config.max_position_embeddings
    convert = (
        "bert_cn.convert_checkpoint",
        f"--input={tmp_path / 'in'}",
        f"--add_words={tmp_path / 'words.txt'}",
        f"--resize_positions={positions}",
    )

    out = tmp_path / "out"
    done = run_command(*convert, "--output_format=pt", f"--output_dir={out}")

    assert done.returncode == 0, done.stderr
    assert "42 are kept, 2 are means of their pieces' rows, 0 are drawn" in done.stdout
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(out))
    tokens = tokenizer.convert_ids_to_tokens(tokenizer("国中国中国")["input_ids"])
    assert tokens == ["[CLS]", "国中国", "中国", "[SEP]"]
    model = transformers.AutoModel.from_pretrained(str(out))
    with torch.no_grad():
        output = model(**tokenizer("中国" * (positions - 2), return_tensors="pt"))
    assert output.last_hidden_state.shape[1] == positions

    google = run_command(
        *convert, "--output_format=tf1", f"--output_dir={tmp_path / 'google'}"
    )
    assert "google-research/bert sets every Chinese character apart" in google.stderr
