"""Tests, mirroring the packages; `realpool` starts a real HTCondor, `browser` drives a real Chromium."""
