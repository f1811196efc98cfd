import dataclasses

import pytest

from benchmarks import tpu_scaling
from tpu.compiler import slices, tpu_compiler


def _program(batch):
    """Costs of 100 plus the batch, times a scale of each."""
    size = 100 + batch
    return tpu_compiler.Program(
        arguments=0,
        outputs=0,
        aliases=0,
        temporaries=int(size * 1e8),
        program=0,
        flops=size * 61.5e10,
        bytes_accessed=1.0,
        reduced_bytes=0,
        compile_seconds=0.0,
    )


def _phase():
    costs = tpu_scaling.fit_costs({8: _program(8), 32: _program(32)}, 164e9)
    return tpu_scaling.Phase(1000, 256, 100.0, costs)


def test_fit_costs_draws_a_line_through_two_batches():
    costs = _phase().costs
    assert costs.flops == pytest.approx((61.5e12, 61.5e10))
    assert costs.memory == pytest.approx((1e10, 1e8))


def test_bound_phase_shares_the_recipes_batch():
    bound = tpu_scaling.bound_phase(slices.parse_slice("v3-8"), _phase())
    # 16.6 GB have room for 66 sequences beside 10 GB.
    assert (bound.per_core_batch, bound.micro_batches, bound.global_batch) == (
        32,
        1,
        256,
    )
    # 1.32 s at 61.5 TFLOP/s, and 1.5 s for the sum, as in test_slices.
    assert bound.step.step == pytest.approx(2.82)
    assert bound.sequences_per_second == pytest.approx(256 / 2.82)
    assert bound.hours == pytest.approx(1000 * 2.82 / 3600)


def test_bound_phase_gives_a_core_at_least_eight_sequences_and_fewer_updates():
    bound = tpu_scaling.bound_phase(slices.parse_slice("v3-128"), _phase())
    assert (bound.per_core_batch, bound.global_batch) == (8, 1024)
    assert bound.hours == pytest.approx(250 * bound.step.step / 3600)


@pytest.mark.parametrize(("gradients", "micro_batches"), [(1e9, 4), (2e9, 5)])
def test_bound_phase_splits_a_batch_that_does_not_fit(gradients, micro_batches):
    # Room for 56 or 46 sequences beside 10 GB and the sum of the gradients.
    costs = dataclasses.replace(_phase().costs, reduced_bytes=gradients)
    phase = tpu_scaling.Phase(10, 1600, 100.0, costs)
    bound = tpu_scaling.bound_phase(slices.parse_slice("v3-8"), phase)
    assert (bound.per_core_batch, bound.micro_batches) == (200, micro_batches)
