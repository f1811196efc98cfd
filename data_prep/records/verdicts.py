"""What is well with the records and what is not, and what to do about it."""

import dataclasses
from typing import Any

from data_prep import web_page


@dataclasses.dataclass(frozen=True)
class Verdict:
    """A share of the data report, judged.

    Attributes:
        sign: `web_page.GOOD`, `DOUBTFUL` or `BAD`.
        what: the share's name.
        share: from 0 to 1.
        remedy: what makes it better; "" where it is good.
    """

    sign: str
    what: str
    share: float
    remedy: str


@dataclasses.dataclass(frozen=True)
class _Rule:
    """`good` and `doubtful` are the furthest that a share may be from `wanted`."""

    what: str
    wanted: float
    good: float
    doubtful: float
    remedy: str

    def judge(self, share: float) -> Verdict:
        distance = round(abs(share - self.wanted), 9)
        for sign, limit in (
            (web_page.GOOD, self.good),
            (web_page.DOUBTFUL, self.doubtful),
        ):
            if distance <= limit:
                remedy = "" if sign == web_page.GOOD else self.remedy
                return Verdict(sign, self.what, share, remedy)
        return Verdict(web_page.BAD, self.what, share, self.remedy)


_UNKNOWN = _Rule(
    *("tokens that are [UNK]", 0.0, 0.01, 0.05),
    "--do_lower_case, --fix_punctuation, or another vocabulary: see the characters",
)
_PADDING = _Rule(
    *("positions that are padding", 0.0, 0.1, 0.3),
    "--packing=chunks or full_sentences, or --pack_sequences with --packing=pairs",
)
_TRUNCATED = _Rule(
    *("tokens truncated away", 0.0, 0.005, 0.05), "--truncation=none, the default"
)
_DUPLICATES = _Rule(
    *("documents equal to an earlier one, and used", 0.0, 0.01, 0.1),
    "--deduplicate=exact, or near for similar ones",
)
_RANDOM_NEXT = _Rule(
    *("pairs with a random next sentence, of 50 %", 0.5, 0.02, 0.1),
    "blank lines between documents, fewer --num_shards, or --sentence_task=none",
)
_BUDGETS = _Rule(
    *("sequences whose masking budget is filled", 1.0, 0.03, 0.1),
    "raise --max_predictions_per_seq, or look at the words: long ones do not fit",
)


def list_verdicts(report: dict[str, Any]) -> list[Verdict]:
    """Judge the shares of a report, see `report.build_report`."""
    counts, shares = report["counts"], report["shares"]
    # Of each copy of the text, since truncated tokens are counted in all of them.
    in_records = counts["sequence_tokens"] + counts["truncated_tokens"]
    duplicates = counts["duplicate_documents"] - counts["duplicates_dropped"]
    judged = [
        (_UNKNOWN, shares["unknown_tokens"]),
        (_PADDING, shares["padding"]),
        (_TRUNCATED, counts["truncated_tokens"] / max(1, in_records)),
        (_DUPLICATES, duplicates / max(1, counts["documents"])),
    ]
    if report["sentence_task"] == "nsp":
        judged.append((_RANDOM_NEXT, shares["random_next"]))
    if report["masking_time"] != "dynamic":
        judged.append((_BUDGETS, shares["budgets_filled"]))
    return [rule.judge(share) for rule, share in judged]
