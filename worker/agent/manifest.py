"""Print the distinct blob digests of a dataset manifest, one a line: `python -m worker.agent.manifest FILE`.

A process of its own, so that the agent never loads pyarrow (which would double its memory).
"""

import sys

import pyarrow.parquet


def main() -> None:
    """Read the column and print it."""
    column = pyarrow.parquet.read_table(sys.argv[1], columns=["sha256"]).column("sha256")
    sys.stdout.write("\n".join(column.unique().to_pylist()))


if __name__ == "__main__":
    main()
