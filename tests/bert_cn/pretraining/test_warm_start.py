import dataclasses
import json
import os

import numpy as np
import pytest

from bert_cn.conversion import formats, keras_weights
from bert_cn.model import pretraining_model
from bert_cn.pretraining import warm_start
from tests.bert_cn import records

WORDS = "bert/embeddings/word_embeddings"


@pytest.fixture
def checkpoint(build_bert, tmp_path):
    """A tf1 folder of a random model, and the model it holds."""
    bert = build_bert()
    formats.write_checkpoint(bert, "tf1", str(tmp_path / "tf1"))
    return bert, str(tmp_path / "tf1")


def load(config, vocabulary, path, resize_rng=None, config_file=""):
    model = pretraining_model.build_pretraining_model(config)
    missing = warm_start.load_init_checkpoint(
        model, config, vocabulary, path, resize_rng, config_file
    )
    return keras_weights.canonical_from_model(model), missing


def test_every_weight_of_the_checkpoint_arrives(checkpoint):
    bert, path = checkpoint
    weights, missing = load(bert.config, bert.vocabulary, path)
    assert missing == ()
    assert weights.keys() == bert.weights.keys()
    for name, weight in weights.items():
        np.testing.assert_array_equal(weight, bert.weights[name])


def test_tf1_checkpoint_without_configuration_takes_the_flags(checkpoint, tmp_path):
    bert, path = checkpoint
    config_file = tmp_path / "named.json"
    os.rename(f"{path}/bert_config.json", config_file)
    with pytest.raises(ValueError, match="bert_config.json is not there"):
        load(bert.config, None, path)
    prefix = f"{path}/bert_model.ckpt"
    assert load(bert.config, None, prefix, config_file=str(config_file))[1] == ()
    # One beside the checkpoint decides, so that a difference is found.
    (tmp_path / "tf1" / "bert_config.json").write_text(bert.config.to_json())
    deeper = dataclasses.replace(bert.config, num_hidden_layers=3)
    config_file.write_text(deeper.to_json())
    with pytest.raises(ValueError, match="num_hidden_layers=2, but .* says 3"):
        load(deeper, None, path, config_file=str(config_file))


def test_dropout_may_differ_but_sizes_may_not(checkpoint):
    bert, path = checkpoint
    other = dataclasses.replace(
        bert.config, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0
    )
    assert load(other, None, path)[1] == ()
    deeper = dataclasses.replace(bert.config, num_hidden_layers=3)
    with pytest.raises(ValueError, match="num_hidden_layers=2, but .* says 3"):
        load(deeper, None, path)


def test_configuration_is_the_flags_then_the_runs_then_the_checkpoints(
    checkpoint, small_config, tmp_path
):
    bert, path = checkpoint
    run = tmp_path / "run"
    run.mkdir()
    # Left by an attempt that saved nothing, it does not count.
    (run / "bert_config.json").write_text(small_config.to_json(), encoding="utf-8")
    assert warm_start.choose_config("", str(run), path) == bert.config
    (run / "ckpt-4.index").write_bytes(b"")
    assert warm_start.choose_config("", str(run), path) == small_config
    named = f"{path}/bert_config.json"
    assert warm_start.choose_config(named, str(run), "") == bert.config
    with pytest.raises(ValueError, match="--bert_config_file is empty: .*whose own is"):
        warm_start.choose_config("", str(tmp_path / "none"), "")


def test_other_vocabulary_is_refused_and_resized_on_request(checkpoint, capsys):
    bert, path = checkpoint
    tokens = (*bert.vocabulary.tokens[:-1], "新", "鑫")
    vocabulary = dataclasses.replace(
        bert.vocabulary, tokens=tokens, data="\n".join(tokens).encode()
    )
    config = dataclasses.replace(bert.config, vocab_size=len(tokens))
    with pytest.raises(ValueError, match="vocab_size=.*--resize_embeddings"):
        load(config, vocabulary, path)
    weights, _ = load(config, vocabulary, path, np.random.default_rng(0))
    kept = len(tokens) - 2
    np.testing.assert_array_equal(weights[WORDS][:kept], bert.weights[WORDS][:kept])
    # New rows are drawn as the initializer does: deviation 0.02, cut at two.
    assert 0 < np.abs(weights[WORDS][kept:]).max() <= 0.04
    assert "2 new ones drawn" in capsys.readouterr().out


def test_padded_checkpoint_loses_its_surplus_rows_on_request(
    build_bert, tmp_path, capsys
):
    padded = build_bert(vocab_size=48)
    path = str(tmp_path / "tf1")
    formats.write_checkpoint(padded, "tf1", path)
    config = dataclasses.replace(padded.config, vocab_size=42)
    with pytest.raises(ValueError, match="has 42 tokens, .* has 48: .*padded model"):
        warm_start.choose_config("", "", path)
    assert warm_start.choose_config("", "", path, any_vocabulary=True).vocab_size

    weights, _ = load(config, padded.vocabulary, path, np.random.default_rng(0))

    np.testing.assert_array_equal(weights[WORDS], padded.weights[WORDS][:42])
    assert "resized from 48 to 42 rows: 0 new ones drawn, 42" in capsys.readouterr().out


def test_same_size_but_other_tokens_are_refused(checkpoint):
    bert, path = checkpoint
    tokens = (*bert.vocabulary.tokens[:-1], "新")
    vocabulary = dataclasses.replace(
        bert.vocabulary, tokens=tokens, data="\n".join(tokens).encode()
    )
    with pytest.raises(ValueError, match="trained with another vocabulary: id"):
        load(bert.config, vocabulary, path)


def test_published_checkpoint_is_trained_on_and_evaluated_as_what_it_is(
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
    assert "Evaluated 20 records of --eval_input_file at step 2:" in done.stdout
