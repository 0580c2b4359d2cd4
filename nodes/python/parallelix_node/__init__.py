"""A ParalleliX node in Python: docs/protocol.md, run against the same vectors as the first one."""
