import dataclasses
import json
import os
import re
import types

import numpy as np
import pytest

from bert_cn.conversion import formats, keras_weights, surgery
from bert_cn.model import pretraining_model
from bert_cn.pretraining import input_pipeline, warm_start
from bert_cn.pretraining import records as records_lib
from bert_cn.pretraining import settings as settings_lib
from tests.bert_cn import records

WORDS = "bert/embeddings/word_embeddings"


@pytest.fixture
def checkpoint(build_bert, tmp_path):
    """A tf1 folder of a random model, and the model it holds."""
    bert = build_bert()
    formats.write_checkpoint(bert, "tf1", str(tmp_path / "tf1"))
    return bert, str(tmp_path / "tf1")


def find_start(path, vocabulary=None, **settings) -> warm_start.StartingPoint:
    """Start from a checkpoint, with records of a vocabulary."""
    args = settings_lib.PretrainingArgs(init_checkpoint=str(path), **settings)
    files = types.SimpleNamespace(max_seq_length=records.LENGTH)
    return warm_start.find_start(
        args, records_lib.Records(files, files, vocabulary, None, "nsp")
    )


def load(path, vocabulary=None, **settings):
    """Return the weights of a model that started there, and the parts it lacked."""
    start = find_start(path, vocabulary, **settings)
    model = pretraining_model.build_pretraining_model(start.config)
    missing = warm_start.load_checkpoint(model, start.bert)
    return keras_weights.canonical_from_model(model), missing


@pytest.fixture
def write_config(tmp_path):
    """Returns a function: configuration -> path of its file."""

    def write(config) -> str:
        path = tmp_path / "named.json"
        path.write_text(config.to_json())
        return str(path)

    return write


def test_every_weight_of_the_checkpoint_arrives(checkpoint):
    bert, path = checkpoint
    weights, missing = load(path, bert.vocabulary)
    assert missing == ()
    assert weights.keys() == bert.weights.keys()
    for name, weight in weights.items():
        np.testing.assert_array_equal(weight, bert.weights[name])


def test_tf1_checkpoint_without_configuration_takes_the_flags(checkpoint, write_config):
    bert, path = checkpoint
    os.remove(f"{path}/bert_config.json")
    with pytest.raises(ValueError, match="bert_config.json is not there"):
        load(path)
    config_file = write_config(bert.config)
    assert load(f"{path}/bert_model.ckpt", bert_config_file=config_file)[1] == ()


def test_configuration_beside_the_checkpoint_decides(checkpoint, write_config):
    bert, path = checkpoint
    deeper = write_config(dataclasses.replace(bert.config, num_hidden_layers=3))
    with pytest.raises(ValueError, match="num_hidden_layers=2, but .* says 3"):
        load(path, bert_config_file=deeper)


def test_dropout_may_differ(checkpoint, write_config):
    bert, path = checkpoint
    other = dataclasses.replace(
        bert.config, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0
    )
    start = find_start(path, bert_config_file=write_config(other))
    assert start.config == other


def test_checkpoint_is_read_once(checkpoint, monkeypatch):
    _, path = checkpoint
    calls = []
    read = formats.read_checkpoint

    def count(*arguments, **more):
        calls.append(arguments)
        return read(*arguments, **more)

    monkeypatch.setattr(formats, "read_checkpoint", count)
    load(path)
    assert calls == [(path,)]


def test_configuration_is_the_flags_then_the_runs_then_the_checkpoints(
    checkpoint, small_config, tmp_path
):
    bert, path = checkpoint
    run = tmp_path / "run"
    run.mkdir()
    # An attempt that saved nothing left it, so it does not count.
    (run / "bert_config.json").write_text(small_config.to_json(), encoding="utf-8")
    assert find_start(path, output_dir=str(run)).config == bert.config
    (run / "ckpt-4.index").write_bytes(b"")
    resumed = find_start(path, output_dir=str(run))
    assert (resumed.config, resumed.bert) == (small_config, None)
    named = f"{path}/bert_config.json"
    start = find_start("", bert_config_file=named, output_dir=str(run))
    assert start.config == bert.config
    with pytest.raises(ValueError, match="--bert_config_file is empty: .*has its own"):
        find_start("", output_dir=str(tmp_path / "none"))


def test_sequences_longer_than_the_models_positions_are_refused(build_bert, tmp_path):
    bert = build_bert(max_position_embeddings=8)
    formats.write_checkpoint(bert, "tf1", str(tmp_path / "tf1"))
    with pytest.raises(ValueError, match="max_seq_length=16 .*_position_embeddings=8"):
        find_start(tmp_path / "tf1")


def with_tokens(vocabulary, *last: str):
    """The vocabulary with other tokens in place of its last one."""
    tokens = (*vocabulary.tokens[:-1], *last)
    return dataclasses.replace(
        vocabulary, tokens=tokens, data="\n".join(tokens).encode()
    )


def test_vocabulary_of_another_size_is_refused(checkpoint, write_config):
    bert, path = checkpoint
    vocabulary = with_tokens(bert.vocabulary, "新", "鑫")
    with pytest.raises(ValueError, match="has 43 tokens, but the model of .* has 42"):
        find_start(path, vocabulary)
    larger = dataclasses.replace(bert.config, vocab_size=len(vocabulary))
    with pytest.raises(ValueError, match="vocab_size=42.*43.*--resize_embeddings"):
        find_start(path, vocabulary, bert_config_file=write_config(larger))


def test_other_vocabulary_is_resized_on_request(checkpoint, capsys):
    bert, path = checkpoint
    vocabulary = with_tokens(bert.vocabulary, "新", "鑫")
    weights, _ = load(path, vocabulary, resize_embeddings=True)
    kept = len(vocabulary) - 2
    np.testing.assert_array_equal(weights[WORDS][:kept], bert.weights[WORDS][:kept])
    # New rows are drawn as the initializer does: deviation 0.02, cut at two.
    assert 0 < np.abs(weights[WORDS][kept:]).max() <= 0.04
    assert "2 new ones" in capsys.readouterr().out


def test_words_and_positions_are_added_as_convert_checkpoint_does(
    checkpoint, tmp_path, capsys
):
    bert, path = checkpoint
    words = tmp_path / "words.txt"
    words.write_text("中国\n", encoding="utf-8")
    positions = bert.config.max_position_embeddings + 1
    flags = {"add_words": str(words), "resize_positions": positions}
    vocabulary = surgery.add_words(bert, ["中国"])
    weights, _ = load(path, vocabulary, **flags)
    assert "1 words added to the vocabulary." in capsys.readouterr().out
    pieces = [bert.vocabulary.ids[char] for char in "中国"]
    np.testing.assert_allclose(
        weights[WORDS][vocabulary.ids["中国"]],
        bert.weights[WORDS][pieces].mean(0),
        rtol=1e-6,
    )
    assert len(weights["bert/embeddings/position_embeddings"]) == positions
    # Records that were made without the words have another vocabulary.
    with pytest.raises(ValueError, match="has 42 tokens, but the model .* has 43"):
        find_start(path, bert.vocabulary, **flags)


def test_padded_checkpoint_loses_its_surplus_rows_on_request(
    build_bert, tmp_path, capsys
):
    padded = build_bert(vocab_size=48)
    path = str(tmp_path / "tf1")
    formats.write_checkpoint(padded, "tf1", path)
    with pytest.raises(ValueError, match="has 42 tokens, .* has 48: .*padded model"):
        find_start(path)

    weights, _ = load(path, padded.vocabulary, resize_embeddings=True)

    np.testing.assert_array_equal(weights[WORDS], padded.weights[WORDS][:42])
    assert "resized from 48 to 42 rows: 0 new ones, 42" in capsys.readouterr().out


def test_same_size_but_other_tokens_are_refused(checkpoint):
    bert, path = checkpoint
    with pytest.raises(ValueError, match="trained with another vocabulary: id"):
        find_start(path, with_tokens(bert.vocabulary, "新"))


def test_published_checkpoint_is_trained_and_evaluated_with_its_own_activation(
    run_command, build_bert, record_files, tmp_path
):
    """By a recipe that names no --bert_config_file, as mlm_further.flags is."""
    bert = build_bert(hidden_act="gelu_erf")
    formats.write_checkpoint(bert, "pt", str(tmp_path / "pt"))
    published = json.loads((tmp_path / "pt" / "config.json").read_text())
    assert published["hidden_act"] == "gelu"
    shape = (
        f"--max_seq_length={records.LENGTH}",
        f"--max_predictions_per_seq={records.PREDICTIONS}",
        f"--output_dir={tmp_path}/run",
    )
    done = run_command(
        "bert_cn.run_pretraining",
        *("--do_train", "--train_batch_size=8", "--num_train_steps=2", *shape),
        *("--num_warmup_steps=0", f"--input_file={record_files[0]}"),
        # The weights stay as they were.
        *(f"--init_checkpoint={tmp_path}/pt", "--learning_rate=0"),
    )
    assert done.returncode == 0, done.stderr
    trained = formats.read_checkpoint(str(tmp_path / "run"))
    assert trained.config == bert.config
    for name, weight in bert.weights.items():
        np.testing.assert_array_equal(trained.weights[name], weight, err_msg=name)

    evaluate = ("--do_eval", f"--eval_input_file={record_files[1]}")
    done = run_command("bert_cn.run_pretraining", *evaluate, *shape)
    assert done.returncode == 0, done.stderr
    assert "Evaluated 20 sequences of --eval_input_file at step 2:" in done.stdout


def draw(config, **settings):
    """Return the weights of a new model before and after its flags changed them."""
    model = pretraining_model.build_pretraining_model(config)
    weights = keras_weights.canonical_from_model(model)
    # Copied: an array may share the memory of its variable.
    before = {name: np.array(weight) for name, weight in weights.items()}
    files = types.SimpleNamespace(manifests=(), paths=("unknown",))
    args = settings_lib.PretrainingArgs(**settings)
    warm_start.draw_weights(args, config, model, files)
    return before, keras_weights.canonical_from_model(model)


def test_new_weights_are_the_initializers_by_default(small_config):
    before, after = draw(small_config)
    for name, weight in before.items():
        np.testing.assert_array_equal(after[name], weight)


CHANGED = {
    "embedding_initializer_range": (0.1, "_embeddings$"),
    "kernel_initializer": ("lecun_normal", "kernel"),
    "attention_initializer": ("neighbors", "position_embeddings|query/kernel|key/ker"),
    "output_bias_initializer": ("unigram", "predictions/output_bias"),
}


@pytest.mark.parametrize("flag", CHANGED)
def test_each_initializer_changes_the_weights_that_it_names(
    small_config, monkeypatch, flag
):
    value, names = CHANGED[flag]
    monkeypatch.setattr(
        input_pipeline, "count_masked_tokens", lambda _, size, seed: np.arange(size)
    )
    before, after = draw(small_config, **{flag: value})
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    # Kernels are [in, out] under Google's names, where the pooler's and the heads' are.
    expected = {
        name
        for name in before
        if re.search(names, name)
        or (names == "kernel" and name == "cls/seq_relationship/output_weights")
    }
    assert changed == expected
