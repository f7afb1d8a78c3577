"""How a job's software reaches it: image paths, CVMFS caches, publication; pure models without a clock of their own.

Sizes are MB of 10^6 bytes (`_mb`), as the measurements behind the numbers are; times are seconds.
"""
