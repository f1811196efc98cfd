"""Every weight is mapped exactly once, in every naming."""

import numpy as np
import pytest

from bert_cn.conversion import keras_weights, pretrained, weight_map
from bert_cn.conversion.weight_map import Part
from bert_cn.model import config as config_lib
from bert_cn.model import pretraining_model

CONFIG = config_lib.BertConfig(
    vocab_size=17,
    hidden_size=12,
    num_hidden_layers=3,
    num_attention_heads=3,
    intermediate_size=20,
    max_position_embeddings=9,
)


@pytest.fixture(scope="module")
def model():
    return pretraining_model.build_pretraining_model(CONFIG)


@pytest.mark.parametrize("column", ["name", "pt", "tf2", "keras"])
def test_table_names_each_weight_once(column):
    table = weight_map.list_weights(CONFIG)

    # 5 embeddings, 16 a layer, 2 pooler, 5 masked LM, 2 next sentence.
    assert (
        len({getattr(weight, column) for weight in table}) == len(table) == 5 + 48 + 9
    )


def test_table_equals_variables_of_the_keras_model(model):
    variables = {
        variable.path: tuple(variable.shape) for variable in model.trainable_variables
    }

    table = weight_map.list_weights(CONFIG)

    assert {weight.keras: weight.keras_shape for weight in table} == variables


def test_table_equals_state_dict_of_transformers():
    transformers = pytest.importorskip(
        "transformers", reason="pip install 'bert_cn[torch]' for the test of names"
    )
    hf_config = transformers.BertConfig(
        vocab_size=17,
        hidden_size=12,
        num_hidden_layers=3,
        num_attention_heads=3,
        intermediate_size=20,
        max_position_embeddings=9,
    )
    state = transformers.BertForPreTraining(hf_config).state_dict()
    tied = {"cls.predictions.decoder.weight", "cls.predictions.decoder.bias"}
    expected = {name: tuple(v.shape) for name, v in state.items() if name not in tied}

    actual = {
        weight.pt: weight_map.to_layout(
            np.zeros(weight.shape), weight.pt_layout, weight.shape
        ).shape
        for weight in weight_map.list_weights(CONFIG)
    }

    assert actual == expected


def test_assigned_weights_read_back_equal(model):
    weights = _random_weights()

    keras_weights.assign_to_model(model, weights)
    back = keras_weights.canonical_from_model(model)

    assert back.keys() == weights.keys()
    for name, array in weights.items():
        assert np.array_equal(back[name], array), name
        assert back[name].flags.c_contiguous, name


def test_heads_of_the_attention_are_columns_of_the_kernel(model):
    weights = _random_weights()
    keras_weights.assign_to_model(model, weights)
    variables = {variable.path: variable.numpy() for variable in model.variables}

    query = weights["bert/encoder/layer_1/attention/self/query/kernel"]
    split = variables["transformer_layer_1/self_attention_layer/query/kernel"]
    output = weights["bert/encoder/layer_1/attention/output/dense/kernel"]
    merged = variables[
        "transformer_layer_1/self_attention_layer/attention_output/kernel"
    ]

    # Head 2 of three heads of four columns.
    np.testing.assert_array_equal(split[:, 2, :], query[:, 8:12])
    np.testing.assert_array_equal(merged[2], output[8:12])


def test_assign_refuses_a_missing_weight(model):
    weights = _random_weights()
    del weights["cls/predictions/output_bias"]

    with pytest.raises(ValueError, match=r"missing 1 \(cls/predictions/output_bias\)"):
        keras_weights.assign_to_model(model, weights)


def test_assign_refuses_another_shape(model):
    weights = _random_weights()
    weights["bert/pooler/dense/bias"] = np.zeros(5, np.float32)

    with pytest.raises(ValueError, match=r"dense/bias has shape \[5\].*\[12\]"):
        keras_weights.assign_to_model(model, weights)


def test_assign_of_the_encoder_leaves_the_heads(model):
    keras_weights.assign_to_model(model, _random_weights(seed=1))
    weights = _random_weights(seed=2)

    keras_weights.assign_to_model(model, weights, (Part.ENCODER, Part.POOLER))

    back = keras_weights.canonical_from_model(model)
    heads = "cls/seq_relationship/output_weights"
    assert np.array_equal(back[heads], _random_weights(seed=1)[heads])
    pooler = "bert/pooler/dense/kernel"
    assert np.array_equal(back[pooler], weights[pooler])


def test_pretrained_refuses_weights_left_over_and_missing():
    weights = _random_weights()
    weights["bert/encoder/layer_7/odd"] = np.zeros(1, np.float32)
    del weights["bert/embeddings/LayerNorm/beta"]

    with pytest.raises(
        ValueError, match=r"missing 1 \(bert/embed.*left over 1 \(bert/"
    ):
        pretrained.PretrainedBert(config=CONFIG, weights=weights, source="here")


def test_pretrained_knows_its_parts():
    weights = {
        weight.name: np.zeros(weight.shape, np.float32)
        for weight in weight_map.list_weights(CONFIG, (Part.ENCODER, Part.MLM))
    }

    bert = pretrained.PretrainedBert(config=CONFIG, weights=weights, source="here")

    assert bert.parts == (Part.ENCODER, Part.MLM)


def test_a_part_is_there_whole_or_not_at_all():
    weights = _random_weights()
    del weights["cls/predictions/output_bias"]

    with pytest.raises(ValueError, match="missing 1"):
        pretrained.PretrainedBert(config=CONFIG, weights=weights, source="here")


def _random_weights(seed=0):
    generator = np.random.default_rng(seed)
    return {
        weight.name: generator.normal(size=weight.shape).astype(np.float32)
        for weight in weight_map.list_weights(CONFIG)
    }
