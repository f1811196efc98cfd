"""What a training step is made of, and how to build it under a strategy.

Shared by everything that runs the step and everything that only looks at it
(`tpu.preflight`).
"""

import dataclasses

import keras
import tensorflow as tf

from bert_cn.model import config as config_lib
from bert_cn.model import fused_ops, pretraining_model
from bert_cn.pretraining import train_step
from bert_cn.training import optimization


@dataclasses.dataclass(frozen=True)
class StepSettings:
    """Settings of one training step.

    Attributes:
        config: sizes of the model.
        optimizer: a key of `optimization.OPTIMIZERS`.
        schedule: of the learning rate.
        weight_decay_rate: decoupled weight decay.
        precision: "float32" or "mixed_bfloat16".
        accumulation_steps: parts that a replica's batch is worked through in.
        recompute_layers: whether layers are computed again in the backward pass.
        training_ops: `fused_ops.CPU` or `fused_ops.XLA`, what training computes with.
        sentence_task: "nsp", "sop", or "none" for the masked-LM loss alone.
        jit_compile: whether XLA compiles the step as a whole; not under a strategy.
    """

    config: config_lib.BertConfig
    optimizer: str
    schedule: optimization.WarmupPolynomialDecay
    weight_decay_rate: float = 0.01
    precision: str = "float32"
    accumulation_steps: int = 1
    recompute_layers: bool = False
    training_ops: fused_ops.Ops = fused_ops.XLA
    sentence_task: str = "nsp"
    jit_compile: bool = False


def build_trainer(
    settings: StepSettings, strategy: tf.distribute.Strategy
) -> train_step.Trainer:
    """Build model, optimizer and step under a strategy.

    Sets Keras's dtype policy, which is global. Seed Keras before, for the weights.
    """
    keras.config.set_dtype_policy(settings.precision)
    with strategy.scope():
        model = pretraining_model.build_pretraining_model(
            settings.config, settings.recompute_layers, settings.training_ops
        )
        if settings.sentence_task == "none":
            pretraining_model.freeze_sentence_head(model)
        optimizer = optimization.OPTIMIZERS[settings.optimizer](
            settings.schedule, settings.weight_decay_rate
        )
        optimizer.build(model.trainable_variables)
    return train_step.Trainer(
        strategy,
        model,
        optimizer,
        settings.accumulation_steps,
        settings.sentence_task != "none",
        settings.sentence_task,
        settings.jit_compile,
    )
