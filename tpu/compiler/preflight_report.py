"""The preflight's result, as lines for a reader and as JSON for a program."""

import dataclasses

from tpu.compiler import roofline, slices, tpu_compiler

# Shares of the roofline's speed: the bound itself, and two that real steps reach.
EFFICIENCIES = (1.0, 0.5, 0.35)
_GB = 1e9


@dataclasses.dataclass(frozen=True)
class Report:
    """One step on one slice.

    Attributes:
        where: the slice.
        settings: the step in words.
        per_replica_batch: sequences of one replica and update.
        num_train_steps: updates of the whole run.
        program: the compiled program; None if it does not fit.
        refusal: the memory it needs and the memory there is, if it does not fit.
        largest_batch: the largest batch of a replica that fits; 0 if none does, None if
            it was not looked for.
        largest_program: the program compiled for that batch.
    """

    where: slices.Slice
    settings: str
    per_replica_batch: int
    num_train_steps: int
    program: tpu_compiler.Program | None = None
    refusal: tpu_compiler.OutOfMemory | None = None
    largest_batch: int | None = None
    largest_program: tpu_compiler.Program | None = None

    @property
    def bound(self) -> roofline.StepBound:
        """Lower bound of the step's time; only for a program that fits."""
        return roofline.bound_step(
            self.where,
            self.program.flops,
            self.program.bytes_accessed,
            self.program.reduced_bytes,
        )

    @property
    def largest(self) -> "Report":
        """The report of the largest batch; only if there is one."""
        return dataclasses.replace(
            self,
            per_replica_batch=self.largest_batch,
            program=self.largest_program,
            refusal=None,
            largest_batch=None,
            largest_program=None,
        )

    def hours(self, efficiency: float) -> float:
        """Hours for all updates at a share of the roofline's speed."""
        return self.num_train_steps * self.bound.step / efficiency / 3600

    def to_json(self) -> dict:
        """Return everything as plain numbers: bytes, seconds, operations."""
        where = self.where
        found = {
            "topology": where.name,
            "replicas": where.num_replicas,
            "usable_bytes": where.chip.usable_bytes,
            "settings": self.settings,
            "per_replica_batch": self.per_replica_batch,
            "fits": self.program is not None,
        }
        if self.largest_batch is not None:
            found["largest_per_replica_batch"] = self.largest_batch
        if self.largest_batch:
            found["largest"] = self.largest.to_json()
        if self.refusal:
            found["needed"] = self.refusal.used
            found["usable"] = self.refusal.capacity
        if self.program:
            bound = self.bound
            found |= {
                "memory_bytes": self.program.memory,
                "program": dataclasses.asdict(self.program),
                "bound_seconds": dataclasses.asdict(bound) | {"step": bound.step},
                "limited_by": bound.limited_by,
                "all_reduce_share": bound.all_reduce_share,
                "all_reduce_from": "compiled program",
                "hours": {str(part): self.hours(part) for part in EFFICIENCIES},
            }
        return found

    def to_lines(self) -> list[str]:
        """Return the report for a reader."""
        where = self.where
        shape = "x".join(map(str, where.shape))
        memory = where.chip.usable_bytes
        lines = [
            f"{where.name}: {where.num_replicas} replicas on {where.num_chips} chips "
            f"({shape}), {memory / _GB:.1f} GB each",
            f"{self.settings}; {self.per_replica_batch} sequences a replica, "
            f"{self.per_replica_batch * where.num_replicas} an update",
        ]
        if self.program:
            lines += self._memory_lines() + self._speed_lines()
        else:
            lines.append(
                f"DOES NOT FIT: the compiler needs {self.refusal.used} and may use "
                f"{self.refusal.capacity} (GiB). Lower --train_batch_size or "
                "--max_seq_length, raise --gradient_accumulation_steps, or take a "
                "larger slice."
            )
        if self.largest_batch is not None:
            lines.append(self._largest_line())
        return lines

    def _largest_line(self) -> str:
        if not self.largest_batch:
            return "Largest batch that fits: none"
        batch = self.largest_batch * self.where.num_replicas
        step = self.largest.bound.step
        return (
            f"Largest batch that fits: {self.largest_batch} a replica, {batch} an "
            f"update; {self.largest_program.memory / _GB:.2f} GB, at least "
            f"{step * 1e3:.1f} ms, at most {batch / step:,.0f} sequences/s"
        )

    def _memory_lines(self) -> list[str]:
        program = self.program
        memory = self.where.chip.usable_bytes
        lines = [f"FITS: {program.memory / _GB:.2f} of {memory / _GB:.1f} GB"]
        for name in ("arguments", "outputs", "aliases", "temporaries", "program"):
            lines.append(f"  {name:<12}{getattr(program, name) / _GB:>8.2f} GB")
        return lines

    def _speed_lines(self) -> list[str]:
        program, bound = self.program, self.bound
        batch = self.per_replica_batch * self.where.num_replicas
        hours = ", ".join(
            f"{self.hours(part):,.1f} at {part:.0%}" for part in EFFICIENCIES
        )
        return [
            f"{program.flops:.3g} FLOPs and {program.bytes_accessed / _GB:.1f} GB of "
            "memory traffic a step and replica: "
            f"{program.flops / program.bytes_accessed:.0f} FLOPs/byte",
            f"At least {bound.step * 1e3:.1f} ms a step: arithmetic "
            f"{bound.compute * 1e3:.1f}, memory traffic {bound.memory * 1e3:.1f} (the "
            f"larger counts), all-reduce {bound.all_reduce * 1e3:.1f} "
            f"({bound.all_reduce_share:.0%}; {program.reduced_bytes / _GB:.2f} GB a "
            "replica in the compiled program, over all links as a ring)",
            f"At most {batch / bound.step:,.0f} sequences/s; hours for "
            f"{self.num_train_steps:,} steps: {hours} of this bound",
            f"Compiled in {program.compile_seconds:.0f} s",
        ]
