"""The stages of a cluster that compare all documents with each other.

Their results are those of `repeated_lines` and `near_duplicates`. The documents of each
bucket are written to a file first. Hashes meet in ranges, each on one worker. Pairs
that meet go to the bucket of the one document, which adds its hashes, and with them to
the bucket of the other, which compares.
"""

import io
import itertools
import json
import uuid
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from data_prep import storage
from data_prep.runner import bucket_documents, near_duplicates, repeated_lines, spill
from data_prep.runner.job import Job
from data_prep.text import counts as counts_lib

_EDGE = np.dtype(
    [("one", "<u8"), ("other", "<u8"), ("one_length", "<u4"), ("other_length", "<u4")]
)
_REPEATED = "plan.repeated_lines.npy"


class Comparison:
    """The stages that compare documents.

    Args:
        job: checked settings and existing inputs.
        folder: of the intermediate files.

    Attributes:
        job: see above.
        folder: see above.
    """

    def __init__(self, job: Job, folder: str):
        self.job = job
        self.folder = folder

    def spill(self, bucket: int, documents: Iterable[spill.Document]) -> Iterable:
        """Write a bucket's documents."""
        data = b"".join(map(spill.encode_document, documents))
        self._write(f"bucket-{bucket:06d}.documents", data)
        return ()

    def count_lines(self, bucket: int) -> Iterator[tuple[int, np.ndarray]]:
        """Yield ranges of hashes and a bucket's counts in them."""
        texts, _ = self._load(bucket)
        entries = repeated_lines.count_lines(texts)
        yield from _split(entries, self.job.num_compared_buckets)

    def find_repeated(self, number: int, entries: Iterable[np.ndarray]) -> Iterable:
        """Write the lines of a range that are removed."""
        joined = np.concatenate([np.empty(0, repeated_lines.ENTRY), *entries])
        most = self.job.settings.drop_repeated_lines
        found = repeated_lines.find_repeated(joined, most)
        self._write_array(f"lines-{number:06d}.npy", found)
        return ()

    def join_repeated(self) -> None:
        """Put the lines of all ranges into one file."""
        ranges = range(self.job.num_compared_buckets)
        found = [self._read_array(f"lines-{number:06d}.npy") for number in ranges]
        self._write_array(_REPEATED, np.concatenate(found))

    def sign(self, bucket: int) -> Iterator[tuple[int, np.ndarray]]:
        """Write a bucket's signatures; yield ranges of hashes and its bands there."""
        texts, _, _ = self._load_cleaned(bucket)
        signatures = near_duplicates.sign_texts(texts)
        lengths = np.array([len(text) for text in texts], np.uint32)
        self._write_array(f"bucket-{bucket:06d}.signatures.npy", signatures)
        self._write_array(f"bucket-{bucket:06d}.lengths.npy", lengths)
        entries = near_duplicates.list_entries(bucket, signatures)
        yield from _split(entries, self.job.num_near_buckets)

    def meet(self, _: int, entries: Iterable[np.ndarray]) -> Iterator:
        """Yield (bucket, pairs) of documents that agree in a band of a range."""
        joined = np.concatenate([np.empty(0, near_duplicates.ENTRY), *entries])
        joined.sort(order=joined.dtype.names)
        met = near_duplicates.find_met(joined)
        for bucket, rows in _group(met[:, 0]):
            yield bucket, met[rows]

    def attach(self, bucket: int, pairs: Iterable[np.ndarray]) -> Iterator:
        """Yield (bucket of the other document, pairs, signatures, lengths)."""
        joined = np.concatenate([np.empty((0, 2), np.uint64), *pairs])
        met = np.unique(joined, axis=0)
        signatures, lengths = self._read_signatures(bucket, met[:, 0])
        for other, rows in _group(met[:, 1]):
            yield other, (met[rows], signatures[rows], lengths[rows])

    def compare(self, bucket: int, attached: Iterable[tuple]) -> Iterable:
        """Write the pairs whose second document is this bucket's, if they are alike."""
        found = [np.empty(0, _EDGE)]
        for met, signatures, lengths in attached:
            own, own_lengths = self._read_signatures(bucket, met[:, 1])
            alike = (own == signatures).mean(axis=1) >= near_duplicates.SIMILAR
            edges = np.empty(alike.sum(), _EDGE)
            edges["one"], edges["other"] = met[alike].T
            edges["one_length"] = lengths[alike]
            edges["other_length"] = own_lengths[alike]
            found.append(edges)
        self._write_array(f"edges-{bucket:06d}.npy", np.concatenate(found))
        return ()

    def choose_kept(self) -> None:
        """Write which documents each bucket leaves out."""
        buckets = list(range(self.job.num_near_buckets))
        edges = np.concatenate(
            [self._read_array(f"edges-{bucket:06d}.npy") for bucket in buckets]
        )
        lengths: dict[int, int] = {}
        for side in ("one", "other"):
            numbers, found = edges[side].tolist(), edges[f"{side}_length"].tolist()
            lengths |= zip(numbers, found, strict=True)
        pairs = np.unique(np.stack([edges["one"], edges["other"]], axis=1), axis=0)
        groups = near_duplicates.choose_kept(
            pairs, lengths.__getitem__, self.job.num_buckets
        )
        for bucket, content in near_duplicates.list_dropped(groups, buckets):
            self.write_json(f"bucket-{bucket:06d}.dropped.json", content)

    def load_kept(self, bucket: int) -> tuple[list[tuple[str, int]], counts_lib.Counts]:
        """Return texts and copies of which a bucket's records are made, and counts."""
        texts, copies, counts = self._load_cleaned(bucket)
        dropped = set()
        if self.job.settings.deduplicate == "near":
            path = f"{self.folder}/bucket-{bucket:06d}.dropped.json"
            content = storage.read_json(path)
            dropped, more = near_duplicates.read_dropped(content, texts)
            counts |= more
        return bucket_documents.leave_out(texts, copies, dropped), counts

    def _load(self, bucket: int) -> tuple[list[str], list[int]]:
        path = f"{self.folder}/bucket-{bucket:06d}.documents"
        return spill.decode_documents(storage.read_bytes(path))

    def _load_cleaned(self, bucket: int):
        """Return texts without repeated lines, copies and counts."""
        texts, copies = self._load(bucket)
        if not self.job.settings.drop_repeated_lines:
            return texts, copies, {}
        texts, removed = repeated_lines.remove(texts, self._read_array(_REPEATED))
        return texts, copies, {"repeated_lines_dropped": removed}

    def _read_signatures(self, bucket: int, documents: np.ndarray):
        """Return signatures and lengths of some of a bucket's documents."""
        places = documents & np.uint64(near_duplicates.PLACE)
        return tuple(
            self._read_array(f"bucket-{bucket:06d}.{kind}.npy")[places]
            for kind in ("signatures", "lengths")
        )

    def write_json(self, name: str, content: dict[str, Any]) -> None:
        """Write a file of the folder."""
        self._write(name, json.dumps(content).encode())

    def _write_array(self, name: str, array: np.ndarray) -> None:
        data = io.BytesIO()
        np.save(data, array)
        self._write(name, data.getvalue())

    def _write(self, name: str, data: bytes) -> None:
        # Not storage.write_whole: processes of two machines may have the same number.
        partial = f"{self.folder}/{name}-{uuid.uuid4().hex}"
        with storage.open(partial, "wb") as file:
            file.write(data)
        storage.rename(partial, f"{self.folder}/{name}", overwrite=True)

    def _read_array(self, name: str) -> np.ndarray:
        return np.load(io.BytesIO(storage.read_bytes(f"{self.folder}/{name}")))


def _split(entries: np.ndarray, num_ranges: int) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (range, its entries) of entries that are sorted by their hash."""
    high = entries["hash"] >> np.uint64(32)
    ranges = (high * np.uint64(num_ranges)) >> np.uint64(32)
    for number, rows in _runs(ranges):
        yield number, entries[rows]


def _group(documents: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (bucket, places of its documents)."""
    buckets = documents >> np.uint64(32)
    order = np.argsort(buckets, kind="stable")
    for bucket, rows in _runs(buckets[order]):
        yield bucket, order[rows]


def _runs(ordered: np.ndarray) -> Iterator[tuple[int, slice]]:
    """Yield each number and its places in sorted numbers."""
    numbers, begins = np.unique(ordered, return_index=True)
    borders = itertools.pairwise([*begins.tolist(), len(ordered)])
    for number, (begin, end) in zip(numbers.tolist(), borders, strict=True):
        yield int(number), slice(begin, end)
