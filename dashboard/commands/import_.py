"""poolscope import: files of HTCondor's tools, event logs and traces into the store."""

from __future__ import annotations

from pathlib import Path

import click

from dashboard.commands.options import data_to_write, print_json, shared, wants_json


@click.command("import")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE|FOLDER...")
@click.option(
    "--timezone", metavar="ZONE", help="Zone of times that say none, such as America/Chicago or -06:00."
)
@click.option("--pseudonyms", is_flag=True, help="Store owners, projects and hosts under pseudonyms.")
@shared
def import_(
    paths: tuple[Path, ...], timezone: str | None, pseudonyms: bool, data: Path | None, as_json: bool
) -> None:
    """Read ads (condor_status, condor_q, condor_history), event logs, SWF, openb and Philly-style CSV.

    Formats are told by content. Packed files (xz, gz, bz2) are unpacked. Importing twice changes nothing.
    """
    from collectors.eventlog import zone_named
    from collectors.imports import import_files
    from sim.privacy import Pseudonyms
    from sim.store import Store

    zone = zone_named(timezone) if timezone else None
    path = data_to_write(data)
    change = Pseudonyms.of(path).frame if pseudonyms else None
    done = import_files(
        paths, Store(path), zone=zone, tell=lambda text: click.echo(text, err=True), change=change
    )
    for note in done.notes:
        click.echo(note, err=True)
    files = [entry for entry in done.files if entry["path"]]
    if wants_json(as_json):
        print_json(
            {
                "taken": done.taken,
                "skipped": done.skipped,
                "reasons": dict(done.reasons),
                "snapshots": done.snapshots,
                "rows": done.rows,
                "files": files,
            }
        )
        return
    for entry in files:
        what = entry["format"] or entry["error"]
        click.echo(f"{entry['path']}: {what}; {entry['taken']} taken, {entry['skipped']} skipped")
    click.echo(f"{done.taken} record{'s' * (done.taken != 1)} taken, {done.skipped} skipped")
    for reason, count in done.reasons.most_common():
        click.echo(f"  {count}  {reason}")
