"""poolscope store: the store's upkeep."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

import click

from dashboard.commands.options import data_to_read, print_json, shared, wants_json
from dashboard.figures.labels import count
from sim.errors import InputError
from sim.units import parse_duration, parse_size


@click.group()
def store() -> None:
    """Look after the store: info, compact, prune, verify, export."""


@store.command()
@shared
def info(data: Path | None, as_json: bool) -> None:
    """Say what the store holds, and how fast it grows."""
    from sim.store import Store, upkeep

    told = upkeep.info(Store(data_to_read(data)))
    if wants_json(as_json):
        print_json(told)
        return
    click.echo(f"{told['path']}: {count(told['snapshots'], 'snapshot')}, {told['first']} to {told['last']}")
    click.echo(
        f"{told['bytes'] / 1e6:.1f} MB in {count(told['files'], 'file')}, {count(told['days'], 'day')}"
    )
    for name, frame in told["frames"].items():
        click.echo(
            f"  {name:<12} {frame['rows']:>12} rows {frame['bytes'] / 1e6:>10.2f} MB {frame['files']:>6} files"
        )
    if "bytes_per_slot_and_day" in told:
        click.echo(f"{told['bytes_per_slot_and_day']:g} bytes per slot and day")
    for problem in told["problems"]:
        click.echo(problem, err=True)


@store.command()
@click.option("--day", help="Only this day, such as 2026-11-24.")
@shared
def compact(day: str | None, data: Path | None, as_json: bool) -> None:
    """Merge each day's files into one per frame."""
    from sim.store import Store, upkeep

    held = Store(data_to_read(data))
    merged = {}
    for one in [_day(day)] if day else upkeep.days(held):
        merged[one] = upkeep.compact_day(held, one)
        click.echo(f"{one}: {count(merged[one], 'file')} merged", err=True)
    if wants_json(as_json):
        print_json({"merged": sum(merged.values()), "days": merged})
    else:
        click.echo(f"{count(sum(merged.values()), 'file')} merged")


@store.command()
@click.option("--keep", metavar="AGE", help="Delete days older than this, such as 90d.")
@click.option(
    "--max-size", metavar="SIZE", help="Delete the oldest days until the store is this small, such as 20 GB."
)
@shared
def prune(keep: str | None, max_size: str | None, data: Path | None, as_json: bool) -> None:
    """Delete whole days, oldest first; the newest day always stays."""
    from sim.store import Store, upkeep

    if not keep and not max_size:
        raise InputError("store prune: say what to keep with --keep 90d, --max-size 20GB, or both")
    deleted = upkeep.prune(
        Store(data_to_read(data)),
        keep_s=parse_duration(keep) if keep else None,
        keep_bytes=int(parse_size(max_size) * 1024 * 1024) if max_size else None,
    )
    if wants_json(as_json):
        print_json({"deleted": deleted})
    else:
        click.echo(f"{count(len(deleted), 'day')} deleted{': ' if deleted else ''}{', '.join(deleted)}")


@store.command()
@shared
def verify(data: Path | None, as_json: bool) -> None:
    """Read everything; exit 2 if something is damaged or missing."""
    from sim.store import Store, upkeep

    told = upkeep.verify(Store(data_to_read(data)))
    if wants_json(as_json):
        print_json(told)
    else:
        for problem in told["problems"]:
            click.echo(problem)
        click.echo(
            f"{'clean' if told['clean'] else 'damaged'}: {count(told['snapshots'], 'snapshot')}, {count(told['rows'], 'row')} in "
            f"{count(told['files'], 'file')}; {count(told['leftovers'], 'file')} of killed writers"
        )
    if not told["clean"]:
        sys.exit(2)


@store.command()
@click.option("--frame", "frames", multiple=True, help="Only this frame; may be given several times.")
@click.option("--format", "form", type=click.Choice(["parquet", "csv", "json"]), default="parquet")
@click.option("--since", metavar="TIME", help="From this time on (UTC), such as 2026-11-24.")
@click.option("--until", metavar="TIME", help="Up to this time (UTC).")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to write to.")
@click.option("--pseudonyms", is_flag=True, help="Owners, projects and hosts under pseudonyms.")
@shared
def export(
    frames: tuple[str, ...], form: str, since: str | None, until: str | None, out: Path, pseudonyms: bool,
    data: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Write frames to files, one each."""
    from sim.privacy import Pseudonyms
    from sim.store import Store, upkeep

    path = data_to_read(data)
    names = [name for name in upkeep.EXPORTED if not frames or name in frames]
    if wrong := set(frames) - set(names):
        raise InputError(f"--frame {min(wrong)}: no such frame; expected one of {', '.join(upkeep.EXPORTED)}")
    files = upkeep.export(
        Store(path), out, frames=names, form=form, since=_time(since), until=_time(until),
        change=Pseudonyms.of(path).frame if pseudonyms else None,
    )  # fmt: skip
    if wants_json(as_json):
        print_json({"files": [str(file) for file in files]})
    else:
        for file in files:
            click.echo(str(file))


def _day(text: str) -> str:
    moment = _time(text)
    assert moment is not None
    return f"{moment:%Y-%m-%d}"


def _time(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise InputError(f"{text!r} is no time; expected one such as 2026-11-24T12:00") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
