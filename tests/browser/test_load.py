"""Twenty users behind gunicorn with two processes, for a short while: nobody gets an error.

How long they wait is measured by `benchmarks/load_dashboard.py`, which runs for five minutes.
"""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser

from benchmarks.load_dashboard import record, served, use, warm

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def test_twenty_users_get_no_error(browser: Browser) -> None:
    with served() as port:
        pages = record(browser, port)
        assert all(any(method == "POST" for method, _, _ in clicks) for clicks in pages)
        # Twenty that come while both processes still load the store would measure that, on a busy machine for minutes.
        warm(port, pages)
        times, failed = use(port, pages, users=20, seconds=10)
    assert failed == []
    assert len(times) > 20
