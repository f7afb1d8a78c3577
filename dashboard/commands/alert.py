"""`poolscope alert`: one look at the last day; what came up or is over is told by mail and webhook."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click
import pandas as pd
import platformdirs

from dashboard.commands.mailing import mailing, server
from dashboard.commands.options import data_to_read, print_json, shared, wants_json

DAY = pd.Timedelta(days=1)


@click.command()
@click.option("--to", multiple=True, metavar="ADDRESS", help="Who is told by mail.")
@click.option(
    "--webhook", metavar="URL", envvar="POOLSCOPE_WEBHOOK", help="An address that gets the alerts as JSON."
)
@click.option(
    "--memory", type=click.Path(path_type=Path), envvar="POOLSCOPE_ALERTS", help="File of what was told."
)
@mailing
@shared
def alert(
    to: tuple[str, ...],
    webhook: str | None,
    memory: Path | None,
    data: Path | None,
    as_json: bool,
    **said: Any,
) -> None:
    """Look at the last 24 hours once; run it every few minutes from a timer. A finding is told after two looks."""
    from dashboard.commands.serve import settings_for
    from dashboard.data import Data, Window
    from dashboard.reports import alerts
    from dashboard.reports.facts import gather
    from dashboard.reports.findings import findings
    from dashboard.reports.mail import Letter, check_address, send
    from sim.store import Store

    mails = server(said)
    for address in (*to, said["sender"]):
        check_address(address)
    if to:
        mails.check()
    if webhook:
        alerts.check_webhook(webhook)
    store = data_to_read(data)
    held = Data(Store(store), settings_for(store))
    until = held.coverage().until if held.settings.sample else pd.Timestamp.now(tz="UTC")
    # The window's end is left out, and the last snapshot belongs to it.
    here = held.over(Window(until - DAY, until + pd.Timedelta(seconds=1)))
    found = findings(gather(here), None, recorded=held.settings.sample)

    def mail(told: Any) -> None:
        head = told[0].sentence if len(told) == 1 else f"{len(told)} findings"
        letter = Letter(
            sender=said["sender"], subject=f"[poolscope] {told[0].event}: {head}"[:180], text=alerts.words(told),
            thread=f"alert {time.time()}",
        )  # fmt: skip
        for address in to:
            send(mails, letter.to(address))

    ways: list[Any] = [
        *([mail] if to else []),
        *([lambda told: alerts.call(webhook, told)] if webhook else []),
    ]
    kept = alerts.Memory(memory or Path(platformdirs.user_state_dir("poolscope")) / "alerts.json")
    told = alerts.tell(kept, found, now=time.time(), deliver=ways)
    if wants_json(as_json):
        print_json(
            {"alerts": [vars_of(each) for each in told], "findings": [found_one.key for found_one in found]}
        )
        return
    click.echo(alerts.words(told) if told else f"nothing new ({len(found)} findings hold)", nl=not told)


def vars_of(told: Any) -> dict[str, str]:
    """An alert as plain data."""
    return {"key": told.key, "event": told.event, "severity": told.severity, "sentence": told.sentence}
