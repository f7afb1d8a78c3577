"""Twenty users behind gunicorn with two processes, for a short while: nobody gets an error.

How long they wait is measured by `benchmarks/load_dashboard.py`, which runs for five minutes.
"""

from __future__ import annotations

import pytest

from benchmarks.load_dashboard import record, served, use, warm

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def test_twenty_users_get_no_error(chromium: str) -> None:
    with served() as port:
        pages = record(port)
        assert all(any(method == "POST" for method, _, _ in clicks) for clicks in pages)
        # Twenty that come while both processes still load the store would measure that, on a busy machine for minutes.
        warm(port, pages)
        times, failed = use(port, pages, users=20, seconds=10)
    assert failed == []
    assert len(times) > 20
