"""The output folder of a training run: whose it is, and what describes it.

Everything is checked before anything is written, so that a command that is refused
leaves a run as it was.
"""

import dataclasses
import hashlib
import json
import os

import tensorflow as tf

from bert_cn.model import config as config_lib
from bert_cn.pretraining import fingerprint as fingerprint_lib
from bert_cn.training import reporting, run_files
from data_prep.records import manifest as manifest_lib
from data_prep.text import vocab as vocab_lib

# What an attempt that saved no checkpoint may leave, and that says nothing of the next;
# the last three are folders.
_OF_AN_ATTEMPT = (
    run_files.VOCAB_FILE,
    run_files.TOKENIZER_CONFIG_FILE,
    run_files.MANIFEST_FILE,
    run_files.EVAL_RESULTS_FILE,
    run_files.SAMPLES_FILE,
    run_files.CURVES_FILE,
    run_files.BEST_FOLDER,
    reporting.log_dir("", "train"),
    reporting.log_dir("", "eval"),
)


@dataclasses.dataclass(frozen=True)
class Description:
    """What the weights of a run are, for those who read them.

    Attributes:
        config: of the model.
        vocabulary: of the records, if known.
        do_lower_case: whether the data stage lower-cased; None if unknown.
        manifests: of the training records.
    """

    config: config_lib.BertConfig
    vocabulary: vocab_lib.Vocabulary | None = None
    do_lower_case: bool | None = None
    manifests: tuple[manifest_lib.Manifest, ...] = ()


def check_path(output_dir: str) -> None:
    """Raise ValueError if TensorFlow cannot find checkpoints under a folder's name."""
    for character in "[\\":
        if character in output_dir:
            raise ValueError(
                f"--output_dir={output_dir} has a {character} in it, and TensorFlow "
                "takes that for a wildcard when it looks for a checkpoint: name a "
                "folder without."
            )


def check_folder(
    output_dir: str,
    description: Description,
    fingerprint: fingerprint_lib.Fingerprint | None,
) -> None:
    """Refuse a folder of another run; say what a run that goes on has changed.

    An attempt that ended before its first checkpoint leaves nothing to go on with, so
    the next one may correct anything.

    Args:
        output_dir: which need not be there.
        description: of the run.
        fingerprint: of the run, if it is to train.

    Raises:
        ValueError: model, vocabulary, data or settings differ; the message says how.
    """
    begun = has_begun(output_dir)
    if begun or not fingerprint_lib.has_fingerprint(output_dir):
        _check_config(output_dir, description.config)
        _check_vocabulary(output_dir, description.vocabulary)
    if begun and fingerprint is not None:
        fingerprint_lib.check_fingerprint(output_dir, fingerprint)


def check_start(output_dir: str, init_checkpoint: str) -> None:
    """Refuse to measure a run's checkpoint where another one is named.

    Args:
        output_dir: of a run, perhaps.
        init_checkpoint: what is named, or "".

    Raises:
        ValueError: the folder has checkpoints, and they began with something else.
    """
    if not init_checkpoint or not has_begun(output_dir):
        return
    begun_with = run_files.read_fingerprint(output_dir).get("init_checkpoint")
    if begun_with != init_checkpoint:
        raise ValueError(
            f"{output_dir!r} holds checkpoints of its own, which would be measured and "
            f"not --init_checkpoint={init_checkpoint}: name another --output_dir, or "
            "leave --init_checkpoint out."
        )


def has_begun(output_dir: str) -> bool:
    """Say whether a run has saved a checkpoint in a folder."""
    return bool(run_files.find_prefixes(output_dir))


def begin_run(
    output_dir: str, description: Description, fingerprint: fingerprint_lib.Fingerprint
) -> None:
    """Write what describes a run, before its first step or where it goes on."""
    tf.io.gfile.makedirs(output_dir)
    if fingerprint_lib.has_fingerprint(output_dir) and not has_begun(output_dir):
        for name in _OF_AN_ATTEMPT:
            path = os.path.join(output_dir, name)
            if tf.io.gfile.isdir(path):
                tf.io.gfile.rmtree(path)
            elif tf.io.gfile.exists(path):
                tf.io.gfile.remove(path)
    # First, because it marks what follows as that of a run that has just begun.
    fingerprint_lib.write_fingerprint(output_dir, fingerprint)
    write_description(output_dir, description)


def write_description(output_dir: str, description: Description) -> None:
    """Write the files that say what the checkpoints are, as far as it is known.

    The configuration, the vocabulary as vocab.txt, the casing as tokenizer_config.json
    and the first manifest as data_manifest.json.
    """
    vocabulary, lower = description.vocabulary, description.do_lower_case
    config = description.config.to_json().encode()
    _write_file(output_dir, run_files.CONFIG_FILE, config)
    if vocabulary is not None:
        _write_file(output_dir, run_files.VOCAB_FILE, vocabulary.data)
    if lower is not None:
        casing = json.dumps({"do_lower_case": lower}) + "\n"
        _write_file(output_dir, run_files.TOKENIZER_CONFIG_FILE, casing.encode())
    for manifest in description.manifests[:1]:
        path = os.path.join(output_dir, run_files.MANIFEST_FILE)
        manifest_lib.write_manifest(dataclasses.replace(manifest, path=path))


def _check_config(output_dir: str, config: config_lib.BertConfig) -> None:
    path = os.path.join(output_dir, run_files.CONFIG_FILE)
    if not tf.io.gfile.exists(path):
        return
    there = config_lib.load_config(path)
    for name, value in vars(there).items():
        if value != getattr(config, name):
            raise ValueError(
                f"{path} says {name}={value}, but --bert_config_file says "
                f"{name}={getattr(config, name)}: this --output_dir belongs to another "
                "model, so name another one."
            )


def _check_vocabulary(output_dir: str, vocabulary: vocab_lib.Vocabulary | None) -> None:
    path = os.path.join(output_dir, run_files.VOCAB_FILE)
    if vocabulary is None or not tf.io.gfile.exists(path):
        return
    with tf.io.gfile.GFile(path, "rb") as file:
        found = hashlib.sha256(file.read()).hexdigest()
    if found != vocabulary.sha256:
        raise ValueError(
            f"{path} is not the vocabulary {vocabulary.path!r} of the records: this "
            "--output_dir belongs to a run with another one, so name another "
            "--output_dir, or make the records with that vocabulary."
        )


def _write_file(folder: str, name: str, content: bytes) -> None:
    path = os.path.join(folder, name)
    with tf.io.gfile.GFile(path + ".tmp", "wb") as file:
        file.write(content)
    tf.io.gfile.rename(path + ".tmp", path, overwrite=True)
