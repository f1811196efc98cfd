import doctest
import importlib

import pytest

from tests.conftest import REPOSITORY

# In the order in which the sentence passes them.
MODULES = (
    "data_prep.text.tokenization",
    "data_prep.text.segmentation",
    "data_prep.text.documents",
    "data_prep.records.pairs",
    "data_prep.records.masking",
    "data_prep.records.build",
)


@pytest.mark.parametrize("name", MODULES)
def test_docstring_shows_the_golden_sentence_at_this_stage(name, monkeypatch):
    monkeypatch.chdir(REPOSITORY)  # the examples read tests/data_prep/golden/vocab.txt
    results = doctest.testmod(importlib.import_module(name))
    assert results.attempted > 0, "no example"
    assert results.failed == 0
