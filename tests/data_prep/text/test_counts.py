from data_prep.text import counts


def test_numbers_lists_and_dictionaries_are_added():
    total = {}
    counts.add(total, {"n": 1, "lengths": [0, 2], "chars": {"甲": 1}})
    counts.add(total, {"n": 2, "lengths": [1, 0, 5], "chars": {"甲": 2, "乙": 1}})
    assert total == {"n": 3, "lengths": [1, 2, 5], "chars": {"甲": 3, "乙": 1}}


def test_adding_leaves_what_is_added_alone():
    more = {"lengths": [1], "chars": {"甲": 1}}
    total = {}
    counts.add(total, more)
    counts.add(total, more)
    assert more == {"lengths": [1], "chars": {"甲": 1}}


def test_plain_numbers_are_split_off():
    assert counts.split({"n": 1, "lengths": [2]}) == ({"n": 1}, {"lengths": [2]})


def test_only_characters_the_vocabulary_lacks_in_their_place_count(make_vocabulary):
    vocabulary = make_vocabulary("a", "##b", "c")
    # 字 is missing, "c" is no continuation, "é" is "e" without its accent.
    texts = ["字", "字", "ab字", "ac", "É"]
    found = counts.count_unknown_characters(texts, vocabulary, True)
    assert found == {"字": 3, "c": 1, "É": 1}


def test_upper_case_counts_without_lower_casing(make_vocabulary):
    vocabulary = make_vocabulary("a", "##b")
    count = counts.count_unknown_characters
    assert count(["Ab"], vocabulary, False) == {"A": 1}
    assert count(["Ab"], vocabulary, True) == {}
