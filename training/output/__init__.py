"""What a run leaves behind: the exported version, its card, the report."""
