"""Programs that print ratios against peers or a limit, measured in the same run."""
