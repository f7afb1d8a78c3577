"""poolscope strategies: the same jobs in containers by each path, installing their software, or pinned to a GPU type."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click
import pandas as pd

from dashboard.commands.options import print_json, shared, wants_json


@click.command()
@click.argument("scenario", default="sample")
@click.option(
    "--strategy",
    "names",
    multiple=True,
    metavar="NAME",
    help="cvmfs, osdf, sandbox, registry, default, install or pin; several times; all by default.",
)
@click.option("--pin", metavar="MODEL", help="The GPU type of pin; by default the most frequent one.")
@click.option("--seed", type=click.IntRange(min=0), help="Instead of the scenario's.")
@click.option(
    "--replications", type=click.IntRange(1, 1000), default=5, show_default=True, help="Seeds to run."
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Override a key, such as delivery.quota='4 GB'.",
)
@shared
def strategies(
    scenario: str,
    names: tuple[str, ...],
    pin: str | None,
    seed: int | None,
    replications: int,
    settings: tuple[str, ...],
    data: Path | None,
    as_json: bool,
) -> None:
    """Run the jobs of SCENARIO once per strategy and print waits, start-up, time to result, bytes and pulls.

    A strategy's jobs ask for machines that can serve it, as condor_submit or their users would write.
    """
    from dashboard.commands.options import chosen_data
    from sim.engine.run import Recording
    from sim.scenario import load
    from sim.strategies import compare
    from sim.strategies import strategies as chosen

    path, explicit = chosen_data(data)
    named = load(scenario, (*settings, *([f"pool.source={path}"] if explicit else [])))
    record = Recording.load(named.pool.source)
    first = named.run.seed if seed is None else seed
    wanted = chosen(record, names, pin)
    found = compare(named, record, wanted, replications=replications, first_seed=first, tell=_teller())
    if sys.stderr.isatty():
        click.echo("\r" + " " * 66 + "\r", nl=False, err=True)
    if wants_json(as_json):
        print_json(
            {
                "strategies": found.table.to_dict("records"),
                "by_gpu": found.by_gpu.to_dict("records"),
                "manifest": {
                    "scenario": named.model_dump(),
                    "recording": record.name,
                    "seed": first,
                    "replications": replications,
                },
            }
        )
    else:
        click.echo(_words(named.title or scenario, found.table, found.by_gpu, replications))


def _teller() -> Any:
    """Progress on a terminal, where the next one overwrites it; nothing elsewhere."""
    if not sys.stderr.isatty():
        return None
    return lambda share, text: click.echo(f"\r{share:4.0%} {text[:60]:<60}", nl=False, err=True)


def _words(title: str, table: pd.DataFrame, by_gpu: pd.DataFrame, count: int) -> str:
    from dashboard.figures.labels import FEW
    from sim.units import format_duration

    def quantile(seconds: float, n: float) -> str:
        """A quantile of the waits of `n` jobs; a star where they are few, as pages make it grey."""
        return format_duration(seconds) + ("*" if 0 < n < FEW and seconds == seconds else "")  # noqa: PLR0124  NaN

    def span(row: dict[Any, Any], name: str) -> str:
        return f"{format_duration(row[f'{name}_low_s'])} – {format_duration(row[f'{name}_high_s'])}"

    lines = [
        f"{title}: the same jobs by each strategy (GPU jobs, {count} runs, 5-95 % over runs)",
        "",
        f"{'':<38} {'done':>9} {'p50 wait':>9} {'p90':>9} {'start-up':>9} {'to result':>9} {'':>20} {'against the first':>20}",
    ]
    rows = table.to_dict("records")
    for row in rows:
        lines.append(
            f"{row['words'][:38]:<38} {row['done']:>4.0f}/{row['jobs']:<4.0f} {quantile(row['wait_p50_s'], row['jobs']):>9} "
            f"{quantile(row['wait_p90_s'], row['jobs']):>9} {format_duration(row['start_up_s']):>9} "
            f"{format_duration(row['total_mean_s']):>9} {span(row, 'total_mean'):>20} {span(row, 'gained'):>20}"
        )
    lines += [
        "",
        f"{'':<38} {'cold':>5} {'near GB':>8} {'far GB':>8} {'sent GB':>8} {'pulls':>6} {'failed':>6} {'held':>5}",
    ]
    for row in rows:
        cold = "–" if row["cold"] != row["cold"] else f"{row['cold']:.0%}"
        lines.append(
            f"{row['words'][:38]:<38} {cold:>5} {row['squid_mb'] / 1e3:>8.1f} {row['origin_mb'] / 1e3:>8.1f} "
            f"{row['access_point_mb'] / 1e3:>8.1f} {row['pulls']:>6.0f} {row['failures']:>6.0f} {row['held']:>5.0f}"
        )
    lines += ["", f"{'GPU and strategy':<38} {'starts':>6} {'p50 wait':>9} {'start-up':>9}"]
    for model, part in by_gpu[by_gpu["model"] != "no GPU"].groupby("model", sort=True):
        lines.append(str(model))
        lines += [
            f"  {row['strategy']:<36} {row['starts']:>6.0f} {quantile(row['wait_p50_s'], row['starts']):>9} "
            f"{format_duration(row['start_up_s']):>9}"
            for row in part.to_dict("records")
        ]
    if table["jobs"].lt(FEW).any() or by_gpu["starts"].lt(FEW).any():
        lines += ["", f"* of fewer than {FEW} jobs"]
    return "\n".join(lines)
