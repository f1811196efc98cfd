import types

import pytest

from bert_cn.pretraining import record_checks


@pytest.mark.parametrize(
    ("manifests", "flag", "casing"),
    [((), None, None), ((), False, False), ((True, True), None, True)],
)
def test_casing_is_that_of_all_records(manifests, flag, casing):
    found = tuple(types.SimpleNamespace(do_lower_case=lower) for lower in manifests)
    assert record_checks.find_casing(found, flag) is casing


@pytest.mark.parametrize(
    ("manifests", "flag"), [((True, False), None), ((True,), False)]
)
def test_mixed_casing_is_refused(manifests, flag):
    found = tuple(types.SimpleNamespace(do_lower_case=lower) for lower in manifests)
    with pytest.raises(ValueError, match="differ in their casing, and a model has one"):
        record_checks.find_casing(found, flag)
