"""TensorFlow's checkpoint files, `PREFIX.{index,data-*}`, of TF1 and of TF2.

TF1 saves variables by name. TF2 saves objects: a graph of attributes, which is itself
an entry of the checkpoint, leads to the keys of the variables.
"""

import functools
import math
import os
import re

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import trackable_object_graph_pb2

from bert_cn.conversion import folders, lazy_weights
from data_prep import command_line

_SUFFIX = re.compile(r"\.(index|meta|data-\d+-of-\d+)$")
_OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
# TensorFlow's reader raises IndexError for a file that is too short.
_READ_ERRORS = (tf.errors.OpError, ValueError, RuntimeError, IndexError)


def strip_suffix(path: str) -> str:
    """Return the prefix of a checkpoint that is named by one of its files."""
    return _SUFFIX.sub("", path)


def exists(prefix: str) -> bool:
    """Say whether there is a checkpoint of this prefix."""
    return folders.exists(f"{prefix}.index")


class CheckpointReader:
    """Reads one checkpoint.

    Args:
        prefix: local, or any that `tf.io.gfile` opens.

    Raises:
        ValueError: it cannot be read.
    """

    def __init__(self, prefix: str):
        self._prefix = prefix
        try:
            self._reader = tf.compat.v1.train.NewCheckpointReader(prefix)
        except _READ_ERRORS as error:
            raise self._damaged(command_line.first_line(error)) from error
        self.shapes = {
            name: tuple(shape)
            for name, shape in self._reader.get_variable_to_shape_map().items()
        }

    @property
    def is_object_based(self) -> bool:
        """Whether it was saved by TF2 as objects."""
        return _OBJECT_GRAPH in self.shapes

    def load(self, name: str) -> np.ndarray:
        """Read one tensor.

        Raises:
            ValueError: it cannot be read.
        """
        try:
            return self._reader.get_tensor(name)
        except _READ_ERRORS as error:
            raise self._damaged(command_line.first_line(error)) from error

    def lazy(self, name: str) -> lazy_weights.LazyWeight:
        """Return a weight that is read when it is asked for."""
        return lazy_weights.LazyWeight(
            self.shapes[name], functools.partial(self.load, name)
        )

    def read_object_graph(self) -> trackable_object_graph_pb2.TrackableObjectGraph:
        """Return the graph of an object-based checkpoint."""
        graph = trackable_object_graph_pb2.TrackableObjectGraph()
        graph.ParseFromString(self.load(_OBJECT_GRAPH))
        return graph

    def check_size(self) -> None:
        """Refuse data files that are cut off, before any weight is read.

        Raises:
            ValueError: they are shorter than the tensors in them.
        """
        types = self._reader.get_variable_to_dtype_map()
        needed = sum(
            math.prod(shape) * types[name].size
            for name, shape in self.shapes.items()
            if types[name] != tf.string
        )
        folder, name = os.path.split(self._prefix)
        there = sum(
            tf.io.gfile.stat(folders.join(folder, file)).length
            for file in folders.list_folder(folder or ".")
            if file.startswith(f"{name}.data-")
        )
        if there < needed:
            raise self._damaged(f"its data files hold {there:,} bytes of {needed:,}")

    def _damaged(self, reason: str) -> ValueError:
        return ValueError(
            f"Checkpoint {self._prefix!r} cannot be read ({reason}): copy its .index "
            "and .data files again."
        )


def share_memory(array: np.ndarray) -> tf.Tensor:
    """Return a tensor in the array's memory; tf.constant would hold a second copy."""
    array = np.ascontiguousarray(array)
    if not array.flags.writeable:
        array = array.copy()  # DLPack does not take read-only arrays.
    return tf.experimental.dlpack.from_dlpack(array.__dlpack__())
