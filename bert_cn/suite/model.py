"""The models that the suite fine-tunes: a checkpoint, and its random twin."""

import concurrent.futures
import dataclasses
import hashlib
import multiprocessing
import os
import signal

from bert_cn.training import run_files
from data_prep import storage

# Folder names that say nothing about the checkpoint in them.
_PLAIN_FOLDERS = ("best", "checkpoint", "model")


@dataclasses.dataclass(frozen=True)
class Model:
    """A checkpoint, read once.

    Attributes:
        config: the text of its bert_config.json.
        vocab: the bytes of its vocab.txt.
        do_lower_case: whether its texts must be lower-cased.
        has_capitals: whether its vocabulary has tokens with A to Z.
        num_parameters: the parameters of the encoder and its pooler.
        sha256: the digest of its weights, sizes and vocabulary.
    """

    config: str
    vocab: bytes
    do_lower_case: bool
    has_capitals: bool
    num_parameters: int
    sha256: str

    def lower_case(self, is_english: bool) -> bool:
        """Say whether a task's texts are lower-cased.

        English texts are if the vocabulary has no capital letter, even if the
        checkpoint keeps case: every word with a capital would be [UNK].
        """
        return self.do_lower_case or (is_english and not self.has_capitals)


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        name: its name in the table, and of its folder.
        of: the row whose random twin it is, or its own name.
        start_flags: the flags that make a command start from it.
        sha256: a digest of the weights, sizes and vocabulary that it starts from.
        model: its sizes and vocabulary.
    """

    name: str
    of: str
    start_flags: tuple[str, ...]
    sha256: str
    model: Model

    @property
    def is_random(self) -> bool:
        """Whether it starts from random weights."""
        return self.name != self.of


def read_model(
    checkpoint: str, bert_config_file: str = "", vocab_file: str = ""
) -> Model:
    """Read a checkpoint of any format in a process of its own.

    So this process does not import TensorFlow, and stays small beside those that train.

    Args:
        checkpoint: anything that convert_checkpoint reads.
        bert_config_file: see `warm_start.load_starting_point`.
        vocab_file: see the same.

    Raises:
        ValueError: it cannot be read.
    """
    context = multiprocessing.get_context("spawn")
    # This process handles Ctrl-C; the other one would print a traceback.
    with concurrent.futures.ProcessPoolExecutor(
        1, context, signal.signal, (signal.SIGINT, signal.SIG_IGN)
    ) as pool:
        found = pool.submit(_describe, checkpoint, bert_config_file, vocab_file)
        try:
            return found.result()
        except concurrent.futures.BrokenExecutor as error:
            raise ValueError(
                f"The process that read {checkpoint!r} was killed: it may need more "
                "memory than there is."
            ) from error


def _describe(checkpoint: str, bert_config_file: str, vocab_file: str) -> Model:
    from bert_cn.conversion import pretrained, weight_map
    from bert_cn.finetuning import warm_start

    start = warm_start.load_starting_point(checkpoint, bert_config_file, vocab_file)
    config = start.config.to_json()
    digest = hashlib.sha256(config.encode() + start.vocabulary.data)
    # Fine-tuning does not use the heads for pretraining.
    wanted = (weight_map.Part.ENCODER, weight_map.Part.POOLER)
    start.bert.keep_parts(tuple(part for part in wanted if start.bert.has(part)))
    for name in sorted(start.bert.weights):
        digest.update(name.encode())
        digest.update(start.bert.weights[name].tobytes())
    return Model(
        config,
        start.vocabulary.data,
        start.do_lower_case,
        not pretrained.guess_lower_case(start.vocabulary),
        start.bert.count_parameters(),
        digest.hexdigest(),
    )


def name_checkpoint(path: str) -> str:
    """Return the name of a checkpoint's folder, or of the folder above best/."""
    path = path if storage.is_remote(path) else os.path.abspath(path)
    parts = [part for part in path.split("/") if part]
    while len(parts) > 1 and (
        parts[-1] in _PLAIN_FOLDERS or parts[-1].endswith(".ckpt")
    ):
        parts.pop()
    return parts[-1]


def build_row(
    name: str, model: Model, checkpoint: str, bert_config_file: str, vocab_file: str
) -> Row:
    """Return the row of a checkpoint; the arguments are those of `read_model`."""
    flags = {
        "init_checkpoint": checkpoint,
        "bert_config_file": bert_config_file,
        "vocab_file": vocab_file,
    }
    start_flags = tuple(f"--{flag}={value}" for flag, value in flags.items() if value)
    return Row(name, name, start_flags, model.sha256, model)


def build_random_row(name: str, model: Model, output_dir: str) -> Row:
    """Return the row of the same model with weights drawn by each run's seed.

    Args:
        name: the name of the checkpoint's row.
        model: its sizes and vocabulary.
        output_dir: the suite's folder, where `write_start_files` writes the files that
            the row starts from.
    """
    twin = f"{name}-random"
    folder = os.path.join(output_dir, twin)
    config = os.path.join(folder, run_files.CONFIG_FILE)
    vocab = os.path.join(folder, run_files.VOCAB_FILE)
    digest = hashlib.sha256(b"random" + model.config.encode() + model.vocab)
    return Row(
        twin,
        name,
        (f"--bert_config_file={config}", f"--vocab_file={vocab}"),
        digest.hexdigest(),
        model,
    )


def write_start_files(row: Row, output_dir: str) -> None:
    """Write the configuration and vocabulary that a random row starts from."""
    if not row.is_random:
        return
    for name, content in (
        (run_files.CONFIG_FILE, row.model.config),
        (run_files.VOCAB_FILE, row.model.vocab),
    ):
        storage.write_whole(os.path.join(output_dir, row.name, name), content)
