"""What a run's weights depend on, kept beside its checkpoints.

A resumed run that would go on with other data or settings would end with weights that
no single command produces, so it is stopped and the difference named. What may change
is said.
"""

import dataclasses
import hashlib
import json
import os
from typing import Any

import tensorflow as tf

from bert_cn.pretraining import input_pipeline
from bert_cn.training import run_files
from data_prep.records import manifest as manifest_lib
from data_prep.text import vocab as vocab_lib

# What the data's entries are, in words.
_DATA = {
    "num_files": "the records of --input_file",
    "data_sha256": "the records of --input_file",
    "file_groups": "the weights in --input_file (files and share of each)",
    "masking_rules": "the masking rules in the manifests of --input_file",
    "vocab_sha256": "the vocabulary",
}
_NOT_THE_SAME_BITS = (
    "the data go on where they were, but sums are rounded otherwise, so the weights "
    "are not those of an unbroken run to the last bit"
)
# What may change: what it is, and what becomes of it.
_FREE = {
    "num_train_steps": (
        "--num_train_steps",
        "the learning rate jumps to the curve of the new number",
    ),
    "gradient_accumulation_steps": (
        "--gradient_accumulation_steps",
        _NOT_THE_SAME_BITS,
    ),
    "jit_compile": ("--jit_compile", _NOT_THE_SAME_BITS),
    "num_replicas": ("the number of devices", _NOT_THE_SAME_BITS),
    "num_hosts": (
        "the number of hosts",
        "records are dealt out anew, so that of this epoch some come twice and some "
        "not at all",
    ),
}


@dataclasses.dataclass(frozen=True)
class Fingerprint:
    """What the weights of a run depend on.

    Attributes:
        fixed: settings by their flags' names, and what `describe_data` returns; a run
            that goes on must have the same.
        free: of the keys of `_FREE`, what a run may go on with otherwise.
    """

    fixed: dict[str, Any]
    free: dict[str, Any]


def describe_data(
    files: input_pipeline.RecordFiles, vocabulary: vocab_lib.Vocabulary | None
) -> dict[str, Any]:
    """Return what changes if the records, their order or their masks do.

    Folders are left out, so that data may move. What a manifest lists counts
    by its sha256, other files by their length.

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
    files: input_pipeline.RecordFiles, batch_size: int, max_steps: int
) -> str:
    """Return a digest that changes if other records are measured.

    Args:
        files: that are measured on.
        batch_size: records per batch.
        max_steps: most batches; 0 for all.
    """
    batches = [batch_size, max_steps] if max_steps else []
    content = json.dumps([describe_data(files, None)["data_sha256"], *batches])
    return hashlib.sha256(content.encode()).hexdigest()


def has_fingerprint(output_dir: str) -> bool:
    """Say whether a run began in a folder."""
    return tf.io.gfile.exists(os.path.join(output_dir, run_files.FINGERPRINT_FILE))


def check_fingerprint(output_dir: str, fingerprint: Fingerprint) -> None:
    """Compare with the run that began in a folder, and say what will be otherwise.

    What an earlier version of this program did not note is not compared.

    Args:
        output_dir: of the run.
        fingerprint: of the run as it would go on.

    Raises:
        ValueError: a setting or the data differs; the message names it.
    """
    begun_with = run_files.read_fingerprint(output_dir)
    for name, value in fingerprint.fixed.items():
        if begun_with.get(name, value) != value:
            raise ValueError(
                f"The run in {output_dir!r} began with another value of "
                f"{_DATA.get(name, f'--{name}')} (then {begun_with[name]}, now "
                f"{value}): go on with what it began with, or name another "
                "--output_dir."
            )
    for name, value in fingerprint.free.items():
        if begun_with.get(name, value) != value:
            what, effect = _FREE[name]
            print(f"Now {what} is {value}, before it was {begun_with[name]}: {effect}.")


def write_fingerprint(output_dir: str, fingerprint: Fingerprint) -> None:
    """Note what the run in a folder begins or goes on with."""
    path = os.path.join(output_dir, run_files.FINGERPRINT_FILE)
    manifest_lib.write_json(path, fingerprint.fixed | fingerprint.free)
