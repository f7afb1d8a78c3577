"""What a machine lacks is skipped, said last, and no excuse where POOLSCOPE_NO_SKIPS is set."""

from types import SimpleNamespace

import pytest

from tests.needs import need, summary


def test_need_skips_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason is a sentence for people."""
    monkeypatch.delenv("POOLSCOPE_NO_SKIPS", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no real pool: not root"):
        need("no real pool: not root")


def test_need_fails_where_nothing_may_be_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    """CI sets the variable."""
    monkeypatch.setenv("POOLSCOPE_NO_SKIPS", "1")
    with pytest.raises(pytest.fail.Exception, match="POOLSCOPE_NO_SKIPS=1, but no browser"):
        need("no browser: chromium is not installed")


def test_soft_need_never_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user's clone has no shared data."""
    monkeypatch.setenv("POOLSCOPE_NO_SKIPS", "1")
    with pytest.raises(pytest.skip.Exception, match="no shared data"):
        need("no shared data: /x does not exist", hard=False)


def test_summary_counts_by_reason_and_leaves_others_out() -> None:
    """Skips that tests decide on themselves are not the machine's."""
    reasons = ["no browser: none", "no real pool: not root", "no browser: none", "too slow today"]
    reports = [SimpleNamespace(longrepr=("file", 1, f"Skipped: {reason}")) for reason in reasons]
    assert summary(reports) == [
        "2 tests skipped: no browser: none",
        "1 test skipped: no real pool: not root",
    ]
