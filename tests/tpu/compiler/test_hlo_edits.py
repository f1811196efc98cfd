import pytest
import tensorflow as tf

from tests.tpu import hlo
from tpu.compiler import hlo_edits

pytestmark = pytest.mark.usefixtures("xla_for_cpus")


def test_copies_are_dropped_and_variables_stay_aliased():
    variable = tf.Variable(tf.zeros([3]))

    def step(x):
        variable.assign_add(x)
        return variable * 2.0

    module = hlo.lower(step, tf.ones([3]))
    assert hlo.list_instructions(module, "copy")
    aliases = len(module.input_output_alias.entries)
    hlo_edits.drop_copies(module)
    assert not hlo.list_instructions(module, "copy")
    assert len(module.input_output_alias.entries) == aliases == 1
    assert len(hlo.list_instructions(module, "parameter")) == 2
    hlo.check_order(module)
