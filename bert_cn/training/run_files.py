"""Names of the files in the output folder of a training run, and readers of them.

    bert_config.json, vocab.txt, tokenizer_config.json, data_manifest.json
    checkpoint, ckpt-STEP.index, ckpt-STEP.data-00000-of-00001
    fingerprint.json, eval_results.txt, eval_samples.md, loss_curve.png
    run_report.html
    best/, weights/, tensorboard/

Conversion and mask filling read such a folder too. No TensorFlow is imported here.
"""

import os
import re
from typing import Any

from data_prep import storage

CONFIG_FILE = "bert_config.json"
VOCAB_FILE = "vocab.txt"
TOKENIZER_CONFIG_FILE = "tokenizer_config.json"
MANIFEST_FILE = "data_manifest.json"
# These say what the checkpoints beside them are.
DESCRIPTION_FILES = (CONFIG_FILE, VOCAB_FILE, TOKENIZER_CONFIG_FILE, MANIFEST_FILE)
FINGERPRINT_FILE = "fingerprint.json"
EVAL_RESULTS_FILE = "eval_results.txt"
SAMPLES_FILE = "eval_samples.md"
CURVES_FILE = "loss_curve.png"
REPORT_FILE = "run_report.html"
BEST_FOLDER = "best"
BEST_RESULTS_FILE = "best_results.json"
WEIGHTS_FOLDER = "weights"
CHECKPOINT_NAME = "ckpt"
_INDEX = re.compile(rf"({CHECKPOINT_NAME}-(\d+))\.index")
# Keys of a fingerprint that are no settings, or name a path; `pretraining.fingerprint`
# explains them.
_KEYS_NOT_SHOWN = frozenset(
    {
        *("num_files", "data_sha256", "file_groups", "masking_rules", "vocab_sha256"),
        *("init_checkpoint", "teacher_checkpoint", "num_replicas", "num_hosts"),
    }
)


def find_prefixes(output_dir: str) -> list[str]:
    """Return the prefixes of the training checkpoints in a folder, newest first.

    Returns:
        An empty list if there is no checkpoint or no folder.

    Raises:
        tf.errors.OpError: the folder is remote and cannot be listed.
    """
    # Where a bucket does not answer, `exists` says so; `listdir` finds no folder.
    if not storage.exists(output_dir):
        return []
    # Listed, not globbed: the folder's name may hold wildcards.
    matches = map(_INDEX.fullmatch, storage.listdir(output_dir))
    found = {int(match[2]): match[1] for match in matches if match}
    return [os.path.join(output_dir, found[step]) for step in sorted(found)[::-1]]


def is_prefix(name: str) -> bool:
    """Say whether a base name is that of a training checkpoint, such as ckpt-1000."""
    return _INDEX.fullmatch(f"{name}.index") is not None


def read_fingerprint(output_dir: str) -> dict[str, Any]:
    """Return the settings that the run in a folder was started or resumed with.

    Returns:
        Values by the names of flags and other keys; {} if the folder has none.

    Raises:
        ValueError: the file is damaged.
    """
    path = os.path.join(output_dir, FINGERPRINT_FILE)
    if not storage.exists(path):
        return {}
    try:
        return storage.read_json(path)
    except ValueError as error:
        raise ValueError(f"{path} is not a JSON file ({error}): repair it.") from error


def describe_settings(values: dict[str, Any]) -> str:
    """Return the settings in a fingerprint as flags, without data and paths."""
    start = "another checkpoint" if values.get("init_checkpoint") else "random weights"
    hidden, teacher = _KEYS_NOT_SHOWN, ", with a teacher"
    if not values.get("teacher_checkpoint"):
        hidden |= {"teacher_weight", "teacher_relation_weight"}
        teacher = ""
    flags = " ".join(
        f"--{name}={value}"
        for name, value in values.items()
        if name not in hidden and value is not None
    )
    return f"{flags} (started from {start}{teacher})"
