"""`poolscope report`: the pool's day, week or month in files and by mail."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import platformdirs

from dashboard.commands.mailing import mailing, server
from dashboard.commands.options import data_to_read, print_json, shared, wants_json


@click.command()
@click.option(
    "--period",
    "kind",
    default="week",
    show_default=True,
    envvar="POOLSCOPE_PERIOD",
    help="day, week or month.",
)
@click.option(
    "--of", metavar="DAY", help="A day of the period, such as 2026-11-23; else the last that has ended."
)
@click.option(
    "--format", "formats", default="html", show_default=True, envvar="POOLSCOPE_FORMAT",
    help="Some of html,pdf,md,csv.",
)  # fmt: skip
@click.option(
    "--out", type=click.Path(path_type=Path), envvar="POOLSCOPE_REPORTS", help="Folder of the reports."
)
@click.option("--to", multiple=True, metavar="ADDRESS", help="Who gets it by mail; once per period.")
@click.option("--operator", metavar="ADDRESS", envvar="POOLSCOPE_OPERATOR", help="Who is told when it fails.")
@mailing
@click.option("--link", metavar="URL", envvar="POOLSCOPE_LINK", help="Address of the live dashboard.")
@click.option("--no-email", is_flag=True, help="Make the files and send nothing.")
@click.option("--dry-run", is_flag=True, help="Print the mail's text; write and send nothing.")
@click.option("--again", is_flag=True, help="Make and send it anew even if that was done.")
@shared
def report(
    kind: str, of: str | None, formats: str, out: Path | None, data: Path | None, as_json: bool, **said: Any
) -> None:
    """Write the report of a period, the same once however often it is asked for, and mail it once to each ADDRESS."""
    from dashboard.commands.serve import settings_for
    from dashboard.data import Data
    from dashboard.reports import text
    from dashboard.reports.archive import Archive
    from dashboard.reports.contents import compose
    from dashboard.reports.make import Order, make
    from dashboard.reports.period import choose
    from sim.store import Store

    store = data_to_read(data)
    held = Data(Store(store), settings_for(store))
    until = held.coverage().until if held.settings.sample else None
    mails = not said["no_email"]
    order = Order(
        period=choose(kind, of, now=datetime.now(UTC), recorded_until=until),
        formats=[word.strip().lower() for word in formats.split(",") if word.strip()],
        to=said["to"] if mails else (),
        sender=said["sender"],
        server=server(said),
        operator=said["operator"] if mails else None,
        link=said["link"],
        again=said["again"],
    )
    if said["dry_run"]:
        order.check()
        made = compose(held, order.period)
        click.echo(f"Subject: [poolscope] {made.subject}\n\n{text.summary(made, order.link)}", nl=False)
        return
    archive = Archive(out or default_folder())
    status = make(held, archive, order)
    paths = [str(archive.place(order.period) / name) for name in status.files]
    if wants_json(as_json):
        since, until = order.period.window
        period = {
            "kind": order.period.kind,
            "name": order.period.name,
            "since": since.isoformat(),
            "until": until.isoformat(),
        }
        print_json(
            {
                "files": paths, "period": period, "headline": status.headline, "numbers": status.numbers,
                "sent": list(status.sent),
            }
        )  # fmt: skip
        return
    click.echo(f"{order.period.title}: {status.headline}")
    for line in (*paths, *(f"sent to {address}" for address in status.sent)):
        click.echo(line)


def default_folder() -> Path:
    """Where reports lie if nobody says otherwise."""
    return Path(platformdirs.user_state_dir("poolscope")) / "reports"
