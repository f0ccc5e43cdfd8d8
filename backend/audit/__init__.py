"""Append-only record of who did what, sealed into a hash chain per organization.

Lifecycle of an event: a mutating service call records it in its own transaction (no act without its record, no
record without its act). Later a control task *seals* it: gives it the next sequence number of its organization,
the hash of the event before, and its own hash over both. A sealed event cannot be changed, dropped from the
middle or reordered without `verify_chain` naming the first place that no longer fits. The database roles hold the
first line: the API may only append and read.
"""
