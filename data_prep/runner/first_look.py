"""What the first lines of a large text say, before hours are spent on it."""

from data_prep.records import report
from data_prep.runner.job import Job
from data_prep.text import corpus, documents, punctuation, segmentation

_NUM_LINES = 10_000
# The end of a smaller text, where the same is said of all of it, is near.
_LARGE_BYTES = 20_000_000


def warn_of_unknown(job: Job, large_bytes: int = _LARGE_BYTES) -> str:
    """Return a sentence if many of the first tokens are [UNK], else "".

    Args:
        job: its input is looked at.
        large_bytes: a smaller text is not.
    """
    if sum(file.text_bytes for file in job.files) < large_bytes:
        return ""
    settings = job.settings
    substitutes = None
    if settings.fix_punctuation:
        substitutes = punctuation.choose_substitutes(job.vocabulary)
    tokenizer = documents.DocumentTokenizer(
        job.vocabulary,
        settings.do_lower_case,
        segmentation.build_segmenter("none"),
        settings.max_text_tokens,
        substitutes=substitutes,
    )
    counts = tokenizer.tokenize(_read_first(job)).counts
    unknown = sorted(counts["unknown_characters"].items(), key=lambda x: (-x[1], x))
    warning = report.warn_of_unknown(settings, job.vocabulary, counts, unknown)
    return warning and f"in the first {_NUM_LINES:,} lines {warning}"


def _read_first(job: Job) -> list[str]:
    texts, lines = [], 0
    for file in job.files:
        for text, _ in corpus.read_documents(
            file.path, rules=job.settings.reading_rules
        ):
            texts.append(text)
            lines += 1 + text.count("\n")
            if lines >= _NUM_LINES:
                return texts
    return texts
