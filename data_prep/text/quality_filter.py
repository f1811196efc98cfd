"""Rules that leave out documents of low quality, by a table of thresholds.

The rules and the names of the thresholds are those of FineWeb-2 (Penedo et al., 2025,
https://arxiv.org/abs/2506.20920), which took most of them from Gopher (Rae et al.,
2021, https://arxiv.org/abs/2112.11446, appendix A.1.1). `fineweb2_zh.json` has its
thresholds for cmn_Hani; `min_han_ratio` is ours. Its language identification is not
here.
"""

import dataclasses
import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from data_prep import storage
from data_prep.text import vocab

PUBLISHED = "fineweb2_zh"
_LINE_ENDS = tuple(".!?。！？；;…」』”’\"'")
_ELLIPSES = ("...", "…")


@dataclasses.dataclass(frozen=True)
class Thresholds:
    """A table of thresholds; a field that a file lacks has no effect.

    Attributes:
        min_doc_words: fewer words are refused, punctuation apart.
        max_doc_words: more words are refused.
        min_avg_word_length: of the words' characters.
        max_avg_word_length: the same.
        max_non_alpha_words_ratio: fewer words with a letter, of all words but
            punctuation, are refused; the name is FineWeb-2's.
        max_symbol_word_ratio: more # or ellipses a word are refused.
        max_bullet_lines_ratio: of lines that begin with a bullet.
        max_ellipsis_lines_ratio: of lines that end in an ellipsis.
        min_stop_words: fewer occurrences of `stopwords` are refused.
        stopwords: words.
        line_punct_thr: a share of lines that end in punctuation up to this is refused.
        new_line_ratio: more line breaks a word are refused.
        char_duplicates_ratio: from this share of characters in repeated lines on.
        dup_line_frac: more repeated lines are refused.
        top_n_grams: (words, share of characters of the most frequent run of them).
        dup_n_grams: (words, share of characters in repeated runs of them).
        min_han_ratio: a smaller share of Han among the characters is refused.
    """

    min_doc_words: int = 0
    max_doc_words: float = float("inf")
    min_avg_word_length: float = 0
    max_avg_word_length: float = float("inf")
    max_non_alpha_words_ratio: float = 0
    max_symbol_word_ratio: float = float("inf")
    max_bullet_lines_ratio: float = 1
    max_ellipsis_lines_ratio: float = 1
    min_stop_words: int = 0
    stopwords: frozenset[str] = frozenset()
    line_punct_thr: float = -1
    new_line_ratio: float = float("inf")
    char_duplicates_ratio: float = float("inf")
    dup_line_frac: float = 1
    top_n_grams: tuple[tuple[int, float], ...] = ()
    dup_n_grams: tuple[tuple[int, float], ...] = ()
    min_han_ratio: float = 0


def load_thresholds(name: str) -> tuple[Thresholds, str]:
    """Read a table of thresholds.

    Args:
        name: "fineweb2_zh", or the path of a JSON file with fields of `Thresholds`.

    Returns:
        (the thresholds, sha256 of the file in hexadecimal).

    Raises:
        ValueError: the file cannot be read, or holds something else.
    """
    path = name
    if name == PUBLISHED:
        path = os.path.join(os.path.dirname(__file__), f"{PUBLISHED}.json")
    try:
        data = storage.read_bytes(path)
        content = storage.parse_json(data)
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(
            f"--filter={name} cannot be read ({error}): name {PUBLISHED}, or a JSON "
            "file of thresholds."
        ) from error
    return _parse(content, name), hashlib.sha256(data).hexdigest()


def _parse(content: Any, name: str) -> Thresholds:
    fields = {field.name: field for field in dataclasses.fields(Thresholds)}
    if not isinstance(content, dict) or not content.keys() <= fields.keys():
        raise ValueError(
            f"--filter={name} must be a JSON object with some of the fields "
            f"{', '.join(fields)}."
        )
    values = {}
    for key, value in content.items():
        if key == "stopwords" and _are(value, str):
            values[key] = frozenset(value)
        elif key.endswith("n_grams") and isinstance(value, list):
            values[key] = tuple(_parse_runs(value, key, name))
        elif isinstance(value, int | float) and not isinstance(value, bool):
            values[key] = value
        else:
            raise ValueError(
                f"--filter={name} has {str(value)[:80]} for {key}: see {PUBLISHED}."
                "json for what a field holds."
            )
    return Thresholds(**values)


def _parse_runs(value: list, key: str, name: str) -> Iterable[tuple[int, float]]:
    for entry in value:
        if not (_are(entry, int | float) and len(entry) == 2 and entry[0] >= 1):
            raise ValueError(
                f"--filter={name} has {str(entry)[:80]} in {key}: each entry is a "
                "number of words and a share, such as [2, 0.256]."
            )
        yield int(entry[0]), float(entry[1])


def _are(values: Any, kind: type) -> bool:
    return isinstance(values, list) and all(isinstance(v, kind) for v in values)


def find_problem(text: str, words: Sequence[str], thresholds: Thresholds) -> str:
    """Return the name of the first threshold that a document fails, "" if none.

    Args:
        text: the document, lines joined by LF.
        words: the same text, word by word, without white space.
        thresholds: the table.
    """
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    if not lines or not words:
        return "min_doc_words" if thresholds.min_doc_words else ""
    for find in (_check_words, _check_lines, _check_repetition):
        problem = find(text, lines, words, thresholds)
        if problem:
            return problem
    return ""


def _check_words(text, lines, words, thresholds: Thresholds) -> str:
    spoken = [word for word in words if any(map(str.isalnum, word))]
    count = max(1, len(spoken))
    average = sum(map(len, spoken)) / count
    with_letter = sum(any(map(str.isalpha, word)) for word in words)
    ellipses = sum(map(text.count, _ELLIPSES))
    rules = (
        ("min_doc_words", len(spoken) < thresholds.min_doc_words),
        ("max_doc_words", len(spoken) > thresholds.max_doc_words),
        ("min_avg_word_length", average < thresholds.min_avg_word_length),
        ("max_avg_word_length", average > thresholds.max_avg_word_length),
        (
            "max_non_alpha_words_ratio",
            with_letter / count < thresholds.max_non_alpha_words_ratio,
        ),
        (
            "max_symbol_word_ratio",
            max(text.count("#"), ellipses) / count > thresholds.max_symbol_word_ratio,
        ),
        (
            "min_stop_words",
            sum(word in thresholds.stopwords for word in words)
            < thresholds.min_stop_words,
        ),
        (
            "min_han_ratio",
            thresholds.min_han_ratio > 0
            and sum(map(vocab.is_han, text)) / len(text) < thresholds.min_han_ratio,
        ),
    )
    return next((name for name, fails in rules if fails), "")


def _check_lines(text, lines, words, thresholds: Thresholds) -> str:
    def share(hits: Iterable[bool]) -> float:
        return sum(hits) / len(lines)

    repeated = [
        line for line, times in Counter(lines).items() for _ in range(times - 1)
    ]
    characters = max(1, len(text.replace("\n", "")))
    rules = (
        (
            "max_bullet_lines_ratio",
            share(line.startswith(("•", "●", "-")) for line in lines)
            > thresholds.max_bullet_lines_ratio,
        ),
        (
            "max_ellipsis_lines_ratio",
            share(line.endswith(_ELLIPSES) for line in lines)
            > thresholds.max_ellipsis_lines_ratio,
        ),
        (
            "line_punct_thr",
            share(line.endswith(_LINE_ENDS) for line in lines)
            <= thresholds.line_punct_thr,
        ),
        ("new_line_ratio", text.count("\n") / len(words) > thresholds.new_line_ratio),
        ("dup_line_frac", len(repeated) / len(lines) > thresholds.dup_line_frac),
        (
            "char_duplicates_ratio",
            sum(map(len, repeated)) / characters >= thresholds.char_duplicates_ratio,
        ),
    )
    return next((name for name, fails in rules if fails), "")


def _check_repetition(text, lines, words, thresholds: Thresholds) -> str:
    for size, most in thresholds.top_n_grams:
        runs = Counter(
            " ".join(words[place : place + size])
            for place in range(len(words) - size + 1)
        )
        if runs:
            run, times = runs.most_common(1)[0]
            if times > 1 and len(run) * times / len(text) > most:
                return "top_n_grams"
    for size, most in thresholds.dup_n_grams:
        if _count_repeated(words, size) / len(text) > most:
            return "dup_n_grams"
    return ""


def _count_repeated(words: Sequence[str], size: int) -> int:
    """Return the characters of runs of words that stood in the text before."""
    known: set[tuple[str, ...]] = set()
    characters = place = 0
    while place + size <= len(words):
        run = tuple(words[place : place + size])
        if run in known:
            characters += sum(map(len, run))
            place += size
        else:
            known.add(run)
            place += 1
    return characters
