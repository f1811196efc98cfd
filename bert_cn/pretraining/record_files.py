"""Find record files, and check that they and their manifests agree."""

import dataclasses
import glob as local_glob
import os
import re
from typing import Any

import tensorflow as tf

from bert_cn.pretraining import dynamic_masking, record_integrity
from bert_cn.pretraining import settings as settings_lib
from data_prep.records import manifest as manifest_lib
from data_prep.records import schema, tfrecords
from data_prep.records.settings import Settings

# TensorFlow raises these for a damaged file, or one that is no TFRecord file; any other
# error is the storage's fault.
_NO_RECORDS = (
    tf.errors.DataLossError,
    tf.errors.FailedPreconditionError,
    tf.errors.InvalidArgumentError,
    tf.errors.OutOfRangeError,
)
# A glob and its share of the training records: "news*.tfrecord:2".
_WEIGHTED = re.compile(r"(.+):(\d+(?:\.\d+)?)")
# Settings that all files have in common.
_ALIKE = ("feature_names", "masking_time", "compression", "pack_sequences")
_SHAPE_FLAGS = ("max_seq_length", "max_predictions_per_seq")
_GOOGLE_SHAPE = (
    settings_lib.DEFAULT_MAX_SEQ_LENGTH,
    settings_lib.DEFAULT_MAX_PREDICTIONS_PER_SEQ,
)


@dataclasses.dataclass(frozen=True)
class FileGroup:
    """Files, in sorted order, whose records are drawn with one weight."""

    paths: tuple[str, ...]
    weight: float = 1.0


@dataclasses.dataclass(frozen=True)
class RecordFiles:
    """Input files that were found and agree with the flags.

    Attributes:
        groups: the files. The records of a single group come once an epoch. If there
            are several, the next record comes from each as often as its weight says.
        max_seq_length: tokens per record.
        max_predictions_per_seq: masked positions per record.
        feature_names: the spelling on disk, a key of `schema.RECORD_NAMES`.
        manifests: those that list the files; none for records that another program
            wrote.
        masker: masks records that are stored unmasked; None for records with masks.
        compression: of whole files, a key of `tfrecords.COMPRESSIONS`.
        pack_sequences: sequences of a record, at most.
    """

    groups: tuple[FileGroup, ...]
    max_seq_length: int
    max_predictions_per_seq: int
    feature_names: str
    manifests: tuple[manifest_lib.Manifest, ...] = ()
    masker: dynamic_masking.Masker | None = None
    compression: str = "none"
    pack_sequences: int = 1

    def open(self, paths) -> tf.data.Dataset:
        """Return the records of one or several files, serialized."""
        return tf.data.TFRecordDataset(paths, tfrecords.COMPRESSIONS[self.compression])

    @property
    def vocab_size(self) -> int:
        """Tokens of the vocabulary that the manifests name."""
        return self.manifests[0].vocab_size

    @property
    def shape(self) -> tuple[int, int]:
        """Tokens and masked positions per record."""
        return self.max_seq_length, self.max_predictions_per_seq

    @property
    def paths(self) -> tuple[str, ...]:
        """All files, one group after the other."""
        return tuple(path for group in self.groups for path in group.paths)

    def count_records(self) -> int | None:
        """Return how many records an epoch has; None if there is no such number.

        Groups with weights have no common epoch, and files that no manifest lists are
        not counted.
        """
        shards = self.shards
        if len(self.groups) > 1 or not set(self.paths) <= shards.keys():
            return None
        return sum(shards[path]["sequences"] for path in self.paths)

    @property
    def shards(self) -> dict[str, dict[str, Any]]:
        """Path -> its entry in the manifest; without files that no manifest lists."""
        return {
            os.path.join(os.path.dirname(manifest.path), shard["file"]): shard
            for manifest in self.manifests
            for shard in manifest.shards
        }


def list_shards(owners: dict[str, manifest_lib.Manifest]) -> dict[str, dict[str, Any]]:
    """Return path -> its entry in the manifest, from path -> manifest."""
    shards = {
        (manifest.path, shard["file"]): shard
        for manifest in {each.path: each for each in owners.values()}.values()
        for shard in manifest.shards
    }
    return {
        path: shards[manifest.path, os.path.basename(path)]
        for path, manifest in owners.items()
    }


def find_files(patterns: str, flag: str) -> tuple[FileGroup, ...]:
    """Expand globs with commas between, each with a weight or none (`news*:2,wiki*`).

    Returns:
        If any entry has a weight, one group for each entry, whose weight is 1 if it has
        none. Otherwise one group of all files, so that every record comes once an
        epoch.

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
        # A file's name with glob characters in it.
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
    groups: tuple[FileGroup, ...],
    max_seq_length: int | None = None,
    max_predictions_per_seq: int | None = None,
) -> RecordFiles:
    """Check before the first step that the records have one shape and spelling.

    Every manifest beside the files is read. If a file has none, its first record is.

    Args:
        groups: the files.
        max_seq_length: tokens per record; None to take it from the manifests, or Google
            BERT's default if there is none.
        max_predictions_per_seq: masked positions per record, as above.

    Raises:
        ValueError: a file is empty or no TFRecord file, or its shape differs; the
            message names the file, the shape found and the remedy.
    """
    paths = [path for group in groups for path in group.paths]
    owners = manifest_lib.find_manifests(paths)
    record_integrity.check_sizes(list_shards(owners))
    wanted = _choose_shape(owners, (max_seq_length, max_predictions_per_seq))
    probed = _find_filled(groups, owners)
    manifests = {manifest.path: manifest for manifest in owners.values()}
    found: dict[str, dict] = {name: {} for name in _ALIKE}
    for path in paths:
        kind = _find_kind(path, owners.get(path), path == probed)
        _check_shape(path, (kind.max_seq_length, kind.max_predictions_per_seq), wanted)
        for name, values in found.items():
            values.setdefault(getattr(kind, name), path)
    for name, values in found.items():
        if len(values) > 1:
            (one, first), (other, second) = list(values.items())[:2]
            raise ValueError(
                f"{first} was written with --{name}={one}, {second} with {other}: "
                "train on records of one kind."
            )
    alike = {name: next(iter(values)) for name, values in found.items()}
    del alike["masking_time"]
    manifests = tuple(manifests.values())
    return RecordFiles(
        groups,
        *(value for value, _ in wanted),
        manifests=manifests,
        masker=dynamic_masking.build_masker(manifests),
        **alike,
    )


def _find_kind(
    path: str, manifest: manifest_lib.Manifest | None, is_probed: bool
) -> Settings:
    """Return the settings of a file's records, as far as they are known.

    Args:
        path: the file.
        manifest: that lists it; None if there is none.
        is_probed: whether to look into the file all the same.

    Raises:
        ValueError: its first record cannot be read, or needs a manifest.
    """
    if manifest is not None and not is_probed:
        return manifest.settings
    found = _read_kind(path)
    if found.masking_time == "static":
        return found
    if manifest is None:
        raise ValueError(
            f"{path}: its records are to be masked while training, and no manifest "
            "beside it says how: put the manifest and the vocabulary that the data "
            "stage wrote there, too."
        )
    return manifest.settings


def _choose_shape(
    owners: dict[str, manifest_lib.Manifest], given: tuple[int | None, int | None]
) -> tuple[tuple[int, str], ...]:
    """Return the value of each of `_SHAPE_FLAGS`, and the file whose manifest gave it.

    The file is "" for a value that was given, or is Google BERT's.
    """
    file, manifest = next(iter(owners.items()), ("", None))
    shape = []
    for flag, value, default in zip(_SHAPE_FLAGS, given, _GOOGLE_SHAPE, strict=True):
        if value is None and manifest is not None:
            shape.append((getattr(manifest.settings, flag), file))
        else:
            shape.append((default if value is None else value, ""))
    return tuple(shape)


def _find_filled(groups, owners: dict[str, manifest_lib.Manifest]) -> str:
    """Return the first file that holds a record or may hold one.

    Raises:
        ValueError: manifests say that no file of a group does.
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


def _read_kind(path: str) -> Settings:
    """Return what the first record of a file says of its settings.

    Raises:
        ValueError: there is none that can be read.
        tf.errors.OpError: storage did not answer, or refused.
    """
    compression = tfrecords.find_compression(path)
    records = tf.data.TFRecordDataset(path, tfrecords.COMPRESSIONS[compression])
    try:
        record = next(iter(records.take(1)), None)
    except _NO_RECORDS as error:
        raise ValueError(
            f"{path}: cannot be read as TFRecords ({error.message}); write it again "
            "with python -m data_prep.create_pretraining_data."
        ) from error
    if record is None:
        raise ValueError(
            f"{path}: holds no record; remove it or write it again with "
            "python -m data_prep.create_pretraining_data."
        )
    features = tf.train.Example.FromString(record.numpy()).features.feature
    if schema.SEQUENCES in features:
        return Settings(masking_time="dynamic", compression=compression)
    for names, on_disk in schema.RECORD_NAMES.items():
        if all(on_disk[name] in features for name in schema.FEATURES):
            length, predictions = (
                len(features[on_disk[name]].int64_list.value)
                for name in (schema.INPUT_IDS, schema.MASKED_LM_POSITIONS)
            )
            return Settings(
                feature_names=names,
                max_seq_length=length,
                max_predictions_per_seq=predictions,
                compression=compression,
            )
    raise ValueError(
        f"{path}: its first record has the features {sorted(features)}, not the seven "
        f"of a BERT pretraining record {sorted(schema.FEATURES)}."
    )


def _check_shape(
    path: str, found: tuple[int, int], wanted: tuple[tuple[int, str], ...]
) -> None:
    for flag, have, (want, file) in zip(_SHAPE_FLAGS, found, wanted, strict=True):
        if have == want:
            continue
        if file:
            difference = f"those of {file} with {want}: train on records of one shape."
        else:
            difference = (
                f"--{flag}={want}: pass --{flag}={have}, or make the records again."
            )
        raise ValueError(
            f"{path}: its records were written with {flag} {have}, but {difference}"
        )
