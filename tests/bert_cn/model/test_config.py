import json

import pytest

from bert_cn.model import config as config_lib
from tests.conftest import REPOSITORY

SIZES = {
    "bert_tiny_cn": (2, 128, 2),
    "bert_mini_cn": (4, 256, 4),
    "bert_2L_cn": (2, 768, 4),
    "bert_3L_alpha_cn": (3, 768, 12),
    "bert_3L_beta_cn": (3, 1024, 16),
    "bert_6L_cn": (6, 768, 12),
    "bert_base_cn": (12, 768, 12),
    "bert_large_cn": (24, 1024, 16),
    "bert_giant_cn": (36, 1024, 16),
}


@pytest.mark.parametrize("name", SIZES)
def test_model_config_has_the_size_of_the_reference_collection(name):
    config = config_lib.load_config(str(REPOSITORY / f"configs/models/{name}.json"))
    found = (config.num_hidden_layers, config.hidden_size, config.num_attention_heads)
    assert found == SIZES[name]
    assert config.vocab_size == 21128
    assert config.intermediate_size == 4 * config.hidden_size


def test_config_equals_itself_after_json(small_config):
    values = json.loads(small_config.to_json())
    assert config_lib.parse_config(values, "x") == small_config


def test_synonyms_of_the_tanh_gelu_are_one_activation():
    values = {"vocab_size": 10, "hidden_act": "gelu_new"}
    assert config_lib.parse_config(values, "x").hidden_act == "gelu"


def test_googles_pooler_keys_are_accepted():
    values = {"vocab_size": 10, "directionality": "bidi", "pooler_fc_size": 768}
    assert config_lib.parse_config(values, "x").vocab_size == 10


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"hidden_size": 8}, "vocab_size is missing"),
        ({"vocab_size": 8, "hiden_size": 8}, "unknown key 'hiden_size'"),
        (
            {"vocab_size": 8, "num_hidden_layers": 0},
            "num_hidden_layers must be from",
        ),
        (
            {"vocab_size": 8, "layer_norm_eps": 0},
            "layer_norm_eps must be in",
        ),
        ({"vocab_size": 8, "model_type": "albert"}, "model_type must be one of bert,"),
        (
            {"vocab_size": 8, "model_type": "roberta", "pad_token_id": 511},
            "max_position_embeddings must leave positions after pad_token_id",
        ),
        ({"vocab_size": "8"}, "vocab_size must be of type int"),
        ({"vocab_size": 8, "hidden_size": 10, "num_attention_heads": 3}, "multiple of"),
        ({"vocab_size": 8, "hidden_act": "relu"}, "hidden_act must be"),
        ({"vocab_size": 8, "hidden_dropout_prob": 1.0}, r"must be in \[0, 1\)"),
    ],
)
def test_bad_value_is_named(values, message):
    with pytest.raises(ValueError, match=message):
        config_lib.parse_config(values, "bert_config.json")


def test_missing_file_names_the_flag(tmp_path):
    with pytest.raises(ValueError, match="--bert_config_file"):
        config_lib.load_config(str(tmp_path / "none.json"))
