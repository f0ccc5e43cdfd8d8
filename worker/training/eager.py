"""Optimizers without torch's compiler.

torch's optimizers import the compiler (`torch._dynamo` with sympy: 800 modules, a second of CPU, 100 MB) at their first
call, only to tell it what not to compile. Nothing is compiled here, so both ways in are closed:

- Methods of `Optimizer` are marked at their first call (`torch/_compile.py`: `__dynamo_disable`, the function to call
  in their place). The mark is left ahead, naming the method itself.
- `step` is wrapped in a function that breaks the compiler's graph (`_use_grad_for_differentiable`). What it wraps is
  called under `no_grad`, as it does.

The arithmetic is torch's own. A torch that does this otherwise imports more, and computes the same.
"""

import inspect
from typing import Any

import torch
from torch.optim import SGD, AdamW, Optimizer

_MARK = "__dynamo_disable"
_ADAMW_STEP = inspect.unwrap(AdamW.step)
_SGD_STEP = inspect.unwrap(SGD.step)


class EagerAdamW(AdamW):
    """`torch.optim.AdamW`."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:  # noqa: ANN401 # torch's signature
        """One step."""
        return _ADAMW_STEP(self, closure)


class EagerSGD(SGD):
    """`torch.optim.SGD`."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:  # noqa: ANN401 # torch's signature
        """One step."""
        return _SGD_STEP(self, closure)


def without_compiler() -> None:
    """Mark the methods of `Optimizer`. Again = no change."""
    for method in vars(Optimizer).values():
        code = getattr(method, "__code__", None)
        original = getattr(method, "__wrapped__", None)
        if code is not None and original is not None and code.co_filename.endswith("_compile.py"):
            setattr(original, _MARK, original)
