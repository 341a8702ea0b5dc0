"""Training steps captured as CUDA graphs: replaying one costs a single launch.

A step of a small encoder is hundreds of kernels, and launching them takes longer than they do. A graph holds fixed
shapes and addresses, so there is one for each shape of a batch (`rtlab.batches.shape_of` makes them few), and what
changes from step to step, the sentences of the batch, lies in a buffer that each graph reads. All else happens inside:
tokens are gathered, the learning rate falls, the step is counted, its loss written down.
"""

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray

from rtlab.batches import Shape, round_up
from rtlab.engines.engine import does_not_fit, out_of_memory
from rtlab.engines.step import Step

WARM_UP = 3  # steps before a capture: torch's manual asks for a few, so that libraries have allocated what they keep
MASK_STEP = 8  # CUDA's kernels of attention read masks in parts of so many keys


class CapturedSteps:
    """Replays a step, captured once for each shape.

    Args:
        step: What is captured; it is left as it was found, as if no step had been done.
        plan: The batches that will come, with their shapes.

    Raises:
        MemoryError: If a step does not fit; it says which batch was tried.
    """

    def __init__(self, step: Step, plan: Iterable[tuple[NDArray[np.int64], Shape]]) -> None:
        self._step = step
        examples: dict[Shape, NDArray[np.int64]] = {}
        self._longest: dict[Shape, int] = {}  # tokens of the longest sentence of each shape: attention is padded to it
        for rows_S, shape in plan:
            examples.setdefault(shape, rows_S)
            longest = round_up(int(step.packer.lengths[rows_S].max()), MASK_STEP)
            self._longest[shape] = max(self._longest.get(shape, 0), longest)
        self._rows: dict[int, torch.Tensor] = {}
        self._graphs: dict[Shape, torch.cuda.CUDAGraph] = {}
        self._pool = torch.cuda.graph_pool_handle()
        self._side = torch.cuda.Stream()  # one for all: each stream keeps a workspace of cuBLAS's
        before = [parameter.detach().to("cpu", copy=True) for parameter in step.trained]
        step.model.train()
        for shape in sorted(examples, key=lambda shape: -shape.total):  # the largest first: the others fit its memory
            try:
                self._graphs[shape] = self._capture(shape, examples[shape])
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
                raise does_not_fit(
                    "a step to be captured", sentences=shape.sentences, tokens=shape.total, device=step.device.type
                ) from error
        self._restore(before)

    def __call__(self, rows_S: NDArray[np.int64], shape: Shape) -> None:
        """Do the step of this shape on these sentences.

        Raises:
            ValueError: If the shape was not captured, or the sentences do not have it.
        """
        lengths_S = self._step.packer.lengths[rows_S]
        needed, longest = int(lengths_S.sum()), int(lengths_S.max())
        fits = shape in self._graphs and len(rows_S) == shape.sentences and needed <= shape.total
        if not fits or longest > self._longest[shape]:
            captured = "; ".join(
                f"{there} with sentences of up to {self._longest[there]} tokens"
                for there in sorted(self._graphs, key=lambda there: there.total)
            )
            raise ValueError(
                f"a captured step takes batches of one of the shapes {captured}; "
                f"got {len(rows_S)} sentences of {needed} tokens, {longest} in the longest, as {shape}"
            )
        self._rows[shape.sentences].copy_(torch.from_numpy(rows_S).pin_memory(), non_blocking=True)
        self._graphs[shape].replay()

    def _capture(self, shape: Shape, example_S: NDArray[np.int64]) -> torch.cuda.CUDAGraph:
        example = torch.from_numpy(example_S).to(self._step.device)
        rows_S = self._rows.setdefault(shape.sentences, torch.empty_like(example)).copy_(example)
        self._side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._side):
            for _ in range(WARM_UP):
                self._step.done.zero_()
                self._once(rows_S, shape)
        torch.cuda.current_stream().wait_stream(self._side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool, stream=self._side):
            self._once(rows_S, shape)
        return graph

    def _once(self, rows_S: torch.Tensor, shape: Shape) -> None:
        layout = self._step.packer.layout_on_device(
            rows_S, slot=shape.slot, total=shape.total, longest=self._longest[shape]
        )
        self._step(layout, rows_S)

    def _restore(self, before: list[torch.Tensor]) -> None:
        """As if no step had been done: in place, as the graphs know these addresses."""
        step = self._step
        with torch.no_grad():
            for parameter, value in zip(step.trained, before, strict=True):
                parameter.copy_(value)
            for state in step.optimizer.state.values():
                for value in state.values():
                    value.zero_()
        for written in (step.done, step.losses_N, step.norms_N):
            written.zero_()
        torch.cuda.synchronize()
