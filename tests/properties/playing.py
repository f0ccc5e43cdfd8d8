"""How many games are played of a state machine."""

from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test


def play(machine: type[RuleBasedStateMachine], *, games: int, moves: int, always_the_same: bool = True) -> None:
    """So many games of at most so many moves. Raises what a move or an invariant raises."""
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=games,
            stateful_step_count=moves,
            deadline=None,
            derandomize=always_the_same,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
