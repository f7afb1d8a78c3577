"""What a browser posts to a callback, and anybody else may post to it."""

from __future__ import annotations

from typing import Any

from dash import Dash

#: What the parts of an address are unless told.
ADDRESS = {"pathname": "/", "search": ""}


def first_output(name: str) -> str:
    """The first output of a callback, as id.property."""
    return name.lstrip(".").partition("...")[0]


def call(app: Dash, first: str, **values: Any) -> dict[str, Any]:
    """A call of the callback whose first output is `first`; values by the id's words with _ for -, None otherwise."""
    key = next(name for name in app.callback_map if first_output(name) == first)
    held = app.callback_map[key]
    outputs = [
        dict(zip(("id", "property"), name.rpartition(".")[::2], strict=True))
        for name in key.strip(".").split("...")
    ]

    def parts(kind: str) -> list[dict[str, Any]]:
        return [
            {**part, "value": values.get(part["id"].replace("-", "_"), ADDRESS.get(part["property"]))}
            for part in held[kind]
        ]

    return {
        "output": key,
        "outputs": outputs if key.startswith("..") else outputs[0],
        "inputs": parts("inputs"),
        "state": parts("state"),
        "changedPropIds": [],
    }
