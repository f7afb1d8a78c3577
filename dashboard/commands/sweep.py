"""poolscope sweep: a scenario with keys varied, compared seed by seed."""

from __future__ import annotations

import math
from pathlib import Path

import click
import pandas as pd
import platformdirs

from dashboard.commands.options import STOPPED, chosen_data, print_json, shared, wants_json, workers_option


@click.command()
@click.argument("scenario")
@click.option(
    "--vary",
    multiple=True,
    required=True,
    metavar="KEY=A,B,…",
    help="A key and its values; several make a grid. The first combination is what others are compared with.",
)
@click.option(
    "--replications", type=click.IntRange(2, 10_000), help="Seeds per variant; the scenario's by default."
)
@click.option("--seed", type=click.IntRange(min=0), help="The first seed; the scenario's by default.")
@click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="Override a key in every variant."
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder for runs and frames; by default in the user's cache.",
)
@workers_option
@shared
def sweep(
    scenario: str,
    vary: tuple[str, ...],
    replications: int | None,
    seed: int | None,
    settings: tuple[str, ...],
    out: Path | None,
    workers: int | None,
    data: Path | None,
    as_json: bool,
) -> None:
    """Run SCENARIO in variants with the same seeds and print what each differs by, with intervals.

    What has run is kept: the same command begun again goes on from there.
    """
    from dashboard.commands.progress import Progress
    from sim.sweep import Sweep, grid

    path, explicit = chosen_data(data)
    variants = grid(scenario, vary, (*settings, *([f"pool.source={path}"] if explicit else [])))
    run = variants[0].scenario.run
    first, count = run.seed if seed is None else seed, replications or run.replications
    cache = Path(platformdirs.user_cache_dir("poolscope")) / "sweeps"
    asked = Sweep.prepare(variants, range(first, first + count), lambda mark: out or cache / mark)
    found, todo = len(asked.outcomes), len(asked.todo)
    if found:
        click.echo(f"{found} of {found + todo} runs were there already", err=True)
    complete = True
    if todo:
        with Progress(todo) as progress:
            try:
                for _ in asked.run(workers=workers, tell=progress):
                    pass
            except KeyboardInterrupt:
                complete = False
        if not complete:
            left = len(asked.todo)
            click.echo(
                f"stopped: {found + todo - left} of {found + todo} runs are kept in {asked.folder}; "
                "the same command goes on from there",
                err=True,
            )
    if asked.outcomes:
        asked.write()
        if wants_json(as_json):
            print_json(
                {
                    "means": asked.means().to_dict("records"),
                    "differences": asked.differences().to_dict("records"),
                    "complete": complete,
                    "folder": str(asked.folder),
                    "manifest": asked.manifest(),
                }
            )
        else:
            click.echo(_words(asked.means(), asked.differences(), [variant.name for variant in variants]))
            click.echo(f"\nframes and runs: {asked.folder}")
    if not complete:
        raise click.exceptions.Exit(STOPPED)


def _words(means: pd.DataFrame, differences: pd.DataFrame, names: list[str]) -> str:
    short = _short(names)
    width = max(20, *(len(name) for name in short.values()))
    columns = f"{'mean':>11}   {'95 % interval':<22} {'less the first':>15}   {'95 % interval':<22} runs"
    lines = [f"  {'':<{width}} {columns}"]
    for key, part in means.groupby(["by", "group", "measure"], sort=False):
        by, group, measure = (str(each) for each in key)
        if (by, measure) not in _SHOWN and (by, measure) != ("class", "mean_s"):
            continue
        lines += ["", f"{_SHOWN.get((by, measure), 'mean wait')}{'' if by == 'run' else f', {group}'}"]
        for name in names:
            row = part[part["variant"] == name]
            if row.empty:
                continue
            chosen = (
                (differences["variant"] == name)
                & (differences["by"] == by)
                & (differences["group"] == group)
                & (differences["measure"] == measure)
            )
            lines.append(f"  {short[name]:<{width}} {_line(row.iloc[0], differences[chosen], measure)}")
    return "\n".join(lines)


_SHOWN = {
    ("run", "goodput"): "goodput",
    ("run", "evictions"): "evictions",
    ("run", "never_started"): "jobs that never started",
    ("all", "mean_s"): "mean wait",
    ("all", "p90_s"): "90 % wait at most",
    ("gpu", "mean_s"): "mean wait",
    ("gpu", "p90_s"): "90 % wait at most",
}


def _short(names: list[str]) -> dict[str, str]:
    """Variants by the last parts of their keys, where those tell them apart."""
    brief = [", ".join(_last(name)) for name in names]
    return dict(zip(names, brief if len(set(brief)) == len(names) else names, strict=True))


def _last(name: str) -> list[str]:
    return [
        f"{key.rpartition('.')[2]}={value}"
        for key, _, value in (part.partition("=") for part in name.split(", "))
    ]


def _line(mean: pd.Series, difference: pd.DataFrame, measure: str) -> str:
    head = f"{_value(mean['mean'], measure):>11}   {_range(mean, measure):<22}"
    if difference.empty:
        return f"{head} {'':>15}   {'':<22} {mean['n']:>4}"
    row = difference.iloc[0]
    mark = " *" if row["low"] > 0 or row["high"] < 0 else ""
    return f"{head} {_value(row['mean'], measure, sign=True):>15}   {_range(row, measure) + mark:<22} {row['n']:>4}"


def _range(row: pd.Series, measure: str) -> str:
    if math.isnan(row["low"]):
        return ""
    return f"{_value(row['low'], measure)} … {_value(row['high'], measure)}"


def _value(value: float, measure: str, *, sign: bool = False) -> str:
    from sim.units import format_duration

    if math.isnan(value):
        return "–"
    plus = "+" if sign and value > 0 else ""
    if measure.endswith("_s"):
        return plus + format_duration(value)
    return f"{plus}{value:.3f}" if measure == "goodput" else f"{plus}{value:.1f}"
