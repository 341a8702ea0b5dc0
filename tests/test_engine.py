"""What counts as out of memory, however a library says it, and what does not."""

import errno
import mmap

import numpy as np
import pytest
import torch

from rtlab.engines.engine import out_of_memory


class SafetensorError(Exception):
    """By the name of that of safetensors, which is made in Rust and raised by no call from here."""


def from_another(inner, *, hidden=False):
    """An error that came up while another one was handled."""
    error = ValueError("cannot be read")
    error.__context__, error.__suppress_context__ = inner, hidden
    return error


def caused_by(inner):
    error = RuntimeError("the capture was cut short")
    error.__cause__ = inner
    return error


def of_a_call(call):
    with pytest.raises((MemoryError, OSError, RuntimeError)) as caught:
        call()
    return caught.value


HUGE = 2**60
OUT_OF_MEMORY = {
    "Python": MemoryError(),
    "a list": lambda: [0] * HUGE,
    "numpy": lambda: np.zeros(HUGE // 8),
    "torch on a CPU": lambda: torch.empty(HUGE // 8),
    "mmap": lambda: mmap.mmap(-1, 2**46 * 1000),
    "fork": OSError(errno.ENOMEM, "Cannot allocate memory"),
    "torch on Windows": RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: you tried to allocate 8"),
    "torch's mmap of a file": RuntimeError("unable to mmap 8 bytes from file <m>: Cannot allocate memory (12)"),
    "C++": RuntimeError("std::bad_alloc"),
    "CUDA": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 MiB"),
    "CUDA, late": RuntimeError("CUDA error: out of memory"),
    "CUDA, by number": RuntimeError("cudaErrorMemoryAllocation: out of memory"),
    "HIP": RuntimeError("HIP out of memory. Tried to allocate"),
    "MPS": RuntimeError("MPS backend out of memory (MPS allocated: 17 GB)"),
    "cuBLAS": RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    "cuDNN": RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    "cuSOLVER": RuntimeError("cusolver error: CUSOLVER_STATUS_ALLOC_FAILED"),
    "safetensors": SafetensorError("Error while deserializing: I/O error: Cannot allocate memory (os error 12)"),
    "tokenizers": Exception("Cannot allocate memory (os error 12)"),
    "Rust": Exception("memory allocation of 1024 bytes failed"),
    "a worker process": RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed."),
    "behind another": from_another(MemoryError()),
    "behind another that hides it": from_another(MemoryError(), hidden=True),
    "a cause": caused_by(OSError(errno.ENOMEM, "Cannot allocate memory")),
    "two behind": caused_by(from_another(RuntimeError("std::bad_alloc"))),
    "in a group": ExceptionGroup("two", [ValueError("a"), MemoryError()]),
}


@pytest.mark.parametrize("error", OUT_OF_MEMORY.values(), ids=OUT_OF_MEMORY)
def test_memory_that_ran_out(error):
    assert out_of_memory(of_a_call(error) if callable(error) else error)


SOMETHING_ELSE = {
    "a label": ValueError("label must be one of a, b; got 'CUDA out of memory'"),
    "a key": KeyError("can't allocate memory"),
    "a name of a file": FileNotFoundError(2, "No such file or directory", "std::bad_alloc"),
    "a full disk": OSError(errno.ENOSPC, "No space left on device"),
    "memory of another kind": RuntimeError("the memory layout of the tensor is not contiguous"),
    "words alone": RuntimeError("running out of memory soon"),
    "an illegal access": RuntimeError("CUDA error: an illegal memory access was encountered"),
    "a worker's fault": RuntimeError("DataLoader worker (pid 7) is killed by signal: Segmentation fault."),
    "a group of others": ExceptionGroup("two", [ValueError("MemoryError"), TypeError("b")]),
    "an interrupt": KeyboardInterrupt(),
    "behind another": from_another(TypeError("std::bad_alloc")),
}


@pytest.mark.parametrize("error", SOMETHING_ELSE.values(), ids=SOMETHING_ELSE)
def test_what_only_speaks_of_memory(error):
    assert not out_of_memory(error)


@pytest.mark.parametrize("last", [ValueError("c"), MemoryError()], ids=repr)
def test_errors_that_name_each_other_have_an_end(last):
    first, second = ValueError("a"), ValueError("b")
    first.__cause__, second.__context__ = second, first
    first.__context__ = last
    assert out_of_memory(first) == isinstance(last, MemoryError)


def test_a_long_chain_has_one_too():
    error = MemoryError()
    for number in range(5000):
        outer = ValueError(str(number))
        outer.__context__ = error
        error = outer
    assert out_of_memory(error)
