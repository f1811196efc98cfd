"""The records of a run: to train on, to evaluate on, and what they have in common."""

import dataclasses
import math

from bert_cn.pretraining import dynamic_masking, record_files, record_integrity
from bert_cn.pretraining import settings as settings_lib
from data_prep import storage
from data_prep.records import manifest as manifest_lib
from data_prep.text import vocab as vocab_lib


def load_vocabulary(
    manifests: tuple[manifest_lib.Manifest, ...], vocab_file: str
) -> vocab_lib.Vocabulary | None:
    """Load the one vocabulary that the manifests and --vocab_file agree on.

    Returns:
        None if neither names one.

    Raises:
        ValueError: they name different ones.
    """
    paths = {manifest.vocab_sha256: manifest.vocab_path for manifest in manifests}
    if vocab_file:
        vocabulary = vocab_lib.load_vocabulary(vocab_file)
        paths.setdefault(vocabulary.sha256, vocabulary.path)
    if len(paths) > 1:
        raise ValueError(
            "The records and --vocab_file name different vocabularies "
            f"({', '.join(sorted(paths.values()))}): leave --vocab_file out, or make "
            "the records again with one vocabulary."
        )
    return vocab_lib.load_vocabulary(*paths.values()) if paths else None


def find_casing(
    manifests: tuple[manifest_lib.Manifest, ...], do_lower_case: bool | None
) -> bool | None:
    """Return whether all records were lower-cased; None if nothing says so.

    Args:
        manifests: of the records.
        do_lower_case: the flag, or None.

    Raises:
        ValueError: manifests and flag differ.
    """
    found = {manifest.settings.do_lower_case for manifest in manifests}
    found |= {do_lower_case} - {None}
    if len(found) > 1:
        raise ValueError(
            "The records (see their manifests) and --do_lower_case differ in their "
            "casing, and a model has one: make the records alike, or leave the flag "
            "out."
        )
    return found.pop() if found else None


def find_sentence_task(files: record_files.RecordFiles) -> str:
    """Return the sentence task of the records: "nsp", "sop" or "none".

    Records without a manifest are Google's, which have "nsp".

    Raises:
        ValueError: records of different sentence tasks are mixed.
    """
    tasks = {m.settings.sentence_task for m in files.manifests} or {"nsp"}
    if len(tasks) > 1:
        raise ValueError(
            f"--input_file mixes records of the sentence tasks {sorted(tasks)}: train "
            "on records of one --sentence_task."
        )
    return tasks.pop()


@dataclasses.dataclass(frozen=True)
class Records:
    """The records of a run.

    Attributes:
        train: the files to train on.
        eval: the files to evaluate on, perhaps the same.
        vocabulary: that of all of them; None if unknown.
        do_lower_case: whether the data stage lower-cased them; None if unknown.
        sentence_task: that of `train`: "nsp", "sop" or "none".
        num_train_steps: updates in the whole run, by --num_train_epochs if it is given.
    """

    train: record_files.RecordFiles
    eval: record_files.RecordFiles
    vocabulary: vocab_lib.Vocabulary | None
    do_lower_case: bool | None
    sentence_task: str
    num_train_steps: int = 0

    @property
    def takes_parts(self) -> bool:
        """Whether any record holds several sequences."""
        return max(self.train.pack_sequences, self.eval.pack_sequences) > 1

    @property
    def manifests(self) -> tuple[manifest_lib.Manifest, ...]:
        """The manifests of all files, those to train on first."""
        return (*self.train.manifests, *self.eval.manifests)


def _vary_masks(
    files: record_files.RecordFiles, args: settings_lib.PretrainingArgs
) -> record_files.RecordFiles:
    """Return the training records, masked as --initial_masked_lm_prob says."""
    first = args.initial_masked_lm_prob
    if not first:
        return files
    if files.masker is None:
        raise ValueError(
            f"--initial_masked_lm_prob={first:g} needs records that are masked while "
            f"training, and {files.paths[0]} is masked already: make the records with "
            "--masking_time=dynamic, or leave the flag out."
        )
    last = files.masker.rules.masked_lm_prob
    predictions = settings_lib.count_training_predictions(args, *files.shape)
    return dataclasses.replace(
        files,
        max_predictions_per_seq=predictions,
        masker=dataclasses.replace(
            files.masker,
            rules=dataclasses.replace(
                files.masker.rules, max_predictions_per_seq=predictions
            ),
            rate=dynamic_masking.MaskRate(
                first, last, args.num_train_steps * args.train_batch_size
            ),
        ),
    )


def _count_steps(
    args: settings_lib.PretrainingArgs, files: record_files.RecordFiles
) -> settings_lib.PretrainingArgs:
    """Return the settings with the updates that --num_train_epochs means, if given."""
    if not args.num_train_epochs:
        return args
    count = files.count_records()
    if count is None:
        raise ValueError(
            f"--num_train_epochs={args.num_train_epochs:g} needs to know how many "
            "records an epoch has, and --input_file has weights, or files that no "
            "manifest lists: pass --num_train_steps."
        )
    steps = math.ceil(args.num_train_epochs * count / args.train_batch_size)
    return dataclasses.replace(args, num_train_steps=steps)


def _find_held_out(
    files: record_files.RecordFiles, args: settings_lib.PretrainingArgs
) -> tuple[record_files.FileGroup, ...]:
    """Return the records of the documents that others leave out; () for none.

    Args:
        files: of --input_file.
        args: the run's.

    Raises:
        ValueError: they are lost, or would be trained on.
    """
    if args.do_train and any(m.settings.split == "eval" for m in files.manifests):
        raise ValueError(
            "--input_file names records that are held out to evaluate on (see their "
            "manifests): name those to train on alone, which do not begin with eval-."
        )
    paths = sorted({m.held_out_path for m in files.manifests} - {""})
    if not args.do_eval or args.eval_input_file:
        return ()
    for path in paths:
        if not storage.exists(path):
            raise ValueError(
                f"The records of --input_file leave out documents to evaluate on, and "
                f"theirs, {path!r}, are not there: make them again, or name others by "
                "--eval_input_file."
            )
    return (record_files.FileGroup(tuple(paths)),) if paths else ()


def load_records(args: settings_lib.PretrainingArgs) -> Records:
    """Find the records that the flags name, and check them.

    Raises:
        ValueError: there are none, or they do not agree with each other or the flags.
    """

    def load(groups) -> record_files.RecordFiles:
        return record_files.check_files(
            groups, args.max_seq_length, args.max_predictions_per_seq
        )

    trained, held_out = None, ()
    if args.do_train or not args.eval_input_file:
        trained = load(record_files.find_files(args.input_file, "--input_file"))
        held_out = _find_held_out(trained, args)
    if args.eval_input_file:
        held_out = record_files.find_files(args.eval_input_file, "--eval_input_file")
    evaluated = load(held_out) if held_out else trained
    trained = trained or evaluated
    if args.verify_records:
        paths = {*trained.paths, *evaluated.paths}
        shards = trained.shards | evaluated.shards
        record_integrity.check_bytes({p: shards[p] for p in paths & shards.keys()})
    if args.do_train and trained.shape != evaluated.shape:
        raise ValueError(
            "--input_file and --eval_input_file have (max_seq_length, "
            f"max_predictions_per_seq) of {trained.shape} and {evaluated.shape}: "
            "train and evaluate on records of one shape."
        )
    args = _count_steps(args, trained)
    manifests = (*trained.manifests, *evaluated.manifests)
    return Records(
        _vary_masks(trained, args) if args.do_train else trained,
        evaluated,
        load_vocabulary(manifests, args.vocab_file),
        find_casing(manifests, args.do_lower_case),
        find_sentence_task(trained),
        args.num_train_steps,
    )
