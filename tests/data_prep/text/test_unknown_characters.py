from data_prep.text import unknown_characters


def test_only_characters_the_vocabulary_lacks_in_their_place_count(make_vocabulary):
    vocabulary = make_vocabulary("a", "##b", "c")
    # 字 is missing, "c" is no continuation, "é" is "e" without its accent.
    texts = ["字", "字", "ab字", "ac", "É"]
    found = unknown_characters.count_unknown_characters(texts, vocabulary, True)
    assert found == {"字": 3, "c": 1, "É": 1}


def test_upper_case_counts_without_lower_casing(make_vocabulary):
    vocabulary = make_vocabulary("a", "##b")
    count = unknown_characters.count_unknown_characters
    assert count(["Ab"], vocabulary, False) == {"A": 1}
    assert count(["Ab"], vocabulary, True) == {}
