"""The documentation: pages, and `generators`, which make the pages that follow from code."""
