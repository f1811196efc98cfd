"""The paths of an output: shard files, manifest, vocabulary copy, work folder."""

import dataclasses
import hashlib
import os
import tempfile

from data_prep.records import manifest as manifest_lib
from data_prep.records import token_counts


@dataclasses.dataclass(frozen=True)
class Outputs:
    """Paths of one run of create_pretraining_data.

    Attributes:
        stem: the part of the names that all files share.
        shards: the record files.
        manifest: the manifest beside them.
        vocabulary: the vocabulary's copy beside them.
        report: the data report as JSON beside them.
        report_page: the same as Markdown.
        report_image: its plots.
        report_web_page: both as one HTML file.
        token_counts: how often each token stands in each shard.
        work_folder: local folder of unfinished work, which a rerun resumes; it is
            removed at the end.
    """

    stem: str
    shards: tuple[str, ...]
    manifest: str
    vocabulary: str
    report: str
    report_page: str
    report_image: str
    report_web_page: str
    token_counts: str
    work_folder: str

    @property
    def lock(self) -> str:
        """The local file that a run locks."""
        return self.work_folder + ".lock"

    @property
    def beside_shards(self) -> tuple[str, ...]:
        """All files but the shards."""
        return (
            self.manifest,
            self.vocabulary,
            self.report,
            self.report_page,
            self.report_image,
            self.report_web_page,
            self.token_counts,
        )


def plan_outputs(output_file: str, num_shards: int) -> Outputs:
    """Name the files of a run.

    Args:
        output_file: one path (out/train.tfrecord becomes
            out/train-00000-of-00008.tfrecord if there are several shards), or a comma
            list of paths, one shard each, as in google-research/bert.
        num_shards: number of shards of one path.

    Raises:
        ValueError: no path, a path twice, or a list that disagrees with num_shards.
    """
    paths = [path.strip() for path in output_file.split(",") if path.strip()]
    if not paths:
        raise ValueError(
            "--output_file is empty: name a record file, such as out/train.tfrecord."
        )
    if num_shards < 1:
        raise ValueError(
            f"--num_shards={num_shards} cannot work: it must be 1 or more."
        )
    stem, extension = os.path.splitext(paths[0])
    if not os.path.basename(stem):
        raise ValueError(
            f"--output_file {paths[0]!r} is a folder: name a record file, such as "
            "out/train.tfrecord."
        )
    if len(paths) > 1:
        _check_list(paths, num_shards)
    elif num_shards > 1:
        paths = [
            f"{stem}-{shard:05d}-of-{num_shards:05d}{extension}"
            for shard in range(num_shards)
        ]
    planned = Outputs(
        stem,
        tuple(paths),
        stem + manifest_lib.SUFFIX,
        stem + ".vocab.txt",
        stem + ".report.json",
        stem + ".report.md",
        stem + ".report.png",
        stem + ".report.html",
        stem + token_counts.SUFFIX,
        _choose_work_folder(stem),
    )
    for path in set(planned.shards) & set(planned.beside_shards):
        raise ValueError(
            f"--output_file names {path!r}, which is a file that is written beside the "
            "records: give the records another name."
        )
    return planned


def _check_list(paths: list[str], num_shards: int) -> None:
    if num_shards not in (1, len(paths)):
        raise ValueError(
            f"--output_file lists {len(paths)} files but --num_shards={num_shards}: "
            "each listed file is one shard, so leave --num_shards out."
        )
    if len(set(paths)) < len(paths):
        raise ValueError(
            "--output_file lists a file twice: each listed file is one shard."
        )
    folders = {os.path.dirname(path) for path in paths}
    if len(folders) > 1:
        raise ValueError(
            f"--output_file lists files in {len(folders)} folders: put all shards in "
            "one, because the manifest lies beside them."
        )


def _choose_work_folder(stem: str) -> str:
    if "://" in stem:
        # An object store does not suit appending and many small files.
        name = hashlib.blake2b(stem.encode(), digest_size=8).hexdigest()
        return os.path.join(tempfile.gettempdir(), f"bert_cn-{name}.work")
    return stem + ".work"
