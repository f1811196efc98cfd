"""The flags of run_pretraining, and their values as one. Imports no TensorFlow.

tpu.preflight takes the same flags, so that a recipe's flag file suits both.
"""

import dataclasses
import functools
from collections.abc import Callable

from absl import flags

from bert_cn.pretraining import settings
from bert_cn.training import choices
from data_prep import command_line, recipe_files

# The flags belong to the command that calls `define_flags`: --help lists them there.
flags.disclaim_key_flags()

# The kind of flag for each type of field.
_DEFINE = {
    str: flags.DEFINE_string,
    bool: flags.DEFINE_bool,
    bool | None: flags.DEFINE_bool,
    int: flags.DEFINE_integer,
    int | None: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    float | None: flags.DEFINE_float,
}


def define_flags(values: flags.FlagValues = flags.FLAGS) -> None:
    """Define a flag for each field of `PretrainingArgs`, and older names of some.

    A flag has the type and the default of its field.

    Args:
        values: where to define them; the command's own by default.
    """
    recipe_files.define_flag("pretrain", values)
    define = functools.partial(_define, values)
    _define_model_and_records(define)
    _define_computation(define)
    _define_optimizer(define)
    _define_objective(define)
    _define_initial_weights(define)
    _define_loop(define)
    flags.DEFINE_alias("eval_steps", "eval_every_steps", flag_values=values)
    define(
        "interrupted_exit_code",
        "Exit code after SIGTERM, SIGINT or SIGHUP stopped the run before its last "
        f"step; {command_line.TRANSIENT} tells tpu.supervise to resume it.",
        lower_bound=0,
        upper_bound=255,
    )
    define(
        "random_seed",
        "Seed of initial weights, dropout and the order of records.",
        lower_bound=0,
        upper_bound=2**32 - 1,
    )
    define("tpu", "Train on a TPU: its name, local, or grpc://address:port.")


def _define_optimizer(define: Callable[..., None]) -> None:
    define(
        "optimizer",
        "bert_adamw: google-research/bert's, without bias correction; adamw: the "
        "paper's; lamb: for batches of thousands; muon: Muon for the kernels of "
        "encoder and masked-LM head, adamw for the rest.",
        enum_values=choices.OPTIMIZERS,
    )
    define("learning_rate", "Peak learning rate.", lower_bound=0.0)
    define(
        "muon_learning_rate",
        "With --optimizer=muon, the peak learning rate of Muon's kernels; "
        "--learning_rate is adamw's.",
        lower_bound=0.0,
    )
    define(
        "schedule",
        "The learning rate after its warm-up: polynomial (google-research/bert's, see "
        "--decay_power), linear (transformers'), cosine, triangle (rises to 25 % of "
        "the run) or wsd (constant, then down in the last 20 %).",
        enum_values=choices.SCHEDULES,
    )
    define(
        "decay_power",
        "Power of the learning rate's polynomial decay; 1 is linear.",
        lower_bound=0.0,
    )
    define(
        "weight_decay_rate",
        "Decoupled weight decay of everything but biases and LayerNorm.",
        lower_bound=0.0,
    )
    define(
        "adam_beta2",
        "Decay of second moments; 0.98 forgets faster.",
        lower_bound=0.0,
        upper_bound=1.0,
    )
    define("clip_norm", "Clip gradients to this global norm.", lower_bound=0.0)
    define(
        "layer_decay",
        "Multiply the learning rate by this once more for each layer further down from "
        "the heads; 1 for one rate everywhere.",
        lower_bound=0.0,
        upper_bound=1.0,
    )
    define(
        "l2_to_init",
        "Pull kernels and embeddings to the weights that the run started from, this "
        "much as weight decay pulls them to 0.",
        lower_bound=0.0,
    )
    define(
        "freeze",
        "Parts of the encoder to leave as they are: embeddings, layers:0-5, layers:3, "
        "with commas between.",
    )


def _define_objective(define: Callable[..., None]) -> None:
    define(
        "shift_positions",
        "Number the positions of each batch from a random one on, so that records "
        "shorter than the model train all of its positions, and not the first alone.",
    )
    define(
        "teacher_checkpoint",
        "Learn the predictions of this model, too: anything that convert_checkpoint "
        "reads, with the records' vocabulary.",
    )
    define(
        "teacher_weight",
        "Share of the masked-LM loss that the teacher's predictions have; the true "
        "tokens have the rest.",
        lower_bound=0.0,
        upper_bound=1.0,
    )
    define(
        "teacher_relation_weight",
        "Factor of a loss between how the last layer's tokens relate to each other in "
        "the teacher and in this model (MiniLM); 0 for none.",
        lower_bound=0.0,
    )
    define(
        "next_sentence_weight",
        "Factor of the next-sentence loss; with 1 it keeps a small model from learning "
        "masked tokens.",
        lower_bound=0.0,
    )
    define(
        "initial_masked_lm_prob",
        "Begin with this share of masked tokens, such as 0.3, and fall linearly to "
        "that of the records; for records made with --masking_time=dynamic. 0: no "
        "change.",
        lower_bound=0.0,
        upper_bound=0.5,
    )
    define(
        "pretraining_dropout",
        "Both dropout rates of this run; checkpoints and exports keep those of the "
        "configuration.",
        lower_bound=0.0,
        upper_bound=0.99,
    )
    define(
        "output_vocabulary",
        "The tokens of the softmax in training: all, or those that occur in the "
        "records (seen), which costs less. The output bias of the others is then so "
        "low that they are never predicted: to train further on text that has them, "
        "choose all.",
        enum_values=choices.OUTPUT_VOCABULARIES,
    )


def _define_model_and_records(define: Callable[..., None]) -> None:
    define(
        "bert_config_file",
        "Sizes of the model: configs/models/bert_tiny_cn.json, ...; without the flag, "
        "those of --init_checkpoint.",
    )
    define(
        "input_file",
        "TFRecords to train on: files or globs, separated by commas, each with a "
        "weight or none (news*.tfrecord:2,wiki*.tfrecord:1).",
    )
    define(
        "eval_input_file",
        "TFRecords to evaluate on; without the flag, those that were held out from "
        "--input_file's, else --input_file's.",
    )
    define(
        "output_dir", "Folder for checkpoints, TensorBoard files, curves and results."
    )
    define("vocab_file", "The vocabulary, if no manifest lies beside the records.")
    define(
        "verify_records",
        "Before anything else, check the sha256 of every record file against its "
        "manifest; sizes are always checked.",
    )
    define(
        "do_lower_case",
        "Whether the records were lower-cased, if no manifest lies beside them.",
    )
    define(
        "init_checkpoint",
        "Start from these weights: anything that convert_checkpoint reads.",
    )
    define(
        "resize_embeddings",
        "Let --init_checkpoint have another vocabulary: tokens of both keep their "
        "rows, and new ones start as the mean of their pieces.",
    )
    define(
        "add_words",
        "Add these words, one a line, to the vocabulary of --init_checkpoint, as "
        "convert_checkpoint does; the records must have been made with them.",
    )
    define(
        "resize_positions",
        "Give the model of --init_checkpoint this many positions, as "
        "convert_checkpoint does.",
        lower_bound=0,
    )
    define(
        "max_seq_length",
        "Tokens per sequence, checked against the records; without the flag, taken "
        f"from their manifest ({settings.DEFAULT_MAX_SEQ_LENGTH} if there is none).",
        lower_bound=1,
    )
    define(
        "max_predictions_per_seq",
        "Masked positions per sequence, checked against the records; without the flag, "
        f"taken from their manifest ({settings.DEFAULT_MAX_PREDICTIONS_PER_SEQ} if "
        "there is none).",
        lower_bound=1,
    )


def _define_computation(define: Callable[..., None]) -> None:
    define("train_batch_size", "Sequences per update over all replicas.", lower_bound=1)
    define(
        "gradient_accumulation_steps",
        "Compute each batch in this many micro-batches; the result is that of the "
        "whole batch.",
        lower_bound=1,
    )
    define(
        "recompute_layers",
        "Compute layers again in the backward pass: less memory, up to a third more "
        "work.",
    )
    define(
        "precision",
        "The dtype of computation; variables, logits and losses are always float32. "
        "auto: the faster one on this machine.",
        enum_values=choices.PRECISIONS,
    )
    define("jit_compile", "Compile the update with XLA; for one CPU or one GPU.")


def _define_initial_weights(define: Callable[..., None]) -> None:
    define(
        "embedding_initializer_range",
        "Standard deviation of new embeddings; without the flag, the configuration's "
        "initializer_range.",
        lower_bound=0.0,
    )
    define(
        "kernel_initializer",
        "Standard deviation of new kernels: the configuration's initializer_range "
        "(truncated_normal) or 1/sqrt(fan-in) (lecun_normal).",
        enum_values=choices.KERNEL_INITIALIZERS,
    )
    define(
        "output_bias_initializer",
        "A new output bias: zeros, or the log frequency of each token in the records "
        "(unigram).",
        enum_values=choices.OUTPUT_BIAS_INITIALIZERS,
    )
    define(
        "attention_initializer",
        "New attention heads: random, or each looking at one neighbor of its own token "
        "(neighbors: sinusoidal positions, and queries that meet the key beside them).",
        enum_values=choices.ATTENTION_INITIALIZERS,
    )


def _define_loop(define: Callable[..., None]) -> None:
    define("do_train", "Whether to train.")
    define("do_eval", "Whether to evaluate, after training.")
    define("num_train_steps", "Updates in the whole run.", lower_bound=1)
    define(
        "num_train_epochs",
        "Train for this many passes over the records, in place of --num_train_steps; "
        "0: by steps.",
        lower_bound=0.0,
    )
    define(
        "train_minutes",
        "Train for this many minutes, in place of --num_train_steps: the learning rate "
        "reaches 0 then, also if the run is interrupted and resumed. Evaluations "
        "count, starting does not; 0: by steps.",
        lower_bound=0.0,
    )
    define("num_warmup_steps", "Updates of linear warm-up.", lower_bound=0)
    define("save_checkpoints_steps", "Updates between checkpoints.", lower_bound=1)
    define(
        "save_checkpoints_minutes",
        "Also save a checkpoint after this many minutes; 0: by steps only.",
        lower_bound=0.0,
    )
    define("max_checkpoints", "Newest checkpoints to keep.", lower_bound=1)
    define(
        "eval_every_steps",
        "With --do_eval, also evaluate after every this many updates; 0: at the end "
        "only.",
        lower_bound=0,
    )
    define("eval_batch_size", "Sequences per evaluation batch.", lower_bound=1)
    define(
        "max_eval_steps",
        "Batches to evaluate at most, on any records; 0 for all.",
        lower_bound=0,
    )
    define(
        "iterations_per_loop",
        "Updates per call into TensorFlow at most, fewer if they take long; without "
        "the flag, 1000 on a TPU, else 10.",
        lower_bound=1,
    )
    define("log_steps", "Updates between step lines.", lower_bound=1)


def _define(values: flags.FlagValues, name: str, text: str, **limits) -> None:
    """Define one flag; `limits` are its bounds, or `enum_values` for a choice."""
    (kind,) = (
        f.type for f in dataclasses.fields(settings.PretrainingArgs) if f.name == name
    )
    define = flags.DEFINE_enum if "enum_values" in limits else _DEFINE[kind]
    default = getattr(settings.PretrainingArgs, name)
    define(name, default, help=text, flag_values=values, **limits)


def read_flags(values: flags.FlagValues = flags.FLAGS) -> settings.PretrainingArgs:
    """Return the values of the parsed flags."""
    names = [field.name for field in dataclasses.fields(settings.PretrainingArgs)]
    return settings.PretrainingArgs(**{name: values[name].value for name in names})
