"""TPU slices by the names that Google Cloud gives them, and the figures of their chips.

Figures are per chip, from Google's pages docs.cloud.google.com/tpu/docs/v3, /v4, /v5e,
/v5p and /v6e (read in 2026). v2 no longer has a page: its figures, and the speed of
v2's and v3's links, are those of Jouppi et al., 2020, "A Domain-Specific Supercomputer
for Training Deep Neural Networks" (https://doi.org/10.1145/3360307).
"""

import dataclasses
import math
import re

GIB = 2**30


@dataclasses.dataclass(frozen=True)
class Chip:
    """One kind of TPU chip.

    Attributes:
        name: "v3", as in slice names and in libtpu's topologies.
        cores: TensorCores of a chip, which slice names count, if `named_by_cores`.
        devices: the devices of a chip that TensorFlow sees: v2 and v3 show their two
            cores; v4 and v5p join them into one ("megacore").
        memory_bytes: high-bandwidth memory, as published.
        usable_bytes: the part of one device's memory that libtpu 0.0.52 gives a
            program; its message names it if a program does not fit.
        peak_flops: bfloat16 floating-point operations a second.
        memory_bandwidth: bytes a second.
        link_bandwidth: bytes a second that one link sends; it receives as many at the
            same time. v4 to v6e: the published sum over all links and both directions,
            divided by the number of links and by two.
        dimensions: the dimensions of the grid that the links form.
        ring_length: the least number of chips along a dimension whose ends are linked,
            too. v2, v3: the whole pod; v4, v5p: all dimensions are multiples of it.
    """

    name: str
    cores: int
    devices: int
    memory_bytes: int
    usable_bytes: float
    peak_flops: float
    memory_bandwidth: float
    link_bandwidth: float
    dimensions: int
    ring_length: int
    named_by_cores: bool = True
    topology_options: dict = dataclasses.field(default_factory=dict)


_MEGACORE = {"chip_config_name": "megacore"}
CHIPS = {
    chip.name: chip
    for chip in (
        Chip("v2", 2, 2, 16 * GIB, 7.48 * GIB, 46e12, 700e9, 496e9 / 8, 2, 16),
        Chip("v3", 2, 2, 32 * GIB, 15.48 * GIB, 123e12, 900e9, 656e9 / 8, 2, 32),
        Chip(
            *("v4", 2, 1, 32 * GIB, 30.75 * GIB, 275e12, 1200e9),
            # 1.1 PB/s of all-reduce over 4096 chips of 6 links.
            *(1.1e15 / 4096 / 6, 3, 4),
            topology_options=_MEGACORE,
        ),
        Chip(
            *("v5e", 1, 1, 16 * GIB, 15.75 * GIB, 197e12, 819e9, 400e9 / 8, 2, 16),
            named_by_cores=False,
        ),
        Chip(
            *("v5p", 2, 1, 95 * GIB, 95.73 * GIB, 459e12, 2765e9, 1200e9 / 12, 3, 4),
            topology_options=_MEGACORE,
        ),
        Chip(
            *("v6e", 1, 1, 32 * GIB, 31.24 * GIB, 918e12, 1638e9, 800e9 / 8, 2, 16),
            named_by_cores=False,
        ),
    )
}
# Google Cloud's name for v5e slices.
_ALIASES = {"v5litepod": "v5e"}

# Chips of the largest slice that has a name here.
_LARGEST = {"v2": 256, "v3": 1024, "v4": 2048, "v5e": 256, "v5p": 6144, "v6e": 256}
# Dimensions of the torus -> number of chips -> chips along each dimension.
_SHAPES = {
    2: {
        1: (1, 1),
        4: (2, 2),
        8: (2, 4),
        16: (4, 4),
        32: (4, 8),
        64: (8, 8),
        128: (8, 16),
        256: (16, 16),
        512: (16, 32),
        1024: (32, 32),
    },
    3: {
        4: (2, 2, 1),
        8: (2, 2, 2),
        16: (2, 2, 4),
        32: (2, 4, 4),
        64: (4, 4, 4),
        128: (4, 4, 8),
        256: (4, 8, 8),
        512: (8, 8, 8),
        1024: (8, 8, 16),
        2048: (8, 16, 16),
        4096: (16, 16, 16),
        6144: (16, 16, 24),
    },
}
# v2 and v3 have no slices of these numbers of chips.
_NOT_SOLD = {("v2", 1), ("v3", 1), ("v2", 8), ("v3", 8)}


@dataclasses.dataclass(frozen=True)
class Slice:
    """Chips that are connected with one another.

    Attributes:
        name: such as "v3-32".
        chip: the kind of chip.
        shape: chips along each dimension.
    """

    name: str
    chip: Chip
    shape: tuple[int, ...]

    @property
    def num_chips(self) -> int:
        """The number of its chips."""
        return math.prod(self.shape)

    @property
    def num_replicas(self) -> int:
        """The number of devices that TensorFlow trains on."""
        return self.num_chips * self.chip.devices

    @property
    def num_links(self) -> int:
        """The links of the chip with the fewest: a corner, or any chip of a torus."""
        chip = self.chip
        if chip.dimensions == 3 and any(n % chip.ring_length for n in self.shape):
            return sum(n > 1 for n in self.shape)
        return sum((n > 1) + (n >= chip.ring_length) for n in self.shape)

    @property
    def topology_name(self) -> str:
        """Libtpu's name, such as "v3:4x4"."""
        return f"{self.chip.name}:{'x'.join(map(str, self.shape))}"

    @property
    def num_hosts(self) -> int:
        """The hosts that feed it: one for four chips, or for up to 8 of v5e or v6e."""
        if not self.chip.named_by_cores and self.num_chips <= 8:
            return 1
        return max(1, self.num_chips // 4)


def parse_slice(name: str) -> Slice:
    """Return the slice with a name such as v3-8, v4-512, v5litepod-16 or v6e-256.

    The number counts TensorCores for v2, v3, v4 and v5p and chips for v5e and v6e.

    Raises:
        ValueError: there is no such slice.
    """
    match = re.fullmatch(r"(\w+)-(\d+)", name)
    kind = _ALIASES.get(match[1], match[1]) if match else ""
    if kind not in CHIPS:
        raise ValueError(
            f"--topology={name!r} is no TPU slice: write its version and size, such as "
            f"v3-8; versions are {', '.join(CHIPS)}."
        )
    chip = CHIPS[kind]
    sizes = list_sizes(chip)
    if int(match[2]) not in sizes:
        raise ValueError(
            f"--topology={name!r}: there are {kind} slices of "
            f"{', '.join(map(str, sizes))}; take one of these sizes."
        )
    num_chips = int(match[2]) // (chip.cores if chip.named_by_cores else 1)
    return Slice(name, chip, _SHAPES[chip.dimensions][num_chips])


def list_sizes(chip: Chip) -> list[int]:
    """Return the sizes of a chip's slices, as their names count them."""
    factor = chip.cores if chip.named_by_cores else 1
    return [
        count * factor
        for count in _SHAPES[chip.dimensions]
        if count <= _LARGEST[chip.name] and (chip.name, count) not in _NOT_SOLD
    ]
