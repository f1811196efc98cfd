import pytest

from data_prep.records.settings import Settings


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"max_seq_length": 4},
            "--max_seq_length=4 cannot work: it must be from 5 to 65,535",
        ),
        ({"max_predictions_per_seq": 0}, "--max_predictions_per_seq=0 cannot work"),
        ({"dupe_factor": 0}, "--dupe_factor=0 cannot work: it must be 1 or more"),
        ({"masked_lm_prob": 0.0}, "--masked_lm_prob=0.0 cannot work"),
        ({"short_seq_prob": 1.5}, "--short_seq_prob=1.5 cannot work"),
        ({"random_seed": -1}, "--random_seed=-1 cannot work: it must be 0 or more"),
        ({"masking": "span"}, "--masking=span is unknown: choose one of wwm, token, n"),
        ({"mask_unit": "char"}, "--mask_unit=char is unknown: choose one of token, w"),
        ({"sentence_task": "nli"}, "--sentence_task=nli is unknown: choose one of nsp"),
        ({"packing": "docs"}, "--packing=docs is unknown: choose one of pairs, full_"),
        ({"packing": "lines"}, "--packing=lines makes sequences of one part, and"),
        ({"traditional": "maybe"}, "--traditional=maybe is unknown: choose one of au"),
        (
            {"user_dict": "a.txt", "segmenter": "none"},
            "--segmenter=none has no dictionary that --user_dict could add to: use",
        ),
        ({"masking_time": "late"}, "--masking_time=late is unknown: choose one of st"),
        (
            {"masking_time": "dynamic", "dupe_factor": 5},
            "--dupe_factor=5 has no use with --masking_time=dynamic",
        ),
        (
            {"masking": "token", "mask_unit": "word"},
            "--mask_unit=word has no use with --masking=token",
        ),
        (
            {"traditional": "yes", "segmenter": "whitespace"},
            "--traditional=yes has no use with --segmenter=whitespace, which has no",
        ),
        ({"on_bad_utf8": "skip"}, "--on_bad_utf8=skip is unknown: choose one of fail"),
        ({"segmenter": "ltp"}, "--segmenter=ltp is unknown: choose one of rjieba"),
        ({"compression": "LZ4"}, "--compression=LZ4 is unknown: choose one of none, G"),
        (
            {"masking_time": "dynamic", "dupe_factor": 1, "feature_names": "v2"},
            "--feature_names=v2 has no use with --masking_time=dynamic",
        ),
        ({"pack_sequences": 0}, "--pack_sequences=0 cannot work: it must be 1 or more"),
        ({"pack_sequences": 2}, "--pack_sequences=2 needs --masking_time=dynamic"),
        (
            {"pack_sequences": 2, "packing": "chunks", "sentence_task": "none"},
            "--pack_sequences=2 has no use with --packing=chunks, which fills each",
        ),
        (
            {
                "pack_sequences": 2,
                "masking_time": "dynamic",
                "dupe_factor": 1,
                "truncation": "google",
            },
            "--pack_sequences=2 goes with --truncation=none alone, not with google",
        ),
        ({"feature_names": "v1"}, "--feature_names=v1 is unknown: choose one of goo"),
    ],
)
def test_bad_values_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        Settings(**changes).check()


def test_defaults_are_fine():
    Settings().check()


def test_missing_predictions_are_counted_as_the_budget_is():
    assert Settings().missing_predictions() is None
    assert Settings(max_predictions_per_seq=19).missing_predictions() is None
    assert Settings(max_predictions_per_seq=18).missing_predictions() == 19
    assert Settings(max_seq_length=512).missing_predictions() == 77
