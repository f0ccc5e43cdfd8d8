"""Optimizers without torch's compiler compute what torch's do, and do not load it."""

import subprocess
import sys

import pytest
import torch

from worker.training.eager import EagerAdamW, EagerSGD


@pytest.mark.unit
@pytest.mark.parametrize(
    ("ours", "theirs", "options"),
    [
        (EagerAdamW, torch.optim.AdamW, {"fused": True, "weight_decay": 0.1}),
        (EagerSGD, torch.optim.SGD, {"fused": True, "momentum": 0.9, "nesterov": True}),
    ],
)
def test_they_compute_the_same(
    ours: type[torch.optim.Optimizer], theirs: type[torch.optim.Optimizer], options: dict[str, object]
) -> None:
    found = []
    for kind in (ours, theirs):
        torch.manual_seed(0)
        layer = torch.nn.Linear(5, 3)
        optimizer = kind(layer.parameters(), lr=0.1, **options)  # type: ignore[arg-type,call-arg]  # any kind
        for _ in range(3):
            loss = layer(torch.randn(4, 5)).square().sum()
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
        found.append(layer.weight.detach().clone())
    assert torch.equal(*found)


@pytest.mark.integration
def test_a_standby_has_loaded_all_that_a_step_needs_and_no_compiler() -> None:
    program = (
        "import sys; from worker.training.preload import preload; preload(); before = set(sys.modules); preload(); "
        "print(sorted(set(sys.modules) - before), 'torch._dynamo' in sys.modules, 'kornia' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[] False True\n"
