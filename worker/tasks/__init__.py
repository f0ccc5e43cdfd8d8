"""Control tasks, one thin file per domain: lease, act, record."""
