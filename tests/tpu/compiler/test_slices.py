import importlib.util
import json
import subprocess
import sys

import pytest

from tpu.compiler import roofline, slices

_ASK_LIBTPU = """
import json, os, sys
os.environ.update(TPU_SKIP_MDS_QUERY="1", JAX_PLATFORMS="cpu",
                  ALLOW_MULTIPLE_LIBTPU_LOAD="1")
from jax.experimental import topologies
print(json.dumps([
    len(topologies.get_topology_desc(name, "tpu", **options).devices)
    for name, options in json.load(sys.stdin)
]))
"""


@pytest.mark.parametrize(
    ("name", "topology", "chips", "replicas", "hosts"),
    [
        # TensorFlow sees both cores of a v3 chip, and v4's two cores as one device.
        ("v2-8", "v2:2x2", 4, 8, 1),
        ("v3-8", "v3:2x2", 4, 8, 1),
        ("v3-2048", "v3:32x32", 1024, 2048, 256),
        ("v4-8", "v4:2x2x1", 4, 4, 1),
        ("v4-512", "v4:4x8x8", 256, 256, 64),
        ("v5litepod-8", "v5e:2x4", 8, 8, 1),
        ("v5p-8", "v5p:2x2x1", 4, 4, 1),
        ("v6e-256", "v6e:16x16", 256, 256, 64),
    ],
)
def test_parse_slice_gives_chips_replicas_hosts(name, topology, chips, replicas, hosts):
    where = slices.parse_slice(name)
    assert where.topology_name == topology
    assert (where.num_chips, where.num_replicas) == (chips, replicas)
    assert where.num_hosts == hosts


@pytest.mark.parametrize(
    ("name", "saying"),
    [
        ("", "--topology='' is no TPU slice: write its version and size, such as v3-8"),
        ("v9-8", "versions are v2, v3, v4, v5e, v5p, v6e"),
        ("v3-9", "there are v3 slices of 8, 32, 64, 128, 256, 512, 1024, 2048; take"),
        ("v4-4", "there are v4 slices of 8, 16, 32, 64, 128, 256, 512,"),
        ("v6e-512", "there are v6e slices of 1, 4, 8, 16, 32, 64, 128, 256; take"),
    ],
)
def test_parse_slice_refuses_what_is_not_there(name, saying):
    with pytest.raises(ValueError, match="--topology") as raised:
        slices.parse_slice(name)
    assert saying in str(raised.value)


def test_every_slice_is_one_that_libtpu_knows():
    if not all(map(importlib.util.find_spec, ("jax", "libtpu"))):
        pytest.skip("needs jax and libtpu: pip install 'bert_cn[preflight]'")
    everything = [
        slices.parse_slice(f"{chip.name}-{size}")
        for chip in slices.CHIPS.values()
        for size in slices.list_sizes(chip)
    ]
    done = subprocess.run(
        [sys.executable, "-c", _ASK_LIBTPU],
        input=json.dumps(
            [(s.topology_name, s.chip.topology_options) for s in everything]
        ),
        capture_output=True,
        text=True,
        check=True,
    )
    counts = json.loads(done.stdout)
    assert counts == [where.num_replicas for where in everything]


def test_bound_step_of_one_second_each():
    where = slices.parse_slice("v3-8")
    # A core is half a chip: 61.5 TFLOP/s and 450 GB/s. In 2x2 chips every chip has two
    # links of 82 GB/s, and sends 2 * 3/4 of the sum over them.
    bound = roofline.bound_step(where, 61.5e12, 900e9, 164e9)
    assert bound.compute == pytest.approx(1.0)
    assert bound.memory == pytest.approx(2.0)
    assert bound.all_reduce == pytest.approx(1.5)
    assert bound.step == pytest.approx(3.5)
    assert bound.all_reduce_share == pytest.approx(1.5 / 3.5)
    assert bound.limited_by == "memory traffic"


@pytest.mark.parametrize(
    ("name", "links"),
    [
        # Corners of a grid; one side as long as the pod; the whole pod.
        *(("v3-8", 2), ("v3-512", 2), ("v3-1024", 3), ("v3-2048", 4)),
        *(("v2-256", 3), ("v2-512", 4), ("v5e-128", 3), ("v6e-256", 4), ("v6e-1", 0)),
        # 2x2x1, 2x4x4, and a cube of 4x4x4, from which on all sides are rings.
        *(("v4-8", 2), ("v4-64", 3), ("v4-128", 6), ("v5p-12288", 6)),
    ],
)
def test_num_links_of_the_chip_that_has_the_fewest(name, links):
    assert slices.parse_slice(name).num_links == links


def test_bound_all_reduce_uses_all_links_of_a_torus_and_none_of_one_chip():
    pod = slices.parse_slice("v3-2048")
    assert roofline.bound_all_reduce(pod, 328e9) == pytest.approx(2 * 1023 / 1024)
    assert roofline.bound_all_reduce(slices.parse_slice("v6e-1"), 1e9) == 0.0
