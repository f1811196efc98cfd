"""The manifest beside record files: their settings, inputs and contents.

It is written last, so records with a manifest are complete.
"""

import dataclasses
import json
import os
from collections.abc import Iterable
from typing import Any

from data_prep import storage
from data_prep.records import token_counts
from data_prep.records.settings import Settings

FORMAT_VERSION = 1
SUFFIX = ".manifest.json"
# Settings that manifests of this format did not always have, and what held before.
_LATER_SETTINGS = {
    "compression": "none",
    "pack_sequences": 1,
    "truncation": "google",
    "whole_word_share": 0.5,
    "similar_words": "",
    "similar_words_sha256": "",
    "eval_fraction": 0.0,
    "eval_documents": 0,
    "split": "train",
    "filter": "",
    "filter_sha256": "",
    "drop_repeated_lines": 0,
}


@dataclasses.dataclass(frozen=True)
class Manifest:
    """Contents of NAME.manifest.json.

    Its JSON is flat: the fields of `settings` stand among the others.

    Attributes:
        settings: those of the records.
        vocab_file: file name of the vocabulary's copy beside the manifest.
        vocab_size: number of its tokens.
        vocab_sha256: of its bytes.
        inputs: path, bytes and sha256 of each text file.
        counts: sums over the shards, and the number of files.
        shards: name, sequences, bytes, sha256 and counts of each record file.
        path: of the manifest itself; not in the file.
    """

    settings: Settings
    vocab_file: str
    vocab_size: int
    vocab_sha256: str
    inputs: list[dict[str, Any]]
    counts: dict[str, int]
    shards: list[dict[str, Any]]
    path: str = dataclasses.field(default="", compare=False)

    @property
    def vocab_path(self) -> str:
        """Full path of the vocabulary's copy."""
        return os.path.join(os.path.dirname(self.path), self.vocab_file)

    @property
    def held_out_path(self) -> str:
        """The record file of the documents that these records leave out; "" for none.

        Its own manifest lies beside it.
        """
        settings = self.settings
        if settings.split == "eval" or not (
            settings.eval_fraction or settings.eval_documents
        ):
            return ""
        return name_held_out(self.path.removesuffix(SUFFIX))

    @property
    def token_counts_path(self) -> str:
        """Full path of the counts of tokens, see `token_counts`."""
        return self.path.removesuffix(SUFFIX) + token_counts.SUFFIX


def name_held_out(stem: str) -> str:
    """Return the record file of the text that is held out.

    Args:
        stem: of the other records; `out/train` gives `out/eval-train.tfrecord`, which
            no pattern such as `out/train*` matches.
    """
    folder, name = os.path.split(stem)
    return os.path.join(folder, f"eval-{name}.tfrecord")


def read_manifest(path: str) -> Manifest:
    """Read a manifest.

    Raises:
        ValueError: it is not a manifest of this format.
    """
    with storage.open(path, "r") as file:
        text = file.read()
    try:
        content = storage.parse_json(text)
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
    settings = {field.name for field in dataclasses.fields(Settings)}
    own = {field.name for field in dataclasses.fields(Manifest)} - {"settings", "path"}
    content = _LATER_SETTINGS | content
    missing = (settings | own) - set(content)
    if missing:
        raise ValueError(
            f"Manifest {path!r} lacks {', '.join(sorted(missing))}: make the records "
            "again."
        )
    _check_names(content, path)
    return Manifest(
        settings=Settings(**{name: content[name] for name in settings}),
        **{name: content[name] for name in own},
        path=path,
    )


def _check_names(content: dict[str, Any], path: str) -> None:
    """Refuse a manifest whose files are not beside it."""
    where = f"Manifest {path!r}"
    try:
        names = [content["vocab_file"], *(s["file"] for s in content["shards"])]
    except (TypeError, KeyError) as error:
        raise ValueError(
            f"{where} has no list of shards: make the records again."
        ) from error
    for name in names:
        storage.join_named("", name, where)


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


def as_json(manifest: Manifest) -> dict[str, Any]:
    """Return the content of a manifest's file."""
    own = dataclasses.asdict(manifest)
    settings = own.pop("settings")
    del own["path"]
    content = {"format_version": FORMAT_VERSION}
    for name, value in settings.items():
        if name == "segmenter":  # The place of the vocabulary since format 1.
            content |= {key: own.pop(key) for key in list(own) if "vocab" in key}
        content[name] = value
    return content | own


def write_manifest(manifest: Manifest) -> None:
    """Write a manifest to its path."""
    write_json(manifest.path, as_json(manifest))


def write_json(path: str, content: dict[str, Any]) -> None:
    """Write JSON so that a reader finds the old file or the new one, never half."""
    storage.write_whole(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
