"""What README and docs show of the command line is what it prints."""

import pytest

from tests.examples import Example, find_examples


@pytest.mark.parametrize(
    "example", find_examples(), ids=lambda example: f"{example.page.name}-{example.command}"
)
@pytest.mark.slow
def test_shown_output_is_true(example: Example) -> None:
    """The command prints exactly what the page shows; `make examples` writes it anew."""
    assert example.run() == example.output
