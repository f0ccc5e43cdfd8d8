"""`python -m tests.chaos.matrix`: see `runner`."""

import argparse
import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.chaos.matrix import runner
from tests.chaos.matrix.cases import FAULTS, KILL, STOP, Case, all_cases, covering, find, sample
from tests.fixtures.disks import can_mount

OUT = Path("build/chaos")


def chosen(options: argparse.Namespace) -> list[Case]:
    """The cases the command line asks for."""
    faults = FAULTS if can_mount() else (KILL, STOP)
    if len(faults) < len(FAULTS):
        runner.say(f"full disks and cut connections take root; without it only {' and '.join(faults)} are tried")
    if options.case:
        cases = [find(name) for name in options.case]
    elif options.full:
        cases = all_cases(faults)
    else:
        cases = sample(options.seed, faults) if options.sample else covering(options.seed, faults)
    before = runner.earlier(options.out)
    if options.again:
        cases = [case for case in cases if not before.get(case.name)]
    if options.failed:
        cases = [case for case in cases if before.get(case.name) is False]
    return cases


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, tell, and say by the exit status whether everything was green."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.matrix", description=runner.__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--full", action="store_true", help="every case there is")
    parser.add_argument("--sample", action="store_true", help="the small choice of ci-long")
    parser.add_argument("--case", action="append", metavar="NAME", help="this one (may be given again)")
    parser.add_argument("--homes", type=int, default=4, help="platforms side by side")
    parser.add_argument("--minutes", type=float, default=46.0, help="begin no case after this")
    parser.add_argument("--out", type=Path, default=OUT, help="results and the evidence of red cases")
    parser.add_argument("--again", action="store_true", help="go on: leave out what is green in results.jsonl")
    parser.add_argument("--failed", action="store_true", help="only what is red in results.jsonl")
    parser.add_argument("--list", action="store_true", help="name the cases and do nothing")
    options = parser.parse_args(arguments)
    cases = chosen(options)
    if options.list:
        runner.say("\n".join(case.name for case in cases))
        return 0
    homes = min(options.homes, max(1, len(cases)))
    runner.say(f"seed {options.seed}: {len(cases)} cases on {homes} homes")
    done = runner.Run(cases, options.out, options.minutes)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: done.stop())
    runner.run(done, homes=homes)
    runner.say(runner.table(done.outcomes))
    result = runner.summary(done, options.seed)
    runner.say(json.dumps(result))
    return 0 if result["met"] else 1


if __name__ == "__main__":
    sys.exit(main())
