"""Lower the training step of run_pretraining to what a TPU is given.

Nothing is computed: the step is traced for one replica of a slice and written out as a
serialized HloModuleProto.
"""

import re

import tensorflow as tf

from bert_cn.pretraining import train_step
from data_prep.records import schema
from tpu.compiler import graph_checks, hlo_edits, slice_strategy


def make_features(
    batch_size: int, max_seq_length: int, max_predictions_per_seq: int
) -> dict[str, tf.Tensor]:
    """Return a batch as one replica is fed it, all zeros, int32 and float32."""
    widths = dict.fromkeys(schema.FEATURES, max_predictions_per_seq)
    widths |= dict.fromkeys(schema.SEQUENCE_FEATURES, max_seq_length)
    widths[schema.NEXT_SENTENCE_LABELS] = 1
    return {
        name: tf.zeros(
            (batch_size, width),
            tf.float32 if name in schema.FLOAT_FEATURES else tf.int32,
        )
        for name, width in widths.items()
    }


class TracedStep:
    """The training step of one replica of a slice, as a graph.

    Args:
        trainer: built under `strategy`.
        strategy: stands for the slice.
        features: of one replica.
        part_only: trace what is repeated for each part of an accumulated batch, and
            not the sum over the replicas and the update.
    """

    def __init__(
        self,
        trainer: train_step.Trainer,
        strategy: slice_strategy.SliceStrategy,
        features: dict[str, tf.Tensor],
        part_only: bool = False,
    ):
        function = trainer.compute_part if part_only else trainer._train_step

        @tf.function(jit_compile=True)
        def step(features):
            return strategy.trace_replica(function, features)

        self._function = step
        self._features = features
        self.graph = step.get_concrete_function(features).graph

    def lower(self) -> bytes:
        """Return a serialized HloModuleProto for the TPU compiler.

        The variables are its parameters; what is assigned to them are its outputs, in
        the same memory.

        Raises:
            ValueError: TensorFlow has no XLA form for an op; with the line of our code.
        """
        write = self._function.experimental_get_compiler_ir(self._features)
        try:
            serialized = write(stage="hlo_serialized")
        except (ValueError, tf.errors.OpError) as error:
            raise ValueError(self.describe_refusal(str(error))) from error
        module = hlo_edits.read_module(serialized)
        hlo_edits.convert_for_tpu(module)
        return module.SerializeToString()

    def describe_refusal(self, message: str) -> str:
        """Return one sentence on the ops that a compiler's message names."""
        names = dict.fromkeys(
            re.findall(r"\{\{node (\S+?)\}\}", message)
            + re.findall(r'op_name="([^"]+)"', message)
        )
        ops = [
            f"{op.name} [{op.type}] ({graph_checks.find_line(op) or 'no line of ours'})"
            for op in graph_checks.walk_operations(self.graph)
            if op.name in names
        ]
        first_line = message.strip().splitlines()[0]
        if not ops:
            return f"The step cannot be compiled for a TPU: {first_line}"
        return (
            f"The step cannot be compiled for a TPU because of {', '.join(ops)}: "
            f"{first_line}"
        )
