"""The output folder of a training run: which run it belongs to, and its description.

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
from bert_cn.pretraining import records as records_lib
from bert_cn.pretraining import settings as settings_lib
from bert_cn.training import reporting, run_files
from data_prep import storage
from data_prep.records import manifest as manifest_lib
from data_prep.text import vocab as vocab_lib

# An attempt that saved no checkpoint may leave these, and they are not true of the next
# attempt; the last three are folders.
_OF_AN_ATTEMPT = (
    run_files.VOCAB_FILE,
    run_files.TOKENIZER_CONFIG_FILE,
    run_files.MANIFEST_FILE,
    run_files.EVAL_RESULTS_FILE,
    run_files.SAMPLES_FILE,
    run_files.CURVES_FILE,
    run_files.REPORT_FILE,
    run_files.BEST_FOLDER,
    reporting.log_dir("", "train"),
    reporting.log_dir("", "eval"),
)


@dataclasses.dataclass(frozen=True)
class Description:
    """Facts that a run's folder tells the readers of its weights, and a resumed run.

    Attributes:
        config: of the model.
        vocabulary: of the records; None if unknown.
        do_lower_case: whether the data stage lower-cased; None if unknown.
        manifests: of the records, those to train on first.
        fingerprint: settings and data.
    """

    config: config_lib.BertConfig
    vocabulary: vocab_lib.Vocabulary | None
    do_lower_case: bool | None
    manifests: tuple[manifest_lib.Manifest, ...]
    fingerprint: fingerprint_lib.Fingerprint


def describe_run(
    args: settings_lib.PretrainingArgs,
    config: config_lib.BertConfig,
    records: records_lib.Records,
    strategy: tf.distribute.Strategy,
) -> Description:
    """Return the description of a run that starts or resumes now."""
    return Description(
        config,
        records.vocabulary,
        records.do_lower_case,
        records.manifests,
        fingerprint_lib.take_fingerprint(args, strategy, records),
    )


def check_folder(args: settings_lib.PretrainingArgs, description: Description) -> None:
    """Refuse a folder of another run; say which settings of a resumed run differ.

    An attempt that ended before its first checkpoint leaves nothing to resume, so the
    next one may correct anything. Only the chief of several hosts writes into the
    folder, but all of them check it, so that all come to the same end.

    Args:
        args: of the run; its folder need not exist.
        description: of the run.

    Raises:
        ValueError: model, vocabulary, data or settings differ; the message says how.
    """
    folder = args.output_dir
    begun = has_begun(folder)
    if begun or not fingerprint_lib.has_fingerprint(folder):
        _check_config(folder, description.config)
        _check_vocabulary(folder, description.vocabulary)
    if begun and args.do_train:
        fingerprint_lib.check_fingerprint(folder, description.fingerprint)
    elif begun and args.init_checkpoint:
        _check_start(folder, args.init_checkpoint)


def _check_start(output_dir: str, init_checkpoint: str) -> None:
    """Refuse to measure a run's checkpoint if another one is named."""
    started_from = run_files.read_fingerprint(output_dir).get("init_checkpoint")
    if started_from != init_checkpoint:
        raise ValueError(
            f"{output_dir!r} holds checkpoints of its own, which would be measured and "
            f"not --init_checkpoint={init_checkpoint}: name another --output_dir, or "
            "leave --init_checkpoint out."
        )


def has_begun(output_dir: str) -> bool:
    """Say whether a run has saved a checkpoint in a folder."""
    return bool(run_files.find_prefixes(output_dir))


def begin_run(output_dir: str, description: Description) -> None:
    """Write what describes a run, before its first step or when it is resumed."""
    tf.io.gfile.makedirs(output_dir)
    if fingerprint_lib.has_fingerprint(output_dir) and not has_begun(output_dir):
        for name in _OF_AN_ATTEMPT:
            path = os.path.join(output_dir, name)
            if tf.io.gfile.isdir(path):
                tf.io.gfile.rmtree(path)
            elif tf.io.gfile.exists(path):
                tf.io.gfile.remove(path)
    # First, because it marks the other files as those of a run that has just begun.
    fingerprint_lib.write_fingerprint(output_dir, description.fingerprint)
    write_description(output_dir, description)


def write_description(output_dir: str, description: Description) -> None:
    """Write the files that say what the checkpoints are, as far as it is known.

    They are the configuration, the vocabulary as vocab.txt, the casing as
    tokenizer_config.json and the first manifest as data_manifest.json.
    """
    files = {run_files.CONFIG_FILE: description.config.to_json()}
    if description.vocabulary is not None:
        files[run_files.VOCAB_FILE] = description.vocabulary.data
    if description.do_lower_case is not None:
        casing = json.dumps({"do_lower_case": description.do_lower_case})
        files[run_files.TOKENIZER_CONFIG_FILE] = f"{casing}\n"
    for name, content in files.items():
        storage.write_whole(os.path.join(output_dir, name), content)
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
