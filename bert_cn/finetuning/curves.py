"""TensorBoard scalars of a fine-tuning run."""

from collections.abc import Mapping

import tensorflow as tf

from bert_cn.training import reporting

# The names of the folders, as in run_pretraining: for training, and for dev.
TRAIN, DEV = "train", "eval"


class Curves:
    """Writes scalars beside a run's model.

    Args:
        output_dir: the run's folder.
        replace: whether to remove the curves of an earlier run in it.
    """

    def __init__(self, output_dir: str, replace: bool = False):
        folders = {name: reporting.log_dir(output_dir, name) for name in (TRAIN, DEV)}
        for folder in folders.values():
            if replace and tf.io.gfile.exists(folder):
                tf.io.gfile.rmtree(folder)
        self._writers = {
            name: tf.summary.create_file_writer(folder)
            for name, folder in folders.items()
        }
        print(f"TensorBoard: tensorboard --logdir={reporting.log_dir(output_dir, '')}")

    def write(self, name: str, scalars: Mapping[str, float], step: int) -> None:
        """Write scalars to `TRAIN` or `DEV`.

        Args:
            name: which.
            scalars: name -> value.
            step: updates made so far.
        """
        reporting.write_scalars(self._writers[name], dict(scalars), step)
