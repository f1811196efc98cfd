"""What a run costs on slices of many sizes, from two compiled steps of one core."""

import dataclasses
import math

from tpu.compiler import roofline, slices, tpu_compiler

# The smallest batch of a core that a TPU computes without padding.
_ROWS = 8


@dataclasses.dataclass(frozen=True)
class StepCosts:
    """Costs of a step that grow with the batch of a core: fixed + slope * batch.

    Attributes:
        flops: (fixed, slope) of the floating-point operations.
        bytes_accessed: (fixed, slope) of the memory traffic.
        memory: (fixed, slope) of the bytes that the step needs.
        reduced_bytes: that each core brings to the all-reduce, whatever the batch.
    """

    flops: tuple[float, float]
    bytes_accessed: tuple[float, float]
    memory: tuple[float, float]
    reduced_bytes: float


@dataclasses.dataclass(frozen=True)
class Phase:
    """Part of a recipe.

    Attributes:
        num_steps: updates, at `batch_size`.
        batch_size: sequences per update, over all cores.
        record_bytes: of one sequence on disk.
        costs: of the step.
    """

    num_steps: int
    batch_size: int
    record_bytes: float
    costs: StepCosts


@dataclasses.dataclass(frozen=True)
class PhaseBound:
    """Best case of a phase on a slice.

    Attributes:
        per_core_batch: sequences of a core and update, worked through in `parts`.
        parts: of the batch, so that one fits.
        global_batch: sequences per update; more than the recipe's where a core would
            have too few.
        step: bound of one update.
        sequences_per_second: over the slice.
        hours: of the phase, at the recipe's number of sequences.
    """

    per_core_batch: int
    parts: int
    global_batch: int
    step: roofline.StepBound
    sequences_per_second: float
    hours: float


def fit_costs(
    programs: dict[int, tpu_compiler.Program], reduced_bytes: float
) -> StepCosts:
    """Return the costs as straight lines through two compiled batches.

    Args:
        programs: of two batches of one core.
        reduced_bytes: see `StepCosts`.
    """
    (low, low_program), (high, high_program) = sorted(programs.items())

    def fit(name: str) -> tuple[float, float]:
        at_low, at_high = getattr(low_program, name), getattr(high_program, name)
        slope = (at_high - at_low) / (high - low)
        return at_low - slope * low, slope

    return StepCosts(fit("flops"), fit("bytes_accessed"), fit("memory"), reduced_bytes)


def bound_phase(where: slices.Slice, phase: Phase) -> PhaseBound:
    """Return what a phase takes at best on a slice.

    The recipe's batch is shared by all replicas. Where one would have fewer than 8
    sequences it gets 8: the updates are larger then, and fewer. Where they do not fit
    they are worked through in parts, whose costs but the optimizer's add up, with the
    sum of the gradients so far in memory.
    """
    costs = phase.costs
    per_core = max(math.ceil(phase.batch_size / where.num_replicas), _ROWS)

    def fits(parts: int) -> bool:
        memory = costs.memory[0] + costs.memory[1] * per_core / parts
        return memory + (parts > 1) * costs.reduced_bytes <= where.chip.usable_bytes

    parts = next(
        n
        for n in range(1, per_core + 1)
        if per_core % n == 0 and (fits(n) or n == per_core)
    )
    step = roofline.bound_step(
        where,
        costs.flops[0] + costs.flops[1] * per_core,
        costs.bytes_accessed[0] + costs.bytes_accessed[1] * per_core,
        costs.reduced_bytes,
    )
    global_batch = per_core * where.num_replicas
    rate = global_batch / step.step
    sequences = phase.num_steps * phase.batch_size
    return PhaseBound(
        per_core, parts, global_batch, step, rate, sequences / rate / 3600
    )
