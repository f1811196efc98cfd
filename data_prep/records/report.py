"""The data report beside the records: the content of NAME.report.json.

It consists of the counts of all buckets, added up, so it does not depend on workers,
interruptions or the runner, and it holds no time and no path. `report_page` makes
NAME.report.md and NAME.report.png of it.
"""

from collections.abc import Sequence
from typing import Any

from data_prep import storage
from data_prep.records import token_counts
from data_prep.records.settings import Settings
from data_prep.text import counts as counts_lib
from data_prep.text import punctuation, vocab

FORMAT_VERSION = 1
_UNKNOWN_CHARACTERS_SHOWN = 30
_UNKNOWN_CHARACTERS_NAMED = 5
_UNKNOWN_WARNING_SHARE = 0.01
# It should be half of the pairs.
_RANDOM_NEXT_WARNING_SHARE = 0.4


def build_report(
    settings: Settings,
    vocabulary: vocab.Vocabulary,
    counts: dict[str, int],
    shards: list[dict[str, Any]],
) -> dict[str, Any]:
    """Return the content of NAME.report.json.

    Args:
        settings: of the records.
        vocabulary: of the records.
        counts: sums over the shards, as in the manifest.
        shards: "file" and "statistics" of each shard.
    """
    shards = [_take_statistics(shard) for shard in shards]
    total: counts_lib.Counts = {}
    for shard in shards:
        counts_lib.add(total, shard["statistics"])
    unknown = sorted(
        total.get("unknown_characters", {}).items(), key=lambda item: (-item[1], item)
    )
    places = counts["sequences"] * settings.max_seq_length
    return {
        "format_version": FORMAT_VERSION,
        "counts": counts,
        "shares": {
            "unknown_tokens": _share(counts, "unknown_tokens", "tokens"),
            "padding": round(1 - counts["sequence_tokens"] / max(1, places), 6),
            "random_next": _share(counts, "random_next", "parts"),
            "swapped": _share(counts, "swapped", "parts"),
            "budgets_filled": _share(counts, "budgets_filled", "sequences"),
        },
        "sentence_task": settings.sentence_task,
        "masking": settings.masking,
        "masking_time": settings.masking_time,
        "warnings": list_warnings(settings, vocabulary, counts, unknown),
        "unknown_characters": [
            {"character": char, "code_point": f"U+{ord(char):04X}", "times": times}
            for char, times in unknown[:_UNKNOWN_CHARACTERS_SHOWN]
        ],
        "different_unknown_characters": len(unknown),
        "statistics": {n: v for n, v in total.items() if n != "unknown_characters"},
        "shards": shards,
    }


def list_warnings(
    settings: Settings,
    vocabulary: vocab.Vocabulary,
    counts: dict[str, int],
    unknown_characters: Sequence[tuple[str, int]] = (),
) -> list[str]:
    """Return the warnings about the data, one sentence each.

    Args:
        settings: of the records.
        vocabulary: of the records.
        counts: sums over the shards.
        unknown_characters: (character, how often), the most frequent first.
    """
    warnings = []
    if unknown := warn_of_unknown(settings, vocabulary, counts, unknown_characters):
        warnings.append(unknown)
    random_next = counts["random_next"] / max(1, counts["parts"])
    if settings.sentence_task == "nsp" and random_next < _RANDOM_NEXT_WARNING_SHARE:
        warnings.append(
            f"Only {100 * random_next:.2f} % of the pairs have a random next sentence, "
            "which comes from another document of the same bucket: put a blank line "
            "between documents, use fewer --num_shards, or --sentence_task=none."
        )
    needed = settings.missing_predictions()
    if needed:
        warnings.append(
            f"--max_predictions_per_seq={settings.max_predictions_per_seq} is less "
            f"than --masked_lm_prob={settings.masked_lm_prob} needs: {needed}."
        )
    return warnings


def warn_of_unknown(
    settings: Settings,
    vocabulary: vocab.Vocabulary,
    counts: counts_lib.Counts,
    unknown_characters: Sequence[tuple[str, int]],
) -> str:
    """Return a sentence if many tokens are [UNK], else ""; see `list_warnings`."""
    unknown = counts["unknown_tokens"] / max(1, counts["tokens"])
    if unknown <= _UNKNOWN_WARNING_SHARE:
        return ""
    advice = _advise_on_unknown(settings, vocabulary, unknown_characters)
    return f"{100 * unknown:.2f} % of the tokens are [UNK]: {advice}."


def _advise_on_unknown(
    settings: Settings,
    vocabulary: vocab.Vocabulary,
    characters: Sequence[tuple[str, int]],
) -> str:
    """Return what makes fewer tokens [UNK]."""
    top = list(characters[:_UNKNOWN_CHARACTERS_NAMED])
    named = ", ".join(f"{char} ({times:,})" for char, times in top)
    if not settings.do_lower_case and not _has_upper_case(vocabulary):
        return "the vocabulary has no upper-case letter, so use --do_lower_case"
    substitutes = punctuation.choose_substitutes(vocabulary)
    if not settings.fix_punctuation and any(char in substitutes for char, _ in top):
        return (
            f"the vocabulary lacks {named}, and --fix_punctuation replaces such quotes "
            "and dashes by those that it has"
        )
    lacks = f"the vocabulary lacks {named}" if named else "it does not suit the text"
    return f"{lacks}: take another one, or train one on this text by build_vocab"


def read_warnings(path: str) -> list[str]:
    """Return the warnings of a NAME.report.json.

    Raises:
        OSError: it is not there.
        ValueError: it is damaged.
    """
    with storage.open(path, "r") as file:
        return list(storage.parse_json(file.read())["warnings"])


def read_statistics(path: str) -> dict[str, counts_lib.Counts]:
    """Return file name -> statistics of each shard; {} if no report is readable."""
    if not storage.exists(path):
        return {}
    with storage.open(path, "r") as file:
        text = file.read()
    try:
        report = storage.parse_json(text)
        if report["format_version"] != FORMAT_VERSION:
            return {}
        return {shard["file"]: shard["statistics"] for shard in report["shards"]}
    except (ValueError, KeyError, TypeError):
        return {}


def _take_statistics(shard: dict[str, Any]) -> dict[str, Any]:
    """Return a shard's entry; the counts of its tokens have a file of their own."""
    statistics = {
        name: value
        for name, value in shard["statistics"].items()
        if name != token_counts.NAME
    }
    return {"file": shard["file"], "statistics": statistics}


def _has_upper_case(vocabulary: vocab.Vocabulary) -> bool:
    return any(c.isupper() for t in vocabulary.tokens for c in t if t[0] != "[")


def _share(counts: dict[str, int], part: str, whole: str) -> float:
    return round(counts[part] / max(1, counts[whole]), 6)
