"""Ears: ask daemons and files, hand frames to the store."""
