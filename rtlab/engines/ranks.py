"""The processes that share a run, one for each device, as torchrun starts them: which this is, and what they exchange.

Each does a part of every step's sentences, and gradients are summed over all of them, so that the run is the one that a
single process does, whatever their number. What they exchange are tensors and bytes, never pickles.

Shapes: S sentences of a batch, N of a split, C classes.
"""

import atexit
import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray
    from torch.distributed import Store

PATIENCE_S = 10  # that exchanges have to be over when the process ends
# What torchrun gives each process that it starts; where one is missing, something else set the others.
_GIVEN = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """Processes that share a run; by default one that has it to itself.

    Attributes:
        number: How many they are.
        rank: Which of them this one is, from 0. The first one writes.
        local: Which of those on its machine, from 0.
    """

    number: int = 1
    rank: int = 0
    local: int = 0

    @property
    def alone(self) -> bool:
        """Whether the run is this process's alone."""
        return self.number == 1

    @property
    def first(self) -> bool:
        """Whether this process writes what the run leaves."""
        return self.rank == 0

    def all(self) -> "Sequence[Ranks]":
        """All that share the run, as each knows itself but for its machine."""
        return [replace(self, rank=rank, local=0) for rank in range(self.number)]

    def part(self, rows_S: "NDArray[np.int64]") -> "NDArray[np.int64]":
        """This rank's sentences of a batch: one of so many, so that each rank has long and short ones."""
        return rows_S[self.rank :: self.number]

    def seed(self, seed: int) -> int:
        """The seed of this rank's dropout; the first one's is that of a run of one process."""
        import numpy as np

        if self.first:
            return seed
        return int(np.random.SeedSequence([seed, self.rank]).generate_state(1)[0])

    def take_gpu(self, device: "torch.device") -> None:
        """Make the GPU that is this rank's alone the current one, before anything is put on another.

        Args:
            device: Where the run computes; on a CPU nothing is done.

        Raises:
            ValueError: If there are fewer GPUs than ranks on this machine.
        """
        import torch

        if self.alone or device.type != "cuda":
            return
        if self.local >= (there := torch.cuda.device_count()):
            raise ValueError(
                f"device cuda takes a GPU for each rank; got {self.local + 1} ranks or more on a machine with {there}; "
                f"--nproc-per-node {there} would do, or device cpu"
            )
        torch.cuda.set_device(self.local)

    def join(self, device: "torch.device") -> None:
        """Meet the other ranks, until this process ends; waits for the last of them.

        Args:
            device: Where the run computes.
        """
        import torch

        if self.alone or torch.distributed.is_initialized():
            return
        backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
        torch.distributed.init_process_group(backend, store=store("meeting"), rank=self.rank, world_size=self.number)
        atexit.register(_end_group)

    def add(self, tensor: "torch.Tensor") -> None:
        """Put in the place of a tensor its sum over all ranks, in one exchange."""
        import torch

        if not self.alone:
            torch.distributed.all_reduce(tensor)

    def from_first(self, tensor: "torch.Tensor") -> None:
        """Put in the place of a tensor the first rank's, of the same shape."""
        import torch

        if not self.alone:
            torch.distributed.broadcast(tensor, 0)

    def as_first(self, flag: bool) -> bool:
        """What the first rank says."""
        import torch

        if self.alone:
            return flag
        said = torch.tensor([flag])
        self.from_first(said)
        return bool(said)

    def bytes_from_first(self, own: bytes) -> bytes:
        """What the first rank gives; what others give is not looked at."""
        import torch

        size = torch.tensor([len(own)])
        self.from_first(size)
        row = torch.zeros(int(size), dtype=torch.uint8)
        if self.first and own:
            row = torch.frombuffer(bytearray(own), dtype=torch.uint8)
        if len(row):
            self.from_first(row)
        return bytes(row.numpy())

    def interleaved(self, part_SC: "NDArray[np.float32]", many: int) -> "NDArray[np.float32]":
        """All of what ranks found for their parts of a split, (N, C).

        Args:
            part_SC: What this rank found, for the sentences that `part` gives of 0 … N - 1.
            many: N.
        """
        import torch

        longest = -(-many // self.number)
        row_SC = torch.zeros(longest, part_SC.shape[1])
        row_SC[: len(part_SC)] = torch.from_numpy(part_SC)
        found = [torch.empty_like(row_SC) for _ in range(self.number)]
        torch.distributed.all_gather(found, row_SC)
        # Each rank's n-th sentence stands beside the others' n-th, and what is beyond N is at the end.
        all_NC: NDArray[np.float32] = torch.stack(found, dim=1).flatten(0, 1)[:many].numpy()
        return all_NC

    def bytes_of_all(self, own: bytes) -> Sequence[bytes]:
        """What each rank gives, in their order."""
        import torch

        sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(self.number)]
        torch.distributed.all_gather(sizes, torch.tensor([len(own)]))
        row = torch.zeros(max(1, *map(int, sizes)), dtype=torch.uint8)
        row[: len(own)] = torch.frombuffer(bytearray(own), dtype=torch.uint8) if own else row[:0]
        found = [torch.empty_like(row) for _ in sizes]
        torch.distributed.all_gather(found, row)
        return [part[: int(size)].numpy().tobytes() for part, size in zip(found, sizes, strict=True)]


ALONE = Ranks()


def ranks_here() -> Ranks:
    """This process's place among those that torchrun started; `ALONE` in a process that it did not start."""
    if any(not os.environ.get(name) for name in _GIVEN):
        return ALONE
    number, rank, local = (int(os.environ[name]) for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK"))
    return ALONE if number == 1 else Ranks(number=number, rank=rank, local=local)


def _end_group() -> None:
    """End the threads of what ranks exchange: one that frees a tensor as the interpreter ends aborts the process.

    They wait for exchanges that are under way. Where a rank failed, these may never be over: then the process ends so.
    """
    import torch

    if torch.distributed.is_initialized():
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(PATIENCE_S)
        torch.distributed.destroy_process_group()
        signal.alarm(0)


def store(name: str) -> "Store":
    """Keys and values that all ranks see, those of one name apart; torchrun holds them, and outlives each rank."""
    from torch.distributed import PrefixStore

    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    return PrefixStore(f"rtlab/{attempt}/{name}", _connection())


@cache
def _connection() -> "Store":
    from torch.distributed import TCPStore

    held_elsewhere = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    return TCPStore(
        os.environ["MASTER_ADDR"],
        int(os.environ["MASTER_PORT"]),
        is_master=not held_elsewhere and os.environ["RANK"] == "0",
        wait_for_workers=False,
    )
