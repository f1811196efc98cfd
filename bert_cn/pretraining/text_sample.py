"""The first part of a text, and what a checkpoint's vocabulary makes of it."""

import dataclasses
import os
import tempfile
from collections import Counter

from bert_cn.conversion import pretrained, tokenizer_files
from data_prep.records import manifest as manifest_lib
from data_prep.records import settings as settings_lib
from data_prep.runner import local, outputs
from data_prep.runner.job import Job
from data_prep.text import corpus, new_words

# Above this share of [UNK] the vocabulary is for other texts.
_UNKNOWN_REFUSED = 0.5


@dataclasses.dataclass(frozen=True)
class TextSample:
    """The first documents of a text.

    Attributes:
        documents: the documents.
        share: of the whole text, by bytes.
        total_bytes: of the whole text; a guess if it is compressed.
    """

    documents: list[str]
    share: float
    total_bytes: float

    def count_words(self) -> Counter[str]:
        """Count the words of the sample."""
        return new_words.count_words(self.documents)


def read_sample(
    files: list[corpus.InputFile], rules: corpus.ReadingRules, megabytes: float
) -> TextSample:
    """Read documents until they are so many megabytes of UTF-8.

    Raises:
        ValueError: the text holds no document, or cannot be read.
    """
    documents: list[str] = []
    size = 0
    total = sum(file.text_bytes for file in files)
    for file in files:
        for document, _ in corpus.read_documents(file.path, rules=rules):
            documents.append(document)
            size += len(document.encode("utf-8", "replace")) + 2
            if size >= megabytes * 1e6:
                return TextSample(documents, min(1.0, size / total), total)
    if not documents:
        raise ValueError("--input_file holds no text: name files with documents.")
    return TextSample(documents, 1.0, float(size))


def make_records(
    sample: TextSample,
    bert: pretrained.PretrainedBert,
    max_seq_length: int,
    seed: int,
    folder: str,
) -> manifest_lib.Manifest:
    """Make the records of a sample as the printed command makes those of the text.

    Args:
        sample: from `read_sample`.
        bert: has a vocabulary.
        max_seq_length: tokens per sequence.
        seed: decides the masks.
        folder: to write to.

    Raises:
        ValueError: more than half of the tokens are [UNK], or no sequence comes out.
    """
    text = os.path.join(folder, "sample.txt")
    with open(text, "w", encoding="utf-8") as file:
        for document in sample.documents:
            file.write("\n".join(filter(str.strip, document.split("\n"))) + "\n\n")
    settings = settings_lib.Settings(
        max_seq_length=max_seq_length,
        max_predictions_per_seq=max(1, round(0.15 * max_seq_length)),
        do_lower_case=tokenizer_files.lower_case(bert),
        sentence_task="none",
        packing="chunks",
        masking="wwm",
        masking_time="dynamic",
        compression="GZIP",
        dupe_factor=1,
        random_seed=seed,
    )
    job = Job(
        corpus.find_files(text),
        bert.vocabulary,
        settings,
        outputs.plan_outputs(os.path.join(folder, "sample.tfrecord"), 1),
    )
    manifest = local.run(job, 1, overwrite=False)
    counts = manifest.counts
    unknown = counts["unknown_tokens"] / max(1, counts["tokens"])
    if unknown > _UNKNOWN_REFUSED:
        raise ValueError(
            f"{unknown:.0%} of the tokens of --input_file are [UNK] in the vocabulary "
            f"of {bert.source}: it is for other texts, so name another checkpoint, or "
            "train from random weights with a vocabulary of this text (build_vocab)."
        )
    return manifest


def temporary_folder() -> tempfile.TemporaryDirectory:
    """Return a folder that is removed at the end."""
    return tempfile.TemporaryDirectory(prefix="bert_cn_plan_")
