"""The learning rate at each step, as a pure function: a resumed training needs no scheduler state."""

import math

from worker.training.config import Settings

FIRST_DIVISOR = 25.0
LAST_DIVISOR = 1e4


def learning_rate(hyperparameters: Settings, step: int, total_steps: int) -> float:
    """Rate for the `step`-th of `total_steps` steps, counted from 1.

    one-cycle: cosine up from a 25th during the warm-up, cosine down to a ten-thousandth of that (Smith and
    Topin 2018, arXiv 1708.07120). cosine: linear warm-up, then cosine to zero (arXiv 1608.03983). constant:
    flat.
    """
    top = hyperparameters.learning_rate
    if hyperparameters.schedule == "constant":
        return top
    warm_steps = hyperparameters.warmup * total_steps
    if hyperparameters.schedule == "one-cycle":
        bottom, last = top / FIRST_DIVISOR, top / FIRST_DIVISOR / LAST_DIVISOR
        if step <= warm_steps:
            return _cosine(bottom, top, step / warm_steps)
        return _cosine(top, last, (step - warm_steps) / (total_steps - warm_steps))
    if step <= warm_steps:
        return top * step / warm_steps
    return _cosine(top, 0.0, (step - warm_steps) / (total_steps - warm_steps))


def _cosine(start: float, end: float, fraction: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * fraction)) / 2
