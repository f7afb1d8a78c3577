"""Job ads with further demands: what a user would add to the submit file, written into the ad."""

from __future__ import annotations

from sim.classads.ads import expression, parse_one, source_of

_COUNTED = "countMatches(MY.RequireGPUs, TARGET.AvailableGPUs) >= RequestGPUs"


def narrowed(text: str, clause: str) -> str:
    """A job ad whose Requirements hold a clause more."""
    ad = parse_one(text)
    before = source_of(ad, "Requirements") or "true"
    ad["Requirements"] = expression(f"({before}) && ({clause})")
    return str(ad)


def pinned(text: str, model: str) -> str:
    """A job ad that takes devices of one model only, as `require_gpus = DeviceName == "..."` would make it."""
    ad = parse_one(text)
    quoted = model.replace("\\", "\\\\").replace('"', '\\"')
    before = source_of(ad, "RequireGPUs")
    own = f'DeviceName == "{quoted}"'
    ad["RequireGPUs"] = expression(f"({before}) && {own}" if before else own)
    return narrowed(str(ad), _COUNTED)
