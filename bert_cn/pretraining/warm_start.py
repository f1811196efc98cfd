"""The start of training: the run's own checkpoint, a published one, or random weights.

A published checkpoint is read once, for its configuration and for its weights.
"""

import dataclasses
import os

import keras
import numpy as np
import tensorflow as tf

from bert_cn.conversion import (
    formats,
    keras_weights,
    pretrained,
    surgery,
    weight_map,
)
from bert_cn.model import config as config_lib
from bert_cn.model import initial_weights, pretraining_model
from bert_cn.pretraining import checkpoints as checkpoints_lib
from bert_cn.pretraining import (
    input_pipeline,
    record_files,
    token_frequencies,
    train_step,
)
from bert_cn.pretraining import records as records_lib
from bert_cn.pretraining import settings as settings_lib
from bert_cn.pretraining import teacher as teacher_lib
from bert_cn.training import batch_checks, hosts, run_files
from data_prep.text import added_words
from data_prep.text import vocab as vocab_lib

# Settings that training may choose; any other difference makes another function.
_FREE_SETTINGS = frozenset(
    {"hidden_dropout_prob", "attention_probs_dropout_prob", "initializer_range"}
)
_RESIZE_ADVICE = {"vocab_size": ", or pass --resize_embeddings."}


@dataclasses.dataclass(frozen=True)
class StartingPoint:
    """The model of a run, and the weights that a new run starts from.

    Attributes:
        config: sizes and activation.
        bert: the checkpoint of --init_checkpoint, fitted to the vocabulary; None for
            random weights, or if the run is resumed.
        teacher: the checkpoint of --teacher_checkpoint; None for no teacher.
    """

    config: config_lib.BertConfig
    bert: pretrained.PretrainedBert | None
    teacher: pretrained.PretrainedBert | None = None


def check_model_type(config: config_lib.BertConfig, source: str) -> None:
    """Raise ValueError if pretraining has no records for such a model.

    Args:
        config: of the model.
        source: where it is from, for the message.
    """
    if config.model_type != config_lib.BERT:
        raise ValueError(
            f"{source} is a model of type {config.model_type}, and pretraining is for "
            "BERT, whose WordPiece records it reads: fine-tune this one by "
            "run_classifier and the others, or name a BERT."
        )


def find_start(
    args: settings_lib.PretrainingArgs, records: records_lib.Records
) -> StartingPoint:
    """Choose the model's configuration, and read the checkpoint that a run starts from.

    The configuration is the first of these that exists:
    1. --bert_config_file;
    2. that of the checkpoints in --output_dir: the run is resumed or evaluated;
    3. that of --init_checkpoint. The published ones differ in their activation, which
       no size tells.

    --init_checkpoint is not read if the run has a checkpoint of its own.

    Args:
        args: the run's.
        records: to train and evaluate on.

    Raises:
        ValueError: there is no configuration, or configuration, checkpoint and records
            do not belong together.
    """
    is_begun = bool(run_files.find_prefixes(args.output_dir))
    bert = None
    if args.init_checkpoint and not is_begun:
        options = pretrained.ReadOptions(
            fallback_config_file=args.bert_config_file,
            any_vocabulary=args.resize_embeddings,
        )
        bert = formats.read_checkpoint(args.init_checkpoint, options=options)
        if args.resize_positions:
            bert = surgery.resize_positions(bert, args.resize_positions)
        if args.add_words:
            bert = _add_words(bert, args)
    config = _choose_config(args, is_begun, bert)
    check_model_type(config, args.init_checkpoint or args.bert_config_file)
    vocabulary = records.vocabulary
    if vocabulary is not None:
        if args.resize_embeddings and not args.bert_config_file:
            config = dataclasses.replace(config, vocab_size=len(vocabulary))
        pretrained.check_vocabulary_size(
            vocabulary,
            config,
            f"the model of {(args.bert_config_file or args.init_checkpoint)!r}",
            "use the model configuration that goes with the records, or set "
            f"vocab_size to {len(vocabulary)}.",
        )
    batch_checks.check_positions(records.eval.max_seq_length, config)
    if bert is not None:
        bert = _fit(bert, config, vocabulary, args)
    return StartingPoint(config, bert, teacher_lib.read_teacher(args, records))


def _choose_config(
    args: settings_lib.PretrainingArgs,
    is_begun: bool,
    bert: pretrained.PretrainedBert | None,
) -> config_lib.BertConfig:
    if args.bert_config_file:
        return config_lib.load_config(args.bert_config_file)
    if is_begun:
        path = os.path.join(args.output_dir, run_files.CONFIG_FILE)
        return config_lib.load_config(path)
    if bert is not None:
        return bert.config
    raise ValueError(
        "--bert_config_file is empty: name a bert_config.json, such as "
        "configs/models/bert_tiny_cn.json, or an --init_checkpoint, which has its own."
    )


def build_trainer(
    args: settings_lib.PretrainingArgs,
    start: StartingPoint,
    records: records_lib.Records,
    strategy: tf.distribute.Strategy,
) -> train_step.Trainer:
    """Build the model of a run and its step, the teacher's weights in their place.

    Args:
        args: the run's.
        start: from `find_start`.
        records: to train and evaluate on.
        strategy: under which everything is built.

    Raises:
        ValueError: --output_vocabulary needs counts that are not there.
    """
    trainer = train_step.build_trainer(
        args,
        start.config,
        strategy,
        records.sentence_task,
        train_step.choose_training_ops(args),
        find_outputs(args, records.train),
        start.teacher and start.teacher.config,
        records.takes_parts,
    )
    if start.teacher is not None:
        teacher_lib.load_weights(trainer.teacher, start.teacher)
    return trainer


def load_weights(
    args: settings_lib.PretrainingArgs,
    start: StartingPoint,
    trainer: train_step.Trainer,
    records: records_lib.Records,
    output_dir: str,
) -> checkpoints_lib.TrainingCheckpoints:
    """Put the weights that a run starts from into its model, and say which.

    They are the first of these that exist:
    1. the newest checkpoint of the run, which is resumed;
    2. those of --init_checkpoint;
    3. those that the initializer drew, changed as the flags of initializers say.

    Args:
        args: the run's.
        start: from `find_start`.
        trainer: its model is loaded.
        records: those to train on, for the frequencies of their tokens.
        output_dir: the folder that this host writes to.

    Returns:
        The checkpoints of the run.

    Raises:
        ValueError: there is nothing to evaluate, or the hosts found different steps.
    """
    checkpoints = checkpoints_lib.TrainingCheckpoints(
        trainer.model,
        trainer.optimizer,
        output_dir,
        # Other hosts than the chief throw away what they save.
        args.max_checkpoints if output_dir == args.output_dir else 1,
        restore_dir=args.output_dir,
        time_budget=trainer.time_budget,
    )
    step = checkpoints.restore_latest()
    if checkpoints.latest:
        print(f"Restored {checkpoints.latest} (step {step}).")
    elif start.bert is not None:
        missing = load_checkpoint(trainer.model, start.bert)
        fresh = f" Newly drawn: {', '.join(missing)}." if missing else ""
        print(f"Started from {args.init_checkpoint}.{fresh}")
        if args.do_train and include_outputs(trainer.model, records.train):
            print("Tokens that it had excluded (--output_vocabulary=seen) are back.")
    elif not args.do_train:
        raise ValueError(
            f"{args.output_dir!r} holds no checkpoint to evaluate: train first, or "
            "name one with --init_checkpoint."
        )
    else:
        draw_weights(args, start.config, trainer.model, records.train)
    if trainer.output_ids is not None and not checkpoints.latest:
        head = trainer.model.get_layer(pretraining_model.MLM_HEAD)
        initial_weights.exclude_outputs(head, trainer.output_ids)
    if not checkpoints.latest:
        trainer.optimizer.remember_start(trainer.model.trainable_variables)
    if not hosts.have_same(trainer.strategy, trainer.step):
        raise ValueError(
            f"The hosts resume from different steps (this one from {trainer.step}): "
            f"--output_dir={args.output_dir} must be one folder that all of them see."
        )
    return checkpoints


def find_outputs(
    args: settings_lib.PretrainingArgs, files: record_files.RecordFiles
) -> np.ndarray | None:
    """Return the tokens that the training softmax is over; None for all.

    Args:
        args: the run's.
        files: to train on.

    Returns:
        int [outputs], in order.

    Raises:
        ValueError: they were not counted.
    """
    if not args.do_train or args.output_vocabulary == "all":
        return None
    counts = token_frequencies.read_counts(files)
    if counts is None:
        raise ValueError(
            f"--output_vocabulary={args.output_vocabulary} needs to know the tokens of "
            f"{files.paths[0]}, and no NAME.token_counts.npz beside it counts them: "
            "make the records again, or leave the flag out."
        )
    return np.flatnonzero(counts)


def draw_weights(
    args: settings_lib.PretrainingArgs,
    config: config_lib.BertConfig,
    model: keras.Model,
    files: record_files.RecordFiles,
) -> None:
    """Change what the initializer drew as the flags of initializers say.

    Args:
        args: the run's.
        config: of the model.
        model: from `pretraining_model.build_pretraining_model`, newly drawn.
        files: to train on.
    """
    encoder = model.get_layer("bert")
    if args.kernel_initializer == "lecun_normal":
        initial_weights.scale_kernels(model, config)
    deviation = args.embedding_initializer_range or config.initializer_range
    initial_weights.scale_embeddings(encoder, deviation / config.initializer_range)
    if args.attention_initializer == "neighbors":
        rng = np.random.default_rng(args.random_seed)
        initial_weights.attend_to_neighbors(encoder, rng, deviation)
    if args.output_bias_initializer == "unigram":
        counts = token_frequencies.read_counts(files)
        if counts is None:
            counts = input_pipeline.count_masked_tokens(
                files, config.vocab_size, args.random_seed
            )
        head = model.get_layer(pretraining_model.MLM_HEAD)
        initial_weights.set_output_bias(head, counts)


def load_checkpoint(
    model: keras.Model, bert: pretrained.PretrainedBert
) -> tuple[weight_map.Part, ...]:
    """Put the weights of a checkpoint into a model, as far as it has them.

    Args:
        model: from `pretraining_model.build_pretraining_model`.
        bert: a checkpoint of the model's sizes.

    Returns:
        The parts that the checkpoint lacks, such as a head. They keep the weights that
        the initializer drew.
    """
    keras_weights.assign_to_model(model, bert.weights, bert.parts)
    return tuple(part for part in weight_map.ALL_PARTS if part not in bert.parts)


def include_outputs(model: keras.Model, files: record_files.RecordFiles) -> int:
    """Let the tokens of some records be predicted, if a checkpoint excludes some.

    Args:
        model: from `pretraining_model.build_pretraining_model`.
        files: to train on.

    Returns:
        How many were excluded; 0 if the tokens were not counted.
    """
    counts = token_frequencies.read_counts(files)
    if counts is None:
        return 0
    head = model.get_layer(pretraining_model.MLM_HEAD)
    return initial_weights.include_outputs(head, np.flatnonzero(counts))


def _fit(
    bert: pretrained.PretrainedBert,
    config: config_lib.BertConfig,
    vocabulary: vocab_lib.Vocabulary | None,
    args: settings_lib.PretrainingArgs,
) -> pretrained.PretrainedBert:
    """Return a checkpoint whose rows are those of the vocabulary.

    With --resize_embeddings, tokens of both vocabularies keep their rows, see
    `surgery.resize_vocabulary`.
    """
    if args.resize_embeddings:
        bert = _resize(bert, vocabulary, np.random.default_rng(args.random_seed))
    _check_config(bert, config, args.init_checkpoint)
    if vocabulary is not None and bert.vocabulary is not None:
        pretrained.check_same_vocabulary(
            bert.vocabulary,
            vocabulary,
            f"--init_checkpoint={args.init_checkpoint}",
            "Make the records with the checkpoint's vocab.txt, or pass "
            "--resize_embeddings.",
        )
    return bert


def _add_words(
    bert: pretrained.PretrainedBert, args: settings_lib.PretrainingArgs
) -> pretrained.PretrainedBert:
    words = added_words.load_words(args.add_words)
    vocabulary = surgery.add_words(bert, words)
    rng = np.random.default_rng(args.random_seed)
    print(f"{len(words):,} words added to the vocabulary.")
    return surgery.resize_vocabulary(bert, vocabulary, rng)


def _resize(
    bert: pretrained.PretrainedBert,
    vocabulary: vocab_lib.Vocabulary | None,
    rng: np.random.Generator,
) -> pretrained.PretrainedBert:
    if vocabulary is None:
        raise ValueError(
            "--resize_embeddings needs the vocabulary of the records: name it by "
            "--vocab_file."
        )
    old = bert.vocabulary
    resized = surgery.resize_vocabulary(bert, vocabulary, rng)
    rows = bert.config.vocab_size
    if rows != len(vocabulary) or old.tokens != vocabulary.tokens:
        new = len(set(vocabulary.tokens) - set(old.tokens))
        print(
            f"Embeddings resized from {rows} to {len(vocabulary)} rows: {new} new "
            f"ones, {len(vocabulary) - new} kept."
        )
    return resized


def _check_config(
    bert: pretrained.PretrainedBert, config: config_lib.BertConfig, path: str
) -> None:
    for field in dataclasses.fields(config):
        there = getattr(bert.config, field.name)
        here = getattr(config, field.name)
        if there != here and field.name not in _FREE_SETTINGS:
            raise ValueError(
                f"--init_checkpoint={path} has {field.name}={there}, but "
                f"--bert_config_file says {here}: leave the flag out to take the "
                f"checkpoint's own{_RESIZE_ADVICE.get(field.name, '.')}"
            )
