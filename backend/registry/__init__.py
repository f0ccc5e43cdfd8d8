"""Models, versions, signatures, approval, lineage."""
