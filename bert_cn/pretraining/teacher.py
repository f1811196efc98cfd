"""The teacher of --teacher_checkpoint, from whose predictions the model learns."""

import dataclasses
import math

import keras

from bert_cn.conversion import formats, keras_weights, pretrained, weight_map
from bert_cn.model import config as config_lib
from bert_cn.model import fused_ops, pretraining_model
from bert_cn.pretraining import records as records_lib
from bert_cn.pretraining import settings as settings_lib


def read_teacher(
    args: settings_lib.PretrainingArgs, records: records_lib.Records
) -> pretrained.PretrainedBert | None:
    """Read the checkpoint of a run's teacher; None if the run has none.

    Args:
        args: the run's.
        records: to train on.

    Raises:
        ValueError: it cannot be read, lacks the masked-LM head, or does not suit the
            records.
    """
    if not (args.do_train and args.teacher_checkpoint):
        return None
    name = f"--teacher_checkpoint={args.teacher_checkpoint}"
    bert = formats.read_checkpoint(args.teacher_checkpoint)
    if not bert.has(weight_map.Part.MLM):
        raise ValueError(
            f"{name} has no {weight_map.Part.MLM}, so that it predicts no tokens: name "
            "a checkpoint of pretraining."
        )
    if records.train.max_seq_length > bert.config.max_position_embeddings:
        raise ValueError(
            f"{name} has {bert.config.max_position_embeddings} positions, and the "
            f"records are {records.train.max_seq_length} tokens long: name another "
            "teacher, or make shorter records."
        )
    if records.vocabulary is not None:
        pretrained.check_vocabulary_size(
            records.vocabulary,
            bert.config,
            f"the teacher in {args.teacher_checkpoint!r}",
            "name a teacher that has the records' vocabulary.",
        )
        if bert.vocabulary is not None:
            pretrained.check_same_vocabulary(
                bert.vocabulary,
                records.vocabulary,
                name,
                "Make the records with the teacher's vocab.txt.",
            )
    return bert


def build_teacher(
    config: config_lib.BertConfig,
    training_ops: fused_ops.Ops,
    takes_parts: bool = False,
) -> keras.Model:
    """Build a teacher's model, without dropout; `load_weights` fills it.

    It is called as in training, for the sake of the faster operations.

    Args:
        config: of the teacher.
        training_ops: those of the model that it teaches, as the next.
        takes_parts: see `pretraining_model.build_pretraining_model`.
    """
    model = pretraining_model.build_pretraining_model(
        dataclasses.replace(
            config, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0
        ),
        training_ops=training_ops,
        takes_parts=takes_parts,
    )
    model.trainable = False
    return model


def count_relation_heads(model: keras.Model, teacher: keras.Model) -> int:
    """Return how many relations a token has in both: see `relations`.

    As many as the model's attention heads, or as many of those as divide the teacher's
    width.
    """
    encoder, other = (each.get_layer("bert") for each in (model, teacher))
    return math.gcd(encoder.num_heads, other.hidden_dim)


def load_weights(model: keras.Model, bert: pretrained.PretrainedBert) -> None:
    """Put the weights of a checkpoint into a teacher's model.

    Args:
        model: from `build_teacher`.
        bert: from `read_teacher`.
    """
    keras_weights.assign_to_model(model, bert.weights, bert.parts)
