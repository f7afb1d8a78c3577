"""Scripts that measure; ratios within one run, never seconds."""
