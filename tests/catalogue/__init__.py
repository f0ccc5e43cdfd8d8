"""Every error code with the requests that cause it: data that `test_causes` sends and `docs.generators.errors` prints.

A cause is plain data: calls with `{names}` in them, which the test fills with the ids of real rows, and, where a
request alone is not enough, the name of a stage (`stages.py`) that sets it.
"""
