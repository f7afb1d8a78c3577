"""Anything posted straight to any callback: an answer or a sentence, never a fault."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from dash import Dash

from tests.dashboard.posting import call, first_output

HOSTILE: list[Any] = [
    None, True, -1, 1e300, 10**400, "x", "", "\x00", "\ud800", "<script>alert(1)</script>", "0123456789ab", "(" * 3000,
    [], ["a"], [[[]]], [None, None], ["2026-01-01", "x"], {}, {"a": {"b": 1}}, {"expression": 5}, {"type": "sc-lever", "key": "x"},
    {"expression": "true", "gpus": "x", "cpus": None, "memory_mib": []}, {"expression": ["a"], "gpus": 1, "cpus": 1, "memory_mib": 1},
]  # fmt: skip
LONG = "a" * 1_000_000


def _named(text: str) -> Any:
    """An id as it is posted: of a pattern, one that nobody has."""
    if not text.startswith("{"):
        return text
    return {key: "x" if value == ["ALL"] else value for key, value in json.loads(text).items()}


def bodies(app: Dash, first: str) -> Iterator[str]:
    """Calls of a callback: each value in every part alone, and in all of them at once."""
    asked = call(app, first)
    places = [(kind, number) for kind in ("inputs", "state") for number in range(len(asked[kind]))]
    outputs = asked["outputs"] if isinstance(asked["outputs"], list) else [asked["outputs"]]
    made: list[Any] = [
        [{**each, "id": _named(each["id"])}] if each["id"].startswith("{") else each for each in outputs
    ]
    for value in [*HOSTILE, LONG]:
        for chosen in [*places, *([None] if value is not LONG else [])]:
            body: dict[str, Any] = {
                "output": asked["output"],
                "outputs": made if isinstance(asked["outputs"], list) else made[0],
            }
            for kind in ("inputs", "state"):
                body[kind] = []
                for number, each in enumerate(asked[kind]):
                    part = {
                        "id": _named(each["id"]),
                        "property": each["property"],
                        "value": value if chosen in (None, (kind, number)) else None,
                    }
                    body[kind].append([part] if each["id"].startswith("{") else part)
            body["changedPropIds"] = [
                f"{each['id']}.{each['property']}"
                for each in asked["inputs"]
                if not each["id"].startswith("{")
            ][:1]
            yield json.dumps(body)


@pytest.mark.slow
def test_whatever_is_posted_to_a_callback_gets_an_answer_or_a_sentence(app: Dash) -> None:
    client = app.server.test_client()
    client.get("/")  # Dash adds the callback of its pages with the first request
    asked, wrong = 0, []
    for name, held in app.callback_map.items():
        if "callback" not in held:  # one of the browser's own
            continue
        for body in bodies(app, first_output(name)):
            answer = client.post("/_dash-update-component", data=body, content_type="application/json")
            asked += 1
            told = answer.get_data(as_text=True)
            if answer.status_code not in {200, 204, 400} or "A fault of ours" in told or "Traceback" in told:
                wrong.append((first_output(name), body[-300:], told[:200]))
    assert asked > 1000
    assert wrong == []
