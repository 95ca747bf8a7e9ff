"""The kernel on several threads: the same results, and safe wherever threads are not."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gradclip_core.parts import native
from gradclip_core.parts.native.places import threads_of_torch

pytestmark = pytest.mark.skipif(not native.available(), reason="needs a C compiler")
NUMBERS = [1, 2, 3, 7]
# A process that uses the kernel on three threads and forks; the tensors are there before.
PROGRAM = """
import json, os, sys, torch
from torch.utils.data import DataLoader
from gradclip_core.parts import native

def tasks():
    return len(os.listdir("/proc/self/task")) if os.path.isdir("/proc/self/task") else 0

def norm(_=None):
    return native.batch(big).norms(2.0)[0]

torch.set_num_threads(1)
big = [torch.ones(2_000_000)]
found = {"one": norm(), "before": tasks()}
torch.set_num_threads(3)
found |= {"three": norm(), "with": tasks()}
found |= {"again": norm(), "later": tasks()}
read, write = os.pipe()
if os.fork() == 0:
    os.write(write, json.dumps([norm(), torch.get_num_threads()]).encode())
    os._exit(0)
os.wait()
found["child"] = json.loads(os.read(read, 1000))
loader = DataLoader([0, 1, 2], num_workers=2, collate_fn=norm, multiprocessing_context="fork")
found["workers"] = list(loader)
found["after"] = norm()
print(json.dumps(found))
"""


@pytest.fixture(autouse=True)
def threads_as_before() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def tensors(dtype: torch.dtype, *sizes: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(size, generator=generator).to(dtype) for size in sizes]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@given(
    sizes=st.lists(st.sampled_from([1, 65_535, 65_536, 131_073, 400_001, 900_000]), min_size=2),
    wide=st.booleans(),
)
@settings(max_examples=8, deadline=None, derandomize=True)
def test_results_do_not_depend_on_the_number_of_threads(
    dtype: torch.dtype, sizes: list[int], wide: bool
) -> None:
    given = [t if wide else t[: len(t) // 3 * 3].view(3, -1) for t in tensors(dtype, *sizes[:4], 3)]
    given = [tensor for tensor in given if tensor.numel()]
    rows = [1 if wide else 3] * len(given)
    found = []
    for threads in NUMBERS:
        torch.set_num_threads(threads)
        copies = [tensor.clone() for tensor in given]
        batch = native.batch(copies, rows)
        assert batch is not None
        norms = [batch.norms(order) for order in (1.0, 2.0, math.inf)]
        numbers = [batch.clamp(1.5), *norms]
        batch.scale(torch.linspace(0.1, 0.9, batch.num_rows, dtype=torch.float64))
        found.append((numbers, copies))
    for numbers, copies in found[1:]:
        for (total, each), (first, first_each) in zip(numbers, found[0][0], strict=True):
            assert total == first
            assert torch.equal(each, first_each)
        assert all(map(torch.equal, copies, found[0][1]))


def test_many_python_threads_may_clip_at_once() -> None:
    torch.set_num_threads(2)
    expected, found = {}, {}
    given = {i: tensors(torch.float32, 600_000 + i) for i in range(6)}

    def work(i: int) -> None:
        batch = native.batch(given[i])
        assert batch is not None
        found[i] = {batch.norms(2.0)[0] for _ in range(5)}

    for i, tensor in given.items():
        batch = native.batch(tensor)
        assert batch is not None
        expected[i] = {batch.norms(2.0)[0]}
    workers = [threading.Thread(target=work, args=(i,)) for i in given]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert found == expected


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
def test_threads_stay_are_pytorchs_number_and_none_is_waited_for_after_a_fork() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    norm = math.sqrt(2_000_000)
    assert [found[key] for key in ("one", "three", "again", "after")] == [norm] * 4
    assert found["child"] == [norm, 3]
    assert found["workers"] == [norm] * 3
    if found["before"] and threads_of_torch() is not None:
        assert found["with"] - found["before"] == 2
    assert found["later"] == found["with"]
