"""How fast a slice can be at best, from what the compiler says of the program.

Williams et al., 2009, "Roofline" (https://doi.org/10.1145/1498765.1498785): a program
takes at least the time of its arithmetic and at least the time of its memory traffic.
"""

import dataclasses

from tpu.compiler import slices


@dataclasses.dataclass(frozen=True)
class StepBound:
    """Lower bounds of one training step, in seconds.

    Attributes:
        compute: of the arithmetic, at the chip's bfloat16 peak.
        memory: of the memory traffic.
        all_reduce: of summing the gradients over the slice, nothing overlapped.
    """

    compute: float
    memory: float
    all_reduce: float

    @property
    def step(self) -> float:
        """The whole step: the roofline, and the all-reduce behind it.

        A compiler that overlaps the two can be faster, by the all-reduce at most.
        """
        return max(self.compute, self.memory) + self.all_reduce

    @property
    def all_reduce_share(self) -> float:
        """Part of the step that is spent on the all-reduce."""
        return self.all_reduce / self.step

    @property
    def limited_by(self) -> str:
        """What the roofline is made of: "arithmetic" or "memory traffic"."""
        return "arithmetic" if self.compute > self.memory else "memory traffic"


def bound_step(
    where: slices.Slice, flops: float, bytes_accessed: float, reduced_bytes: float
) -> StepBound:
    """Return the bounds of a step.

    Args:
        where: the slice.
        flops: of one replica.
        bytes_accessed: by one replica.
        reduced_bytes: that each replica brings to the all-reduce.
    """
    chip = where.chip
    return StepBound(
        compute=flops / (chip.peak_flops / chip.devices),
        memory=bytes_accessed / (chip.memory_bandwidth / chip.devices),
        all_reduce=bound_all_reduce(where, reduced_bytes),
    )


def bound_all_reduce(where: slices.Slice, reduced_bytes: float) -> float:
    """Return the seconds to sum `reduced_bytes` over all chips of a slice by rings.

    In a ring of n chips each of them sends 2 (n - 1) / n of the sum (Patarasuk and
    Yuan, 2009, https://doi.org/10.1016/j.jpdc.2008.09.002), over all links at once of
    the chip that has the fewest. The devices of one chip sum over its memory first,
    which is not counted.
    """
    links = where.num_links
    if not links:
        return 0.0
    n = where.num_chips
    return 2 * (n - 1) / n * reduced_bytes / (links * where.chip.link_bandwidth)
