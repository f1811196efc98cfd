"""Lower TF Model Garden's BERT pretraining step; run in an environment that has it.

Started by `benchmarks/tpu_step.py`:

    python -m benchmarks.model_garden_step OUTPUT CONFIG BATCH LENGTH PREDICTIONS
"""

import json
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf
import tf_keras
from official.modeling import optimization
from official.nlp.configs import bert, encoders
from official.nlp.data import pretrain_dataloader
from official.nlp.tasks import masked_lm

from benchmarks import tpu_generator
from tpu.compiler import hlo_edits


def main() -> None:
    output, config_file = sys.argv[1:3]
    batch_size, length, predictions = map(int, sys.argv[3:])
    with open(config_file) as file:
        config = json.load(file)
    step = tf.function(build_step(config, "mixed_bfloat16"), jit_compile=True)
    write = step.experimental_get_compiler_ir(
        _make_features(batch_size, length, predictions)
    )
    module = hlo_edits.read_module(write(stage="hlo_serialized"))
    hlo_edits.drop_copies(module)
    for computation in module.computations:
        tpu_generator.drop_unused(computation)
        tpu_generator.use_default_generator(computation)
    with open(output, "wb") as file:
        file.write(module.SerializeToString())


def build_step(config: dict, policy: str):
    """Return a function that trains on one batch.

    Args:
        config: contents of a bert_config.json.
        policy: tf_keras's mixed-precision policy.
    """
    tf_keras.mixed_precision.set_global_policy(policy)
    task = masked_lm.MaskedLMTask(_make_task_config(config))
    model = task.build_model()
    metrics = task.build_metrics()
    optimizer = task.create_optimizer(
        optimization.OptimizationConfig(
            {
                # As in official/nlp/configs/experiments/wiki_books_pretrain.yaml.
                "optimizer": {
                    "type": "adamw",
                    "adamw": {
                        "weight_decay_rate": 0.01,
                        "exclude_from_weight_decay": [
                            "LayerNorm",
                            "layer_norm",
                            "bias",
                        ],
                    },
                },
                "learning_rate": {
                    "type": "polynomial",
                    "polynomial": {
                        "initial_learning_rate": 1e-4,
                        "end_learning_rate": 0.0,
                        "decay_steps": 1_000_000,
                    },
                },
                "warmup": {
                    "type": "polynomial",
                    "polynomial": {"power": 1, "warmup_steps": 10_000},
                },
            }
        )
    )
    optimizer._create_all_weights(model.trainable_variables)

    return lambda features: task.train_step(features, model, optimizer, metrics)


def _make_task_config(config: dict) -> masked_lm.MaskedLMConfig:
    return masked_lm.MaskedLMConfig(
        train_data=pretrain_dataloader.BertPretrainDataConfig(),
        model=bert.PretrainerConfig(
            encoder=encoders.EncoderConfig(
                type="bert",
                bert=encoders.BertEncoderConfig(
                    vocab_size=config["vocab_size"],
                    hidden_size=config["hidden_size"],
                    num_layers=config["num_hidden_layers"],
                    num_attention_heads=config["num_attention_heads"],
                    intermediate_size=config["intermediate_size"],
                    dropout_rate=config["hidden_dropout_prob"],
                    attention_dropout_rate=config["attention_probs_dropout_prob"],
                    max_position_embeddings=config["max_position_embeddings"],
                    type_vocab_size=config["type_vocab_size"],
                ),
            ),
            cls_heads=[
                bert.ClsHeadConfig(
                    inner_dim=config["hidden_size"],
                    num_classes=2,
                    dropout_rate=config["hidden_dropout_prob"],
                    name="next_sentence",
                )
            ],
        ),
    )


def _make_features(batch_size: int, length: int, predictions: int):
    widths = {
        "input_word_ids": length,
        "input_mask": length,
        "input_type_ids": length,
        "masked_lm_positions": predictions,
        "masked_lm_ids": predictions,
        "next_sentence_labels": 1,
    }
    features = {
        name: tf.zeros((batch_size, width), tf.int32) for name, width in widths.items()
    }
    features["masked_lm_weights"] = tf.zeros((batch_size, predictions))
    return features


if __name__ == "__main__":
    main()
