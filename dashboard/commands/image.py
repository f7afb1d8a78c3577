"""poolscope image: an image's size, what a start of it costs, and where it is published."""

from __future__ import annotations

from pathlib import Path
from typing import IO, Any

import click

from dashboard.commands.options import chosen_data, print_json, shared, wants_json
from sim.errors import InputError, SourceError
from sim.units import format_duration

REPOSITORY = "http://cvmfs-s1fnal.opensciencegrid.org:8000/cvmfs/singularity.opensciencegrid.org"


@click.command()
@click.argument("name", required=False)
@click.option(
    "--repository",
    "repositories",
    multiple=True,
    metavar="URL",
    help="Address of the repository on a server; several, and this machine's mount /cvmfs/NAME, are compared for their lag. Default: the OSPool's images.",
)
@click.option("--proxy", metavar="URL", help="The site's proxy; else http_proxy of the environment counts.")
@click.option(
    "--registry",
    metavar="IMAGE",
    help="The image in its container registry, such as ghcr.io/me/tool:1.0: is what was pushed what is published?",
)
@click.option(
    "--sync-list",
    type=click.Path(path_type=Path),
    help="The list of images that are published (docker_images.txt): with --registry for one image, without NAME for all.",
)
@click.option(
    "--master-key",
    type=click.Path(path_type=Path),
    help="Public key of the repository's owner (PEM): is the whitelist signed with it?",
)
@click.option(
    "--stat",
    type=click.File("r", errors="replace"),
    help="What 'cvmfs_config stat REPOSITORY' printed on a node, or -: how fresh and how full is it there?",
)
@click.option(
    "--pushed",
    metavar="TIME",
    help="When it was pushed (UTC), such as '2026-11-24 10:00': from when do jobs see it?",
)
@shared
def image(
    name: str | None,
    repositories: tuple[str, ...],
    proxy: str | None,
    registry: str | None,
    sync_list: Path | None,
    master_key: Path | None,
    stat: IO[str] | None,
    pushed: str | None,
    data: Path | None,
    as_json: bool,
) -> None:
    """Tell what the image NAME[:TAG] weighs, what a start costs cold and warm, and how fresh its repository is.

    NAME is the path in the repository, such as opensciencegrid/tensorflow:latest, or as jobs name it, with /cvmfs/REPOSITORY/
    before it. Without it, --sync-list FILE compares every
    image of a list with its registry and the repository.
    """
    import pandas as pd
    import platformdirs

    from collectors.cvmfs import Repository, Shelf, compare
    from collectors.web import Web
    from sim.delivery.images import MissingImageError, checked_name

    pushed_at = _moment(pushed) if pushed else None
    if sync_list and name and not registry:
        raise InputError(
            "--sync-list needs --registry (the image that was pushed), or no NAME to compare the whole list"
        )
    if name is None and not sync_list:
        raise InputError(
            "which image? Give its path in the repository, such as opensciencegrid/tensorflow:latest"
        )
    urls = repositories or (REPOSITORY,)
    web = Web(proxy=proxy)
    shelf = Shelf(Path(platformdirs.user_cache_dir("poolscope")) / "cvmfs")
    source = Repository(urls[0], web, shelf)
    if name is None:
        assert sync_list is not None
        compared = _compared(source, _sync_list(sync_list), web)
        print_json(compared) if wants_json(as_json) else click.echo(_list_words(compared))
        return
    name = checked_name(_inside(name, source.name))
    node = _node(stat, Path("/cvmfs") / source.name)
    try:
        found = source.image(name)
    except MissingImageError:
        if not registry:
            raise
        found = None
    now = pd.Timestamp.now(tz="UTC")
    manifest = source.manifest()
    answer: dict[str, Any] = {
        "name": name,
        "repository": manifest.name,
        "published": manifest.published_at.isoformat() if found else None,
        "age_s": (now - manifest.published_at).total_seconds(),
        "revision": manifest.revision,
        "ttl_s": manifest.ttl_s,
        **(_weights(found) if found else {}),
        "signature": _signature(source, master_key, now),
        "tags": _tags(source),
        "servers": _servers(compare(urls, web=web, shelf=shelf, now=now)),
        "sites": _sites(manifest.name, data),
    }
    if node:
        answer["node"] = node | {"revisions_behind": manifest.revision - int(node["revision"])}
    if registry:
        link = found.path if found and found.path != f"/{name}" else None
        answer["registry"] = _registry(registry, web, sync_list, link)
    if pushed_at is not None:
        answer["visible"] = _visible(answer, pushed_at, now)
    if wants_json(as_json):
        print_json(answer)
    else:
        click.echo(_words(answer))


def _inside(name: str, repository: str) -> str:
    """An image's name in its repository; jobs name it with /cvmfs/REPOSITORY/ before it."""
    own = f"/cvmfs/{repository}/"
    if name.startswith("/cvmfs/") and not name.startswith(own):
        raise InputError(
            f"{name[:200]!r} doesn't lie in {repository}; --repository takes the address of the one that it lies in"
        )
    return name.removeprefix(own)


def _sync_list(path: Path) -> Any:
    from sim.delivery.synclist import SyncList

    try:
        return SyncList.parse(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--sync-list {path}: can't be read as text ({error})") from error


def _compared(source: Any, listed: Any, web: Any) -> dict[str, Any]:
    """A whole list beside registries and repository."""
    from collectors.published import compare_list

    def progress(share: float, name: str) -> None:
        click.echo(f"{share:4.0%} {name}", err=True)

    rows = compare_list(listed, source, web, progress)
    counts: dict[str, int] = {}
    for row in rows:
        counts[row.verdict or "not known"] = counts.get(row.verdict or "not known", 0) + 1
    manifest = source.manifest()
    return {
        "repository": manifest.name,
        "revision": manifest.revision,
        "counts": counts,
        "images": [row._asdict() for row in rows],
        "mistakes": [{"line": line, "message": message} for line, message in listed.mistakes],
    }


def _list_words(told: dict[str, Any]) -> str:
    counts = ", ".join(f"{count} {name}" for name, count in told["counts"].items())
    lines = [f"{told['repository']}, revision {told['revision']}: {counts or 'the list is empty'}", ""]
    lines += [f"{row['image']:<56} {row['verdict'] or row['error']}" for row in told["images"]]
    return "\n".join(
        [*lines, *(f"line {mistake['line']}: {mistake['message']}" for mistake in told["mistakes"])]
    )


def _signature(source: Any, master_key: Path | None, now: Any) -> dict[str, Any]:
    """What was verified of who signed the repository."""
    key = None
    if master_key is not None:
        try:
            key = master_key.read_bytes()
        except OSError as error:
            raise InputError(f"--master-key {master_key}: can't be read ({error.strerror})") from error
    try:
        found = source.trust(now, key)
    except SourceError as error:
        return {
            "signed": None,
            "whitelisted": None,
            "master_key": None,
            "whitelist_expires": None,
            "notes": [str(error)],
        }
    return {
        "signed": found.signed,
        "whitelisted": found.listed,
        "master_key": found.rooted,
        "whitelist_expires": found.expires_at.isoformat() if found.expires_at is not None else None,
        "notes": list(found.notes),
    }


def _tags(source: Any) -> list[dict[str, Any]]:
    """The repository's tag history, the newest first; empty where its server lacks it."""
    try:
        frame = source.tags()
    except SourceError as error:
        click.echo(f"tag history: {error}", err=True)
        return []
    return [
        {"name": name, "revision": int(revision), "published": published.isoformat()}
        for name, revision, published in frame.iloc[::-1].itertuples(index=False)
    ]


def _node(stat: IO[str] | None, mount: Path) -> dict[str, Any] | None:
    """What a node's client says: of a text of cvmfs_config stat, else of this machine's own mount, if it has one."""
    from collectors.cvmfs import parse_stat, read_attributes

    if stat is not None:
        return dict(parse_stat(stat.read(1 << 20)))
    told: dict[str, Any] = dict(read_attributes(mount))
    return told if str(told.get("revision", "")).isdigit() else None


def _moment(text: str) -> Any:
    import pandas as pd

    try:
        at = pd.Timestamp(text)
        return at.tz_localize("UTC") if at.tzinfo is None else at.tz_convert("UTC")
    except (ValueError, OverflowError) as error:
        raise InputError(f"--pushed {text[:60]!r}: expected a time such as '2026-11-24 10:00'") from error


def _visible(answer: dict[str, Any], pushed_at: Any, now: Any) -> dict[str, Any]:
    """From when jobs see an image that was pushed then, by the model of the publication pipeline.

    Its sizes are those that are known: of the registry's layers, of the repository's catalog; else those of a class.
    """
    import numpy as np
    import pandas as pd

    from sim.delivery.images import classify
    from sim.delivery.publication import Pipeline, delays

    kind = classify(answer["name"])
    wire_mb = (answer.get("registry", {}).get("bytes") or kind.image_wire_mb * 1e6) / 1e6
    unpacked_mb = answer.get("bytes", wire_mb * kind.image_mb / kind.image_wire_mb * 1e6) / 1e6
    drawn = delays(wire_mb, unpacked_mb, Pipeline(), np.random.default_rng(1))
    times = {
        f"p{share * 100:.0f}": (pushed_at + pd.Timedelta(seconds=round(delay))).isoformat()
        for share, delay in zip((0.1, 0.5, 0.9, 0.99), drawn.quantiles(), strict=True)
    }
    chance = drawn.visible((now - pushed_at).total_seconds())
    return {"pushed": pushed_at.isoformat(), **times, "chance_now": chance}


def _weights(found: Any) -> dict[str, Any]:
    """Size and start cost of an image that was found."""
    from sim.delivery.cost import image_cost

    cost = image_cost(found.name, found.counted.files, found.counted.bytes)
    return {
        "path": found.path,
        "files": found.counted.files,
        "bytes": found.counted.bytes,
        "catalog_bytes": found.catalog_bytes,
        "class": cost.kind.name,
        "touched_files": cost.touched.files,
        "touched_wire_mb": cost.touched.wire_mb,
        "cold_start_s": cost.cold_s,
        "warm_start_s": cost.warm_s,
        "starts": [
            {"where": each.where, "start_s": each.seconds, "upper_s": each.upper_s, "moved_mb": each.moved_mb}
            for each in cost.starts
        ],
    }


def _servers(frame: Any) -> list[dict[str, Any]]:
    rows = frame.astype(object).where(frame.notna(), None).to_dict("records")
    kept = ("server", "revision", "lag_revisions", "lag_s", "notes", "error")
    return [
        {key: row[key] for key in kept}
        | {"snapshot_at": row["snapshot_at"].isoformat() if row["snapshot_at"] else None}
        for row in rows
    ]


def _sites(repository: str, data: Path | None) -> list[dict[str, Any]]:
    """Which sites of the store's last snapshot have the repository; empty without a store of one's own."""
    from sim.inventory.repositories import repositories_by_site
    from sim.store import Store

    store = Store(chosen_data(data)[0])
    if store.is_empty():
        return []
    slots = store.read("slots", snapshot=store.latest())
    frame = repositories_by_site(slots, repository)
    rows = frame.astype(object).where(frame.notna(), None).to_dict("records")
    return [{str(key): value for key, value in row.items()} for row in rows]


def _registry(name: str, web: Any, sync_list: Path | None, link: str | None) -> dict[str, Any]:
    """What the registry has under this name, and what stands between it and the jobs."""
    from collectors.registry import Registry
    from sim.delivery.images import MissingImageError
    from sim.delivery.synclist import Reference, SyncList, verdict

    reference = Reference.parse(name)
    listed = _sync_list(sync_list) if sync_list else SyncList((reference,))
    try:
        found = Registry(reference.registry, web).image(reference)
    except MissingImageError:
        return {"image": str(reference), "verdict": verdict(reference, listed, layers=None, link=link)}
    return {
        "image": str(reference),
        "verdict": verdict(
            reference, listed, layers=found.layers, manifest_digest=found.manifest_digest, link=link
        ),
        "digest": found.digest,
        "platforms": list(found.platforms),
        "layers": len(found.layers),
        "bytes": found.bytes,
        "pulls_left": found.limit.left if found.limit else None,
    }


def _words(answer: dict[str, Any]) -> str:
    lines = [f"{answer['name']} in {answer['repository']}", ""]
    lines += _about(answer) if "files" in answer else ["not in the repository"]
    published = answer["published"] or ""
    if published:
        lines.append(
            f"revision   {answer['revision']}, published {published[:16].replace('T', ' ')} UTC, "
            f"{format_duration(answer['age_s'])} ago; clients look again after {format_duration(answer['ttl_s'])}"
        )
    lines.append(_signature_words(answer["signature"]))
    if answer["tags"]:
        last = answer["tags"][0]
        lines.append(
            f"tags       {len(answer['tags'])}, the last {last['name']} (revision {last['revision']}, "
            f"{last['published'][:16].replace('T', ' ')} UTC)"
        )
    if "node" in answer:
        lines.append(_node_words(answer["node"]))
    if "starts" in answer:
        lines += _starts(answer)
    if len(answer["servers"]) > 1 or answer["servers"][0]["notes"]:
        lines += ["", "servers"]
        lines += [f"  {_server(each)}" for each in answer["servers"]]
    if answer["sites"]:
        lines += ["", f"{'site':<24} {'slots with it':>14} {'of':>4}"]
        lines += [f"  {row['site']:<22} {row['available']:>14} {row['slots']:>4}" for row in answer["sites"]]
    if "visible" in answer:
        seen = answer["visible"]
        times = ", ".join(f"{share} {seen[share][11:16]}" for share in ("p10", "p50", "p90", "p99"))
        lines += [
            "",
            f"pushed {seen['pushed'][:16].replace('T', ' ')} UTC: jobs see it from {times} UTC; by now with {seen['chance_now']:.0%}",
        ]
    if "registry" in answer:
        told = answer["registry"]
        lines += ["", f"registry   {told['image']}: {told['verdict']}"]
        if "layers" in told:
            size = "of unknown size" if told["bytes"] is None else f"{told['bytes'] / 1e6:,.0f} MB compressed"
            lines.append(f"           {told['layers']} layers, {size}, {told['digest'][:19]}")
    return "\n".join(lines)


def _signature_words(told: dict[str, Any]) -> str:
    if told["signed"] is None:
        return f"signature  not verified ({'; '.join(told['notes'])})"
    if told["notes"]:
        return f"signature  {'; '.join(told['notes'])}: clients would refuse the repository"
    rooted = (
        "and the whitelist by the given key"
        if told["master_key"]
        else "the whitelist's own signature isn't verified without --master-key"
    )
    return (
        f"signature  valid, its certificate is whitelisted until {told['whitelist_expires'][:10]}; {rooted}"
    )


def _node_words(told: dict[str, Any]) -> str:
    words = [f"node       revision {int(told['revision'])}, {told['revisions_behind']} behind"]
    if "cache_used_kib" in told:
        words.append(
            f"cache {told['cache_used_kib'] / 1e6:.2f} of {told['cache_most_kib'] / 1e6:.2f} GB, "
            f"hits {told['hit_percent']:g} %, {told['io_errors']:.0f} I/O errors"
        )
    return ", ".join(words)


def _about(answer: dict[str, Any]) -> list[str]:
    lines = [
        f"files      {answer['files']:,}",
        f"unpacked   {answer['bytes'] / 1e6:,.0f} MB",
        f"catalog    {answer['catalog_bytes'] / 1e6:.2f} MB on the wire",
    ]
    return lines + ([f"lies at    {answer['path']}"] if answer["path"] != "/" + answer["name"] else [])


def _starts(answer: dict[str, Any]) -> list[str]:
    touched = (
        f"a start touches about {answer['touched_files']:,.0f} files, {answer['touched_wire_mb']:.0f} MB on the wire "
        f"(as an image of the class {answer['class']})"
    )
    lines = ["", touched, "", f"{'start':<30} {'seconds':>8} {'at most':>8} {'MB moved':>9}"]
    return lines + [
        f"  {each['where']:<28} {each['start_s']:>8.1f} {each['upper_s']:>8.1f} {each['moved_mb']:>9.0f}"
        for each in answer["starts"]
    ]


def _server(row: dict[str, Any]) -> str:
    if row["error"]:
        return str(row["error"])
    behind = f"{row['lag_revisions']} revisions and {format_duration(row['lag_s'] or 0.0)} behind"
    lag = behind if row["lag_s"] or row["lag_revisions"] else "newest"
    return f"{row['server']}: revision {row['revision']}, {lag}" + (
        f"; {row['notes']}" if row["notes"] else ""
    )
