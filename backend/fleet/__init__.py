"""Instance types, instances, holds, assignments, placement, quotas, provisioners."""
