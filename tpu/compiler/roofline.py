"""The best possible speed of a slice, from the compiler's figures of a program.

Williams et al., 2009, "Roofline" (https://doi.org/10.1145/1498765.1498785): a program
takes at least the time of its arithmetic and at least the time of its memory traffic.
"""

import dataclasses

from tpu.compiler import slices


@dataclasses.dataclass(frozen=True)
class StepBound:
    """Lower bounds of one training step, in seconds.

    Attributes:
        compute: the time of the arithmetic at the chip's bfloat16 peak.
        memory: the time of the memory traffic.
        all_reduce: the time of summing the gradients over the slice, without overlap.
    """

    compute: float
    memory: float
    all_reduce: float

    @property
    def step(self) -> float:
        """The whole step: the roofline, then the all-reduce.

        A compiler that overlaps the two can save at most the time of the all-reduce.
        """
        return max(self.compute, self.memory) + self.all_reduce

    @property
    def all_reduce_share(self) -> float:
        """The all-reduce's share of the step."""
        return self.all_reduce / self.step

    @property
    def limited_by(self) -> str:
        """The larger part of the roofline: "arithmetic" or "memory traffic"."""
        return "arithmetic" if self.compute > self.memory else "memory traffic"


def bound_step(
    where: slices.Slice, flops: float, bytes_accessed: float, reduced_bytes: float
) -> StepBound:
    """Return the bounds of a step.

    Args:
        where: the slice.
        flops: floating-point operations of one replica.
        bytes_accessed: memory traffic of one replica.
        reduced_bytes: bytes that each replica adds to the all-reduce.
    """
    chip = where.chip
    return StepBound(
        compute=flops / (chip.peak_flops / chip.devices),
        memory=bytes_accessed / (chip.memory_bandwidth / chip.devices),
        all_reduce=bound_all_reduce(where, reduced_bytes),
    )


def bound_all_reduce(where: slices.Slice, reduced_bytes: float) -> float:
    """Return the seconds to sum `reduced_bytes` over all chips of a slice by rings.

    In a ring of n chips each chip sends 2 (n - 1) / n of the sum (Patarasuk and Yuan,
    2009, https://doi.org/10.1016/j.jpdc.2008.09.002). It uses all its links at once,
    and the chip with the fewest links sets the time. Before that, the devices of one
    chip sum in its memory, which is not counted.
    """
    links = where.num_links
    if not links:
        return 0.0
    n = where.num_chips
    return 2 * (n - 1) / n * reduced_bytes / (links * where.chip.link_bandwidth)
