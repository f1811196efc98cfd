import pytest

from data_prep.records import verdicts


def judge(task="nsp", masking_time="static", **changes):
    counts = {"sequence_tokens": 1000, "truncated_tokens": 0, "documents": 100}
    counts |= {"duplicate_documents": 0, "duplicates_dropped": 0}
    shares = {"unknown_tokens": 0.0, "padding": 0.0, "random_next": 0.5}
    shares |= {"budgets_filled": 1.0}
    for name, value in changes.items():
        (counts if name in counts else shares)[name] = value
    report = {"counts": counts, "shares": shares, "sentence_task": task}
    return verdicts.list_verdicts(report | {"masking_time": masking_time})


def test_good_records_need_no_remedy():
    found = judge()
    assert len(found) == 6
    assert {(v.sign, v.remedy) for v in found} == {("✓", "")}
    assert len(judge(task="none", masking_time="dynamic")) == 4


@pytest.mark.parametrize(
    ("changes", "place", "sign", "share", "remedy"),
    [
        ({"unknown_tokens": 0.01}, 0, "✓", 0.01, ""),
        ({"unknown_tokens": 0.03}, 0, "▲", 0.03, "--fix_punctuation"),
        ({"unknown_tokens": 0.3}, 0, "✗", 0.3, "another vocabulary"),
        ({"padding": 0.2}, 1, "▲", 0.2, "--packing=chunks"),
        ({"truncated_tokens": 250}, 2, "✗", 0.2, "--truncation=none"),
        ({"duplicate_documents": 5}, 3, "▲", 0.05, "--deduplicate=exact"),
        ({"duplicate_documents": 5, "duplicates_dropped": 5}, 3, "✓", 0.0, ""),
        ({"random_next": 0.45}, 4, "▲", 0.45, "blank lines"),
        ({"random_next": 0.56}, 4, "▲", 0.56, "blank lines"),
        ({"random_next": 0.1}, 4, "✗", 0.1, "blank lines"),
        ({"budgets_filled": 0.8}, 5, "✗", 0.8, "--max_predictions_per_seq"),
    ],
)
def test_each_share_is_judged(changes, place, sign, share, remedy):
    verdict = judge(**changes)[place]
    assert (verdict.sign, verdict.share) == (sign, pytest.approx(share))
    assert remedy in verdict.remedy
    assert bool(verdict.remedy) == (sign != "✓")
