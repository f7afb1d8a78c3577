"""The first answer of the server: a small index page in English, without a flash of the wrong scheme."""

from __future__ import annotations

import json
import re
from typing import Any

from dash import Dash

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="description" content="Watches and simulates an HTCondor GPU pool">
<title>{%title%}</title>
<script src="EARLY"></script>
<link rel="icon" type="image/svg+xml" href="ICON">
{%css%}
</head>
<body>
{%app_entry%}
<footer>{%config%}{%scripts%}{%renderer%}</footer>
</body>
</html>"""

_CONFIG = re.compile(r'(<script id="_dash-config"[^>]*>)(.*?)(</script>)', re.DOTALL)


class Dashboard(Dash):
    """Dash with an index page that carries what the browser needs and no more."""

    def interpolate_index(self, *args: Any, **kwargs: Any) -> str:
        """The index page; the browser's list of components is cut to those that it looks up."""
        kwargs["config"] = _CONFIG.sub(
            lambda found: found[1] + shorten(found[2]) + found[3], kwargs["config"]
        )
        parent: Any = super()
        return str(parent.interpolate_index(*args, **kwargs))


def shorten(config: str) -> str:
    r"""Dash's configuration without the components that have no further children, which are the default.

    Examples
    --------
    >>> shorten('{"children_props": {"html": {"A": [], "Tab": ["label"]}}, "url": "\\u002f"}')
    '{"children_props":{"html":{"Tab":["label"]}},"url":"\\u002f"}'
    """
    held = json.loads(config)
    held["children_props"] = {
        library: {name: props for name, props in components.items() if props}
        for library, components in held.get("children_props", {}).items()
    }
    text = json.dumps(held, separators=(",", ":"))
    # As Dash writes it: nothing in a value may end the script element.
    return (
        text.replace("/", "\\u002f").replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    )
