"""Settings of the process: their effects, their limits, and when users override them."""

import subprocess
import sys

import pytest
import torch

from rllib_agentmixer.core import cpu

GLIBC = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's options")

TOUCH = """
import resource, sys
import torch
from rllib_agentmixer.core.cpu import keep_freed_memory
assert keep_freed_memory() is (sys.argv[1] == "keep")

def work():
    tensors = [torch.ones(500_000) for _ in range(8)]
    return sum(float(x[0]) for x in tensors)

for _ in range(5):
    work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(50):
    work()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(mode, **variables):
    result = subprocess.run(
        [sys.executable, "-c", TOUCH, mode],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": ":".join(sys.path)} | variables,
    )
    return int(result.stdout)


@GLIBC
def test_freed_memory_is_used_again_without_touching_fresh_pages():
    # Standing back: the variable asks for what glibc does without this package.
    given_back = page_faults("leave", MALLOC_TRIM_THRESHOLD_="131072")
    retained = page_faults("keep")
    assert retained < 50 < given_back


@pytest.fixture
def unknown_exactness():
    cpu.onednn_is_exact.cache_clear()
    yield
    cpu.onednn_is_exact.cache_clear()


needs_switch = pytest.mark.skipif(
    cpu._matmul_backend() is None, reason="this PyTorch has no switch of oneDNN's products"
)


@needs_switch
def test_the_permission_is_given_only_within_and_taken_back_after_an_error(
    monkeypatch, unknown_exactness
):
    monkeypatch.setattr(cpu, "EXACT", 1.0)
    backend = torch.backends.mkldnn.matmul
    before = backend.fp32_precision
    seen = []

    def fail():
        with cpu.fast_matrix_products():
            seen.append(backend.fp32_precision)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert seen == ["bf16"]
    assert backend.fp32_precision == before


@needs_switch
def test_a_processor_that_rounds_is_left_with_its_own_products(monkeypatch, unknown_exactness):
    monkeypatch.setattr(cpu, "EXACT", 0.0)
    assert not cpu.onednn_is_exact()
    before = torch.backends.mkldnn.matmul.fp32_precision
    with cpu.fast_matrix_products():
        assert torch.backends.mkldnn.matmul.fp32_precision == before


def test_bfloat16_is_distinguished_from_float32():
    """Rounding that the test of exactness must detect, made with bfloat16 itself."""
    x = torch.rand(256, 64, generator=torch.Generator().manual_seed(0))
    exact = x.double() @ x.double().T
    rounded = (x.bfloat16().float() @ x.bfloat16().float().T).double()
    error = float((rounded - exact).abs().max() / exact.max())
    assert error > 10 * cpu.EXACT


def test_products_inside_are_those_outside_up_to_the_order_of_sums():
    generator = torch.Generator().manual_seed(0)
    left = torch.randn(64, 128, generator=generator)
    right = torch.randn(128, 32, generator=generator)
    outside = left @ right
    with cpu.fast_matrix_products():
        inside = left @ right
    torch.testing.assert_close(inside, outside, atol=2e-5, rtol=1e-5)


def test_versions_without_the_switch_are_left_alone(monkeypatch, unknown_exactness):
    monkeypatch.setattr(cpu, "_matmul_backend", lambda: None)
    assert not cpu.onednn_is_exact()
    with cpu.fast_matrix_products():
        pass


RELEASE = """
import torch
from rllib_agentmixer.core.cpu import give_freed_memory_back, keep_freed_memory

def resident():
    with open("/proc/self/status") as status:
        return next(int(x.split()[1]) for x in status if x.startswith("VmRSS")) // 1024

keep_freed_memory()
tensors = [torch.ones(250_000) for _ in range(200)]
full = resident()
keep = tensors.pop()  # the last one holds the top of the heap
del tensors
retained = resident()
give_freed_memory_back()
print(full - retained, retained - resident())
"""


@GLIBC
def test_kept_memory_goes_back_when_asked_for():
    result = subprocess.run(
        [sys.executable, "-c", RELEASE], capture_output=True, text=True, check=True
    )
    given_at_once, given_when_asked = map(int, result.stdout.split())
    assert given_at_once < 20  # MB, of 200
    assert given_when_asked > 150
