"""One run of create_pretraining_data: its inputs, its settings and its files."""

import dataclasses
import json
import os
from collections.abc import Collection
from typing import Any

from data_prep.records.settings import Settings
from data_prep.runner import buckets
from data_prep.runner.outputs import Outputs
from data_prep.text import corpus, vocab
from data_prep.text import counts as counts_lib

# Bits of the hash that divides the documents.
EVAL_BITS = 64


@dataclasses.dataclass(frozen=True)
class Job:
    """One run.

    Attributes:
        files: the input.
        vocabulary: the WordPiece vocabulary.
        settings: those of the records.
        outputs: the files to write. The files of the work folder are named here.
        eval_limit: divides the documents, see `held_out`; 0 if all are used.
        own_shards: the shards that this process makes, see `tasks`; None for all.
    """

    files: list[corpus.InputFile]
    vocabulary: vocab.Vocabulary
    settings: Settings
    outputs: Outputs
    eval_limit: int = 0
    own_shards: tuple[int, ...] | None = None

    @property
    def corpus_bytes(self) -> int:
        """Bytes of all input files."""
        return sum(file.bytes for file in self.files)

    @property
    def buckets_per_shard(self) -> int:
        """Number of buckets that make up one shard."""
        text_bytes = sum(file.text_bytes for file in self.files)
        if self.settings.split == "eval":
            text_bytes *= self.eval_limit / 2**EVAL_BITS
        return buckets.count_buckets_per_shard(text_bytes, len(self.outputs.shards))

    @property
    def num_buckets(self) -> int:
        """Number of buckets of all shards."""
        return self.buckets_per_shard * len(self.outputs.shards)

    @property
    def num_compared_buckets(self) -> int:
        """Number of buckets whose documents are compared with each other.

        Those after `num_buckets` hold the documents of the other side, held out or not,
        of which no record is made here.
        """
        settings = self.settings
        compares = settings.deduplicate == "near" and settings.split == "train"
        if not self.eval_limit or not (compares or settings.drop_repeated_lines):
            return self.num_buckets
        share = self.eval_limit / 2**EVAL_BITS
        if settings.split == "eval":
            share = 1 - share
        text_bytes = sum(file.text_bytes for file in self.files)
        return self.num_buckets + buckets.count_buckets_per_shard(share * text_bytes, 1)

    @property
    def num_near_buckets(self) -> int:
        """The same for documents of similar text: held-out ones among themselves."""
        if self.settings.split == "eval":
            return self.num_buckets
        return self.num_compared_buckets

    @property
    def own_buckets(self) -> Collection[int]:
        """The buckets whose records this process makes."""
        if self.own_shards is None:
            return range(self.num_buckets)
        return {
            bucket for shard in self.own_shards for bucket in self.buckets_of(shard)
        }

    def buckets_of(self, shard: int) -> range:
        """Return the numbers of a shard's buckets."""
        per_shard = self.buckets_per_shard
        return range(shard * per_shard, (shard + 1) * per_shard)

    def identity(self) -> dict[str, Any]:
        """Return what an earlier output must share with this one to be the same."""
        return {
            **dataclasses.asdict(self.settings),
            "vocab_sha256": self.vocabulary.sha256,
            "shards": [os.path.basename(path) for path in self.outputs.shards],
            "inputs": [dataclasses.asdict(file) for file in self.files],
        }

    @property
    def plan_path(self) -> str:
        """The file that names the inputs and settings of the work folder."""
        return os.path.join(self.outputs.work_folder, "plan.json")

    def entry_path(self, shard: int) -> str:
        """Return the file that keeps a finished shard's entry for the manifest."""
        return os.path.join(self.outputs.work_folder, f"shard-{shard:05d}.json")

    def spill_path(self, bucket: int) -> str:
        """Return the file of a bucket's documents."""
        return self._bucket_path(bucket, "documents")

    def part_path(self, bucket: int) -> str:
        """Return the file of a bucket's finished records."""
        return self._bucket_path(bucket, "tfrecord")

    def counts_path(self, bucket: int) -> str:
        """Return the file of a bucket's counts, which is written after its part."""
        return self._bucket_path(bucket, "counts.json")

    def bands_path(self, bucket: int) -> str:
        """Return the file of a bucket's signatures, see `near_duplicates`."""
        return self._bucket_path(bucket, "bands.npy")

    def signatures_path(self, bucket: int) -> str:
        """Return the file of the hashes of a bucket's documents."""
        return self._bucket_path(bucket, "signatures.npy")

    def lengths_path(self, bucket: int) -> str:
        """Return the file of the lengths of a bucket's documents."""
        return self._bucket_path(bucket, "lengths.npy")

    def dropped_path(self, bucket: int) -> str:
        """Return the file that lists the documents that a bucket leaves out."""
        return self._bucket_path(bucket, "dropped.json")

    def lines_path(self, bucket: int) -> str:
        """Return the file that counts a bucket's lines, see `repeated_lines`."""
        return self._bucket_path(bucket, "lines.npy")

    @property
    def repeated_lines_path(self) -> str:
        """The file of the hashes of all lines that are removed."""
        return os.path.join(self.outputs.work_folder, "plan.repeated_lines.npy")

    @property
    def duplicates_path(self) -> str:
        """The file that says that all buckets know what they leave out."""
        return os.path.join(self.outputs.work_folder, "plan.near_duplicates.json")

    def is_made(self, bucket: int) -> bool:
        """Say whether a bucket's part is there, whole."""
        # A part is removed once its shard is finished; the shard may be lost since.
        paths = self.part_path(bucket), self.counts_path(bucket)
        return all(map(os.path.exists, paths))

    def read_counts(self, bucket: int) -> counts_lib.Counts:
        """Return the counts of a bucket whose part is made."""
        with open(self.counts_path(bucket), encoding="utf-8") as file:
            return json.load(file)

    def _bucket_path(self, bucket: int, ending: str) -> str:
        name = f"bucket-{bucket:06d}.{ending}"
        return os.path.join(self.outputs.work_folder, name)
