"""TFRecords to a tf.data pipeline, deterministic and sharded per host."""

import dataclasses
import glob as local_glob
import os
import re
from typing import Any

import tensorflow as tf

from bert_cn.pretraining import dynamic_masking, eval_metrics, shuffle_order
from data_prep.records import manifest as manifest_lib
from data_prep.records import schema

# What TensorFlow raises for a file that is no TFRecord file, or a damaged one; all else
# is the storage's fault.
_NO_RECORDS = (
    tf.errors.DataLossError,
    tf.errors.FailedPreconditionError,
    tf.errors.InvalidArgumentError,
    tf.errors.OutOfRangeError,
)
# Decides the masks of an evaluation over records that are masked while training.
_EVAL_MASK_SEED = 0


# A glob and its share of the training records: "news*.tfrecord:2".
_WEIGHTED = re.compile(r"(.+):(\d+(?:\.\d+)?)")


@dataclasses.dataclass(frozen=True)
class FileGroup:
    """Files that are drawn from with one weight, in sorted order."""

    paths: tuple[str, ...]
    weight: float = 1.0


@dataclasses.dataclass(frozen=True)
class RecordFiles:
    """Input files that were found and agree with the flags.

    Attributes:
        groups: the files. One group is read once an epoch; of several, the next record
            comes from each as often as its weight says.
        max_seq_length: tokens per record.
        max_predictions_per_seq: masked positions per record.
        feature_names: spelling on disk, a key of `schema.RECORD_NAMES`.
        manifests: those of the data stage that list the files; empty for records that
            another program wrote.
        masker: masks the records, which are stored unmasked; None if they are masked.
    """

    groups: tuple[FileGroup, ...]
    max_seq_length: int
    max_predictions_per_seq: int
    feature_names: str
    manifests: tuple[manifest_lib.Manifest, ...] = ()
    masker: dynamic_masking.Masker | None = None

    @property
    def paths(self) -> tuple[str, ...]:
        """All files, group after group."""
        return tuple(path for group in self.groups for path in group.paths)

    @property
    def shards(self) -> dict[str, dict[str, Any]]:
        """Path -> what its manifest says of it; without files that have none."""
        return {
            os.path.join(os.path.dirname(manifest.path), shard["file"]): shard
            for manifest in self.manifests
            for shard in manifest.shards
        }


def find_files(patterns: str, flag: str) -> tuple[FileGroup, ...]:
    """Expand a comma list of globs, each with a weight or none (`news*:2,wiki*:1`).

    Returns:
        One group for each entry if any has a weight (1 where it has none), else one
        group of all files, so that every record comes once an epoch.

    Raises:
        ValueError: a pattern matches no file, or a weight is 0; the message names it
            and `flag`.
    """
    entries = [part.strip() for part in patterns.split(",") if part.strip()]
    if not entries:
        raise ValueError(f"{flag} is empty: name TFRecord files or globs.")
    groups = []
    weighted = False
    for entry in entries:
        match = _WEIGHTED.fullmatch(entry)
        pattern, weight = (match[1], float(match[2])) if match else (entry, 1.0)
        if weight == 0:
            raise ValueError(
                f"{flag}: {entry!r} has weight 0: leave it out, or give it a weight."
            )
        weighted |= match is not None
        groups.append(FileGroup(_expand(pattern, flag), weight))
    if weighted:
        return tuple(groups)
    paths = {path for group in groups for path in group.paths}
    return (FileGroup(tuple(sorted(paths))),)


def _expand(pattern: str, flag: str) -> tuple[str, ...]:
    found = [path for path in tf.io.gfile.glob(pattern) if _is_record_file(path)]
    if not found and tf.io.gfile.exists(pattern):
        # A real name with glob characters in it.
        found = tf.io.gfile.glob(local_glob.escape(pattern)) or [pattern]
    if not found:
        raise ValueError(
            f"{flag}: {pattern!r} matches no file; check the path, or make the "
            "records with python -m data_prep.create_pretraining_data."
        )
    return tuple(sorted(found))


def _is_record_file(path: str) -> bool:
    return not path.endswith((".json", ".txt", ".md", ".png"))


def check_files(
    groups: tuple[FileGroup, ...], max_seq_length: int, max_predictions_per_seq: int
) -> RecordFiles:
    """Check that the records have the shapes of the flags, before the first step.

    Every manifest beside the files is read; where there is none, the first record is.

    Raises:
        ValueError: a file is empty or no TFRecord file, or its shape differs; the
            message names the file, the shape found and the flag to set.
    """
    paths = [path for group in groups for path in group.paths]
    owners = manifest_lib.find_manifests(paths)
    probed = _find_filled(groups, owners)
    manifests = {}
    feature_names, masked = set(), set()
    for path in paths:
        manifest = owners.get(path)
        if manifest is not None:
            manifests[manifest.path] = manifest
            found = (manifest.max_seq_length, manifest.max_predictions_per_seq)
            feature_names.add(manifest.feature_names)
            masked.add(manifest.masking_time == "static")
        if manifest is None or path == probed:
            names, length, predictions = _read_shape(path)
            feature_names.add(names)
            masked.add(predictions is not None)
            if predictions is not None:
                found = (length, predictions)
            elif manifest is None:
                raise ValueError(
                    f"{path}: its records are to be masked while training, and no "
                    "manifest beside it says how: put the manifest and the vocabulary "
                    "that the data stage wrote there, too."
                )
        _check_shape(path, found, (max_seq_length, max_predictions_per_seq))
    if len(feature_names) > 1:
        raise ValueError(
            f"Input files spell their features differently ({sorted(feature_names)}): "
            "train on files written with one --feature_names."
        )
    if len(masked) > 1:
        raise ValueError(
            "Some input files are masked and some are to be masked while training: "
            "train on files written with one --masking_time."
        )
    return RecordFiles(
        groups,
        max_seq_length,
        max_predictions_per_seq,
        feature_names.pop(),
        tuple(manifests.values()),
        dynamic_masking.build_masker(tuple(manifests.values())),
    )


def _find_filled(groups, owners: dict[str, manifest_lib.Manifest]) -> str:
    """Return a file that holds a record, or of which no manifest says how many.

    Raises:
        ValueError: a group has none.
    """
    manifests = {manifest.path: manifest for manifest in owners.values()}
    empty = {
        os.path.join(os.path.dirname(path), shard["file"])
        for path, manifest in manifests.items()
        for shard in manifest.shards
        if not shard["sequences"]
    }
    for group in groups:
        if empty.issuperset(group.paths):
            raise ValueError(
                f"{group.paths[0]}: its manifest says that it holds no record, nor "
                "does any file named with it: leave it out."
            )
    return next(path for path in groups[0].paths if path not in empty)


def _read_shape(path: str) -> tuple[str, int, int | None]:
    """Return (spelling, tokens, masked positions or None) of the first record.

    Raises:
        ValueError: there is none that can be read.
        tf.errors.OpError: storage did not answer, or refused.
    """
    try:
        record = next(iter(tf.data.TFRecordDataset(path).take(1)), None)
    except _NO_RECORDS as error:
        raise ValueError(
            f"{path}: cannot be read as TFRecords ({error.message}); write it anew "
            "with python -m data_prep.create_pretraining_data."
        ) from error
    if record is None:
        raise ValueError(
            f"{path}: holds no record; remove it or write it anew with "
            "python -m data_prep.create_pretraining_data."
        )
    features = tf.train.Example.FromString(record.numpy()).features.feature
    for names, on_disk in schema.RECORD_NAMES.items():
        sizes = {
            name: len(features[on_disk[name]].int64_list.value)
            for name in on_disk
            if on_disk[name] in features
        }
        if any(set(kind) <= set(sizes) for kind in schema.FEATURES_OF.values()):
            predictions = sizes.get(schema.MASKED_LM_POSITIONS)
            return names, sizes[schema.INPUT_IDS], predictions
    raise ValueError(
        f"{path}: its first record has the features {sorted(features)}, not the seven "
        f"of a BERT pretraining record {sorted(schema.FEATURES)}."
    )


def _check_shape(path: str, found: tuple[int, int], wanted: tuple[int, int]) -> None:
    for flag, have, want in zip(
        ("max_seq_length", "max_predictions_per_seq"), found, wanted, strict=True
    ):
        if have != want:
            raise ValueError(
                f"{path}: its records were written with {flag} {have}, but "
                f"--{flag}={want}; pass --{flag}={have} or make the records anew."
            )


def build_train_dataset(
    files: RecordFiles,
    batch_size: int,
    seed: int,
    skip_records: int = 0,
    host: int = 0,
    num_hosts: int = 1,
) -> tf.data.Dataset:
    """Build an endless, shuffled dataset whose order depends only on the arguments.

    Args:
        files: from `check_files`.
        batch_size: records per batch of this host.
        seed: order of files and records. Records that are masked here are masked anew
            in each epoch, from (seed, number of the record in the endless order).
        skip_records: records that this host has already trained on: a resumed run goes
            on where the other stopped.
        host: index of this input pipeline.
        num_hosts: number of input pipelines. Files are dealt out to them; with fewer
            files than hosts, records are.

    Returns:
        Batches as `_parse_batch` makes them.
    """
    dataset = read_in_order(files, seed, skip_records, host, num_hosts)
    if files.masker is not None:
        numbered = dataset.enumerate(skip_records)
        dataset = _add_noise(numbered, files, seed, host, num_hosts)
    dataset = dataset.batch(batch_size, drop_remainder=True)
    return _parse(dataset, files).prefetch(tf.data.AUTOTUNE)


def read_in_order(
    files: RecordFiles,
    seed: int,
    skip_records: int,
    host: int,
    num_hosts: int,
    read_file=tf.data.TFRecordDataset,
) -> tf.data.Dataset:
    """Return this host's records without end, see `shuffle_order`.

    Args:
        files: from `check_files`.
        seed: order of files and records.
        skip_records: records of this host that are not wanted.
        host: index of this input pipeline.
        num_hosts: number of input pipelines.
        read_file: see `shuffle_order.GroupOrder.read`.
    """
    shards = files.shards
    groups = [
        shuffle_order.GroupOrder(
            group.paths,
            tuple(shards.get(path, {}).get("sequences") for path in group.paths),
            seed,
            host,
            num_hosts,
        )
        for group in files.groups
    ]
    weights = [group.weight for group in files.groups]
    return shuffle_order.read_groups(groups, weights, seed, skip_records, read_file)


def build_eval_dataset(files: RecordFiles, batch_size: int) -> tf.data.Dataset:
    """Build a dataset of every record once, in file order.

    The last batch is filled up with records of zeros, so that every batch has the same
    shape; their input_mask and masked_lm_weights are 0. Records that are masked here
    are masked alike in each evaluation. Each batch also has what
    `eval_metrics.mark_groups` returns.
    """
    dataset = tf.data.TFRecordDataset(list(files.paths))
    if files.masker is not None:
        dataset = _add_noise(dataset.enumerate(), files, _EVAL_MASK_SEED)
    dataset = _parse(dataset.batch(batch_size), files, mark_groups=True)

    def fill_up(batch):
        missing = batch_size - tf.shape(batch[schema.INPUT_IDS])[0]
        return {
            name: tf.ensure_shape(
                tf.pad(value, [[0, missing], [0, 0]]), (batch_size, value.shape[1])
            )
            for name, value in batch.items()
        }

    return dataset.map(fill_up).prefetch(tf.data.AUTOTUNE)


def _add_noise(
    dataset: tf.data.Dataset,
    files: RecordFiles,
    seed: int,
    host: int = 0,
    num_hosts: int = 1,
) -> tf.data.Dataset:
    """Turn (number on this host, record) into (record, noise that masks it)."""

    def draw(number, record):
        seeds = tf.stack([tf.constant(seed, tf.int64), number * num_hosts + host])
        return record, files.masker.draw_noise(files.max_seq_length, seeds)

    return dataset.map(draw, num_parallel_calls=2, deterministic=True)


def _parse(
    dataset: tf.data.Dataset, files: RecordFiles, mark_groups: bool = False
) -> tf.data.Dataset:
    """Turn batches of serialized records into features under our names.

    Where records are masked here, a batch is (serialized records, noise).

    Integers become int32, because TPUs compute no int64. Each feature is
    [batch, ...shape of `schema.feature_shapes`].
    """
    masker = files.masker
    masking_time = "dynamic" if masker else "static"
    spec = schema.parsing_spec(
        files.max_seq_length,
        files.max_predictions_per_seq,
        files.feature_names,
        masking_time,
    )
    on_disk = schema.RECORD_NAMES[files.feature_names]

    def parse_batch(records, noise=None):
        parsed = tf.io.parse_example(records, spec)
        features = {
            name: parsed[on_disk[name]]
            if name in schema.FLOAT_FEATURES
            else tf.cast(parsed[on_disk[name]], tf.int32)
            for name in schema.FEATURES_OF[masking_time]
        }
        masked = masker.mask(features, noise) if masker else features
        if mark_groups:
            word_ids = features.get(schema.WORD_IDS)
            masked = masked | eval_metrics.mark_groups(masked, word_ids)
        return masked

    return dataset.map(parse_batch, num_parallel_calls=2, deterministic=True)
