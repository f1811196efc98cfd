"""Lower the training step of run_pretraining to the input of the TPU compiler.

Nothing is computed: the step is traced for one replica of a slice and written as a
serialized HloModuleProto.
"""

import re

import tensorflow as tf

from bert_cn.pretraining import train_step
from data_prep import command_line
from data_prep.records import schema
from tpu.compiler import graph_checks, hlo_edits, slice_strategy


def make_features(
    batch_size: int,
    max_seq_length: int,
    max_predictions_per_seq: int,
    pack_sequences: int = 1,
) -> dict[str, tf.Tensor]:
    """Return one replica's batch of zeros, int32 [batch_size, width] and float32."""
    widths = {
        name: width
        for name, (width,) in schema.feature_shapes(
            max_seq_length, max_predictions_per_seq, pack_sequences
        ).items()
    }
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
        trainer: the trainer, built under `strategy`.
        strategy: takes the place of the slice.
        features: one replica's batch.
        micro_batch_only: trace only the work of one micro-batch, without the sum over
            the replicas and the update.
    """

    def __init__(
        self,
        trainer: train_step.Trainer,
        strategy: slice_strategy.SliceStrategy,
        features: dict[str, tf.Tensor],
        micro_batch_only: bool = False,
    ):
        function = trainer.compute_micro_batch if micro_batch_only else trainer.update

        @tf.function(jit_compile=True)
        def step(features):
            return strategy.trace_replica(function, features)

        self._function = step
        self._features = features
        self.graph = step.get_concrete_function(features).graph

    def lower(self) -> bytes:
        """Return a serialized HloModuleProto for the TPU compiler.

        The variables are its parameters. The values assigned to them are its outputs,
        in the same memory.

        Raises:
            ValueError: TensorFlow cannot lower an op to XLA; the message has the line
                of our code.
        """
        write = self._function.experimental_get_compiler_ir(self._features)
        try:
            serialized = write(stage="hlo_serialized")
        except (ValueError, tf.errors.OpError) as error:
            raise ValueError(self.describe_refusal(error)) from error
        module = hlo_edits.read_module(serialized)
        hlo_edits.drop_copies(module)
        return module.SerializeToString()

    def describe_refusal(self, error: Exception) -> str:
        """Return one sentence about the ops that a compiler's error names."""
        message = str(error)
        names = dict.fromkeys(
            re.findall(r"\{\{node (\S+?)\}\}", message)
            + re.findall(r'op_name="([^"]+)"', message)
        )
        ops = [
            f"{op.name} [{op.type}] ({graph_checks.find_line(op) or 'no line of ours'})"
            for op in graph_checks.walk_operations(self.graph)
            if op.name in names
        ]
        because = f" because of {', '.join(ops)}" if ops else ""
        return (
            f"The step cannot be compiled for a TPU{because}: "
            f"{command_line.first_line(error)}"
        )
