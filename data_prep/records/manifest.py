"""The manifest beside record files: what made them and what they hold.

It is written last, so records with a manifest are complete.
"""

import dataclasses
import json
import os
from collections.abc import Iterable
from typing import Any

from data_prep import storage

FORMAT_VERSION = 1
SUFFIX = ".manifest.json"


@dataclasses.dataclass(frozen=True)
class Manifest:
    """Contents of NAME.manifest.json; the fields are its keys, `path` apart.

    Attributes:
        feature_names: key of `schema.RECORD_NAMES`, the spelling on disk.
        text_field: what held the documents of .jsonl files.
        on_bad_utf8: what became of bytes that are not UTF-8, one of
            `corpus.ON_BAD_UTF8`.
        max_seq_length: tokens per sequence.
        max_predictions_per_seq: masked positions per sequence.
        sentence_task: one of `packing.SENTENCE_TASKS`; with "none" every
            next_sentence_label is 0 and means nothing.
        packing: what a sequence holds, one of `packing.PACKINGS`.
        do_lower_case: how the text was tokenized.
        vocab_file: file name of the vocabulary's copy beside the manifest.
        vocab_size: its tokens.
        vocab_sha256: of its bytes.
        segmenter: what found the words.
        user_dict: path of the dictionary that was added to the segmenter's, or "".
        user_dict_sha256: of its bytes, or "".
        traditional: which documents were segmented by their simplified shadow.
        fix_punctuation: characters that the vocabulary lacks were replaced.
        masking: what was masked together, one of `masking.MASKINGS`.
        mask_unit: what each draw of 80/10/10 decided on, one of `masking.MASK_UNITS`.
        masking_time: key of `schema.FEATURES_OF`; "dynamic" records are masked by these
            rules while training.
        dupe_factor: copies of the corpus, each masked anew.
        masked_lm_prob: share of tokens to mask.
        short_seq_prob: share of documents cut into shorter sequences.
        random_seed: of every draw.
        deduplicate: documents of equal text were used once.
        inputs: of each text file its path, bytes and sha256.
        counts: sums over the shards, and files.
        shards: of each record file its name, sequences, bytes, sha256 and counts.
        format_version: of this file.
        path: where the manifest was read from; not in the file.
    """

    feature_names: str
    text_field: str
    on_bad_utf8: str
    max_seq_length: int
    max_predictions_per_seq: int
    sentence_task: str
    packing: str
    do_lower_case: bool
    vocab_file: str
    vocab_size: int
    vocab_sha256: str
    segmenter: str
    user_dict: str
    user_dict_sha256: str
    traditional: str
    fix_punctuation: bool
    masking: str
    mask_unit: str
    masking_time: str
    dupe_factor: int
    masked_lm_prob: float
    short_seq_prob: float
    random_seed: int
    deduplicate: bool
    inputs: list[dict[str, Any]]
    counts: dict[str, int]
    shards: list[dict[str, Any]]
    format_version: int = FORMAT_VERSION
    path: str = dataclasses.field(default="", compare=False)

    @property
    def vocab_path(self) -> str:
        """Full path of the vocabulary's copy."""
        return os.path.join(os.path.dirname(self.path), self.vocab_file)


def read_manifest(path: str) -> Manifest:
    """Read a manifest.

    Raises:
        ValueError: it is no manifest of this format.
    """
    with storage.open(path, "r") as file:
        text = file.read()
    try:
        content = json.loads(text)
        version = content["format_version"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"Manifest {path!r} is not readable: make the records again with "
            "--overwrite."
        ) from error
    if version != FORMAT_VERSION:
        raise ValueError(
            f"Manifest {path!r} has format {version}, this version reads "
            f"{FORMAT_VERSION}: make the records again."
        )
    known = {field.name for field in dataclasses.fields(Manifest)} - {"path"}
    missing = known - set(content)
    if missing:
        raise ValueError(
            f"Manifest {path!r} lacks {', '.join(sorted(missing))}: make the records "
            "again."
        )
    return Manifest(**{name: content[name] for name in known}, path=path)


def find_manifest(record_file: str) -> Manifest | None:
    """Return the manifest in a record file's folder that lists it, or None."""
    return find_manifests([record_file]).get(record_file)


def find_manifests(record_files: Iterable[str]) -> dict[str, Manifest]:
    """Return the manifest that lists each file, from the file's own folder.

    A folder is listed once and a manifest read once, however many files they hold.

    Args:
        record_files: paths.

    Returns:
        Path -> manifest; without files that no manifest lists.

    Raises:
        ValueError: a manifest cannot be read.
    """
    unread: dict[str, list[str]] = {}
    owners: dict[tuple[str, str], Manifest] = {}
    found = {}
    for path in record_files:
        folder, name = os.path.split(path)
        if folder not in unread:
            # Listed, not globbed: the folder's name may hold brackets.
            entries = storage.listdir(folder or ".")
            unread[folder] = sorted(
                (entry for entry in entries if entry.endswith(SUFFIX)), reverse=True
            )
        while (folder, name) not in owners and unread[folder]:
            manifest = read_manifest(os.path.join(folder, unread[folder].pop()))
            for shard in manifest.shards:
                owners.setdefault((folder, shard["file"]), manifest)
        if (folder, name) in owners:
            found[path] = owners[folder, name]
    return found


def write_manifest(manifest: Manifest) -> None:
    """Write a manifest to its path: temporary name, then rename."""
    content = dataclasses.asdict(manifest)
    del content["path"]
    write_json(
        manifest.path, {"format_version": content.pop("format_version")} | content
    )


def write_json(path: str, content: dict[str, Any]) -> None:
    """Write JSON so that a reader finds the old file or the new one, never half."""
    partial = path + ".partial"
    with storage.open(partial, "w") as file:
        file.write(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    storage.rename(partial, path, overwrite=True)
