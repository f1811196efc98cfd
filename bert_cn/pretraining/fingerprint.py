"""The settings and data that a run's weights depend on, kept beside its checkpoints.

A run that is resumed with other data or settings would end with weights that no single
command gives, so it is refused and the difference named. Some settings may change, and
then a line says so.
"""

import dataclasses
import hashlib
import json
import os
from typing import Any

import tensorflow as tf

from bert_cn.pretraining import record_files
from bert_cn.pretraining import records as records_lib
from bert_cn.pretraining import settings as settings_lib
from bert_cn.training import run_files
from bert_cn.training import strategy as strategy_lib
from data_prep import storage
from data_prep.text import vocab as vocab_lib

_FIXED_FLAGS = (
    "train_batch_size",
    "learning_rate",
    "num_warmup_steps",
    "schedule",
    "decay_power",
    "train_minutes",
    "optimizer",
    "muon_learning_rate",
    "weight_decay_rate",
    "adam_beta2",
    "layer_decay",
    "l2_to_init",
    "freeze",
    "clip_norm",
    "next_sentence_weight",
    "initial_masked_lm_prob",
    "shift_positions",
    "teacher_checkpoint",
    "teacher_weight",
    "teacher_relation_weight",
    "pretraining_dropout",
    "embedding_initializer_range",
    "kernel_initializer",
    "output_bias_initializer",
    "attention_initializer",
    "output_vocabulary",
    "precision",
    "init_checkpoint",
    "random_seed",
)
_FREE_FLAGS = ("num_train_steps", "gradient_accumulation_steps", "jit_compile")
# The keys that describe the data, in words.
_DATA = {
    "num_files": "the records of --input_file",
    "data_sha256": "the records of --input_file",
    "file_groups": "the weights in --input_file (files and share of each)",
    "masking_rules": "the masking rules in the manifests of --input_file",
    "vocab_sha256": "the vocabulary",
}
_NOT_THE_SAME_BITS = (
    "the data continue where they were, but sums are rounded differently, so the "
    "weights are not those of an unbroken run to the last bit"
)
# The settings that may change: each one in words, and the effect.
_FREE = {
    "num_train_steps": (
        "--num_train_steps",
        "the learning rate jumps to the curve of the new number, and so does the "
        "share of masked tokens with --initial_masked_lm_prob",
    ),
    "gradient_accumulation_steps": (
        "--gradient_accumulation_steps",
        _NOT_THE_SAME_BITS,
    ),
    "jit_compile": ("--jit_compile", _NOT_THE_SAME_BITS),
    "num_replicas": ("the number of devices", _NOT_THE_SAME_BITS),
    "num_hosts": (
        "the number of hosts",
        "records are distributed differently, so that this epoch holds some twice and "
        "some not at all",
    ),
}


@dataclasses.dataclass(frozen=True)
class Fingerprint:
    """The settings and data that the weights of a run depend on.

    Attributes:
        fixed: settings by their flags' names, and the values of `describe_data`; a
            resumed run must have the same.
        free: values by the keys of `_FREE`; they may change when a run is resumed.
    """

    fixed: dict[str, Any]
    free: dict[str, Any]


def take_fingerprint(
    args: settings_lib.PretrainingArgs,
    strategy: tf.distribute.Strategy,
    records: records_lib.Records,
) -> Fingerprint:
    """Return the fingerprint of a run that starts now."""
    return Fingerprint(
        {name: getattr(args, name) for name in _FIXED_FLAGS}
        | describe_data(records.train, records.vocabulary),
        {name: getattr(args, name) for name in _FREE_FLAGS}
        | {
            "num_replicas": strategy.num_replicas_in_sync,
            "num_hosts": strategy_lib.count_hosts(strategy),
        },
    )


def describe_data(
    files: record_files.RecordFiles, vocabulary: vocab_lib.Vocabulary | None
) -> dict[str, Any]:
    """Return values that change if the records, their order or their masks change.

    Folders are left out, so that data may move. Files that a manifest lists are known
    by their sha256, other files by their length.

    Args:
        files: to train on.
        vocabulary: of the records, if known.
    """
    shards = files.shards
    entries = []
    for path in files.paths:
        if path in shards:
            content = shards[path]["sha256"]
        else:
            content = f"{tf.io.gfile.stat(path).length} bytes"
        entries.append(f"{os.path.basename(path)}: {content}")
    weights = sum(group.weight for group in files.groups)
    described = {
        "num_files": len(entries),
        "data_sha256": hashlib.sha256("\n".join(entries).encode()).hexdigest(),
        "file_groups": [
            [len(group.paths), round(group.weight / weights, 9)]
            for group in files.groups
        ],
    }
    if files.masker is not None:
        described["masking_rules"] = dataclasses.asdict(files.masker.rules)
    if vocabulary is not None:
        described["vocab_sha256"] = vocabulary.sha256
    return described


def describe_evaluation(
    files: record_files.RecordFiles, batch_size: int, max_steps: int
) -> str:
    """Return a digest that changes if other records are measured.

    Args:
        files: the files that are measured on.
        batch_size: records per batch.
        max_steps: the most batches; 0 for all.
    """
    batches = [batch_size, max_steps] if max_steps else []
    content = json.dumps([describe_data(files, None)["data_sha256"], *batches])
    return hashlib.sha256(content.encode()).hexdigest()


def has_fingerprint(output_dir: str) -> bool:
    """Say whether a run was started in a folder."""
    return tf.io.gfile.exists(os.path.join(output_dir, run_files.FINGERPRINT_FILE))


def check_fingerprint(output_dir: str, fingerprint: Fingerprint) -> None:
    """Compare with the run that was started in a folder, and print allowed changes.

    Values that an earlier version of this program did not note are not compared.

    Args:
        output_dir: the run's folder.
        fingerprint: of the run that would be resumed.

    Raises:
        ValueError: a setting or the data differs; the message names it.
    """
    earlier = run_files.read_fingerprint(output_dir)
    for name, value in fingerprint.fixed.items():
        if earlier.get(name, value) != value:
            raise ValueError(
                f"The run in {output_dir!r} was started with another value of "
                f"{_DATA.get(name, f'--{name}')} (then {earlier[name]}, now "
                f"{value}): resume it with the earlier value, or name another "
                "--output_dir."
            )
    for name, value in fingerprint.free.items():
        if earlier.get(name, value) != value:
            what, effect = _FREE[name]
            print(f"Now {what} is {value}, before it was {earlier[name]}: {effect}.")


def write_fingerprint(output_dir: str, fingerprint: Fingerprint) -> None:
    """Note what the run in a folder is started or resumed with."""
    content = json.dumps(
        fingerprint.fixed | fingerprint.free, indent=2, ensure_ascii=False
    )
    path = os.path.join(output_dir, run_files.FINGERPRINT_FILE)
    storage.write_whole(path, f"{content}\n")
