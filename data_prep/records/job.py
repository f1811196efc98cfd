"""What one run of create_pretraining_data is about."""

import dataclasses
import os
from typing import Any

from data_prep.records.settings import Settings
from data_prep.runner import buckets
from data_prep.runner.outputs import Outputs
from data_prep.text import corpus, vocab


@dataclasses.dataclass(frozen=True)
class Job:
    """One run: what goes in, what decides the records, where they go."""

    files: list[corpus.InputFile]
    vocabulary: vocab.Vocabulary
    settings: Settings
    outputs: Outputs

    @property
    def corpus_bytes(self) -> int:
        """Bytes of all input files."""
        return sum(file.bytes for file in self.files)

    @property
    def groups_per_shard(self) -> int:
        """Groups that make up one shard."""
        text_bytes = sum(file.text_bytes for file in self.files)
        return buckets.count_groups_per_shard(text_bytes, len(self.outputs.shards))

    @property
    def plan_path(self) -> str:
        """Where it stands what the work folder's spill files were made of."""
        return os.path.join(self.outputs.work_folder, "plan.json")

    def entry_path(self, shard: int) -> str:
        """Return where a finished shard's entry waits for the manifest."""
        return os.path.join(self.outputs.work_folder, f"shard-{shard:05d}.json")

    def identity(self) -> dict[str, Any]:
        """Return what must be equal for an earlier output to be this one's."""
        return {
            **dataclasses.asdict(self.settings),
            "vocab_sha256": self.vocabulary.sha256,
            "shards": [os.path.basename(path) for path in self.outputs.shards],
            "inputs": [dataclasses.asdict(file) for file in self.files],
        }

    def groups_of(self, shard: int) -> range:
        """Return the numbers of a shard's groups."""
        return range(shard * self.groups_per_shard, (shard + 1) * self.groups_per_shard)
