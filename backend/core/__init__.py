"""What every room stands on: settings, database, errors, ids, clock, storage, leases, wire structs."""
