"""The reference collection's table of sizes, by formula and by counting."""

import pathlib

import pytest

from bert_cn.conversion import formats, weight_map
from bert_cn.model import config as config_lib
from bert_cn.model import pretraining_model

COMMAND = "bert_cn.count_params"
MODELS = pathlib.Path(__file__).resolve().parents[2] / "configs" / "models"


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("tiny", 3.2),
        ("mini", 8.8),
        ("3L_alpha", 38.5),
        ("3L_beta", 61.0),
        ("base", 102.3),
        ("large", 325.5),
        ("giant", 476.7),
        # Their published figures imply these vocabularies.
        ("2L_vocab2100", 16.8),
        ("6L_vocab2100", 45.1),
        ("base_vocab24800", 105.1),
    ],
)
def test_parameters_equal_the_published_table(name, millions):
    config = config_lib.load_config(str(MODELS / f"bert_{name}_cn.json"))

    assert round(weight_map.count_parameters(config) / 1e6, 1) == millions


def test_formula_equals_a_built_model():
    config = config_lib.BertConfig(
        vocab_size=50,
        hidden_size=12,
        num_hidden_layers=3,
        num_attention_heads=3,
        intermediate_size=20,
        max_position_embeddings=9,
    )
    model = pretraining_model.build_pretraining_model(config)

    whole = weight_map.count_parameters(config, weight_map.ALL_PARTS)
    encoder = weight_map.count_parameters(config)

    def count(variables):
        return sum(variable.numpy().size for variable in variables)

    assert whole == count(model.trainable_variables)
    assert encoder == count(model.get_layer("bert").trainable_variables)


def test_formula_equals_transformers_bert_model():
    transformers = pytest.importorskip(
        "transformers", reason="pip install 'bert_cn[torch]'"
    )
    sizes = {"vocab_size": 50, "hidden_size": 12, "num_attention_heads": 3}
    model = transformers.BertModel(
        transformers.BertConfig(num_hidden_layers=2, intermediate_size=7, **sizes)
    )
    config = config_lib.BertConfig(num_hidden_layers=2, intermediate_size=7, **sizes)

    assert weight_map.count_parameters(config) == model.num_parameters()


def test_command_prints_the_table(run_command):
    done = run_command(COMMAND)

    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert lines[2] == ["tiny", "2", "128", "2", "21128", "3.2", "3.2"]
    assert ["base", "12", "768", "12", "21128", "102.3", "102.9"] in lines
    assert lines[-1][:6] == ["giant", "36", "1024", "16", "21128", "476.7"]


def test_command_counts_a_checkpoint(run_command, build_bert, tmp_path):
    bert = build_bert()
    formats.write_checkpoint(bert, "tf1", str(tmp_path / "tf1"))

    done = run_command(COMMAND, f"--checkpoint={tmp_path / 'tf1'}")

    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert ["pooler", "156"] in lines
    assert lines[-1] == ["all", "3,516"]


def test_glob_that_matches_nothing_is_refused(assert_refused, tmp_path):
    assert_refused(
        COMMAND,
        f"--bert_config_files={tmp_path}/*.json",
        saying=("count_params: error: --bert_config_files=", "matches no file"),
    )
