"""What the pages count: small frames out of the store's frames; each is a chart's twin and a CSV."""

from __future__ import annotations

from typing import Any

import pandas as pd

from dashboard.figures.theme import STATES

MIG = "MIG slice without model"
UNNAMED = "model not reported"
ELSEWHERE = "site not reported"
ALL = "all jobs"
GPU = "GPU jobs"
#: A schedd tells of a queue within this time.
TELLING = pd.Timedelta(minutes=1)


def device_labels(devices: pd.DataFrame) -> pd.Series:
    """A name for each device; old MIG slices report neither model nor capability."""
    named = devices["family"].fillna(devices["model"])
    return named.fillna(devices["mig"].map({True: MIG, False: UNNAMED})).rename("model")


def count_devices(devices: pd.DataFrame, by: str) -> pd.DataFrame:
    """GPUs by `by` (model or site) and state, each device once.

    Returns
    -------
    one row per group: the group, capability (for models), a column per state, gpus; best capability last
    """
    groups = device_labels(devices) if by == "model" else devices["site"].fillna(ELSEWHERE)
    held = devices.assign(**{by: groups})
    counts = held.pivot_table(index=by, columns="state", values="device_id", aggfunc="count", fill_value=0)
    counts = counts.reindex(columns=list(STATES), fill_value=0).astype(int)
    counts["gpus"] = counts.sum(axis=1)
    if by == "model":
        counts.insert(0, "capability", held.groupby(by)["capability"].max())
        counts = counts.sort_values(["capability", "gpus"], na_position="first")
    else:
        counts = counts.sort_index(ascending=False).sort_values("gpus", kind="stable")
    counts.columns.name = None
    return counts.reset_index()


def waiting(jobs: pd.DataFrame) -> pd.Series:
    """Which jobs wait: idle, and in the queue that their schedd told last; row for row.

    Who isn't in it any more has left, though no history tells how. A long queue is told over some seconds (ServerTime).
    """
    told = jobs["seen_at"].where(jobs["status"].isin(["idle", "running", "held"]))
    last = told.groupby(jobs["schedd"], dropna=False).transform("max")
    return (jobs["status"] == "idle") & (jobs["seen_at"] >= last - TELLING)


def supply(counted: pd.DataFrame) -> pd.DataFrame:
    """GPUs by state at each snapshot: seen_at, a column per state, gpus.

    counted : snapshot, seen_at, state, n
    """
    times = counted.groupby("snapshot")["seen_at"].transform("max")
    counts = counted.groupby([times, "snapshot", "state"], observed=True)["n"].sum().unstack(fill_value=0)
    counts = counts.droplevel("snapshot").reindex(columns=list(STATES), fill_value=0).astype(int)
    counts["gpus"] = counts.sum(axis=1)
    counts.columns.name = None
    return counts.sort_index().reset_index()


def allocation(supply: pd.DataFrame) -> float:
    """The share of GPUs that jobs had, over all snapshots of a supply [1]; NaN without GPUs."""
    total = int(supply["gpus"].sum())
    return float(supply[["claimed", "backfill"]].to_numpy().sum()) / total if total else float("nan")


def thin_supply(frame: pd.DataFrame, *, points: int = 400) -> pd.DataFrame:
    """`supply` as means over equal bins once there are more snapshots than a chart can show."""
    if len(frame) <= points:
        return frame
    width = (frame["seen_at"].iloc[-1] - frame["seen_at"].iloc[0]) / points
    binned = frame.set_index("seen_at").resample(width.ceil("s")).mean().dropna(how="all")
    return binned.round(1).reset_index()


def compare_waits(observed: pd.DataFrame, simulated: pd.DataFrame | None) -> pd.DataFrame:
    """Two tables of `summarise` side by side: group, n, n_censored, mean_s, p50_s, p90_s, p99_s, longest_s, and the same with sim_."""
    if simulated is None:
        blank = {f"sim_{name}": float("nan") for name in ("mean_s", "p50_s", "p90_s", "p99_s", "longest_s")}
        return observed.assign(sim_n=0, sim_n_censored=0, **blank)
    renamed = simulated.rename(columns={name: f"sim_{name}" for name in simulated.columns if name != "group"})
    both = observed.merge(renamed, on="group", how="left")
    return both.assign(**{name: both[name].fillna(0).astype(int) for name in ("sim_n", "sim_n_censored")})


def sources(snapshots: pd.DataFrame) -> pd.DataFrame:
    """What each source of the collector said, over the window's rounds."""
    rows: dict[str, dict[str, Any]] = {}
    for meta in snapshots["meta"]:
        told = meta.get("sources", {}) if isinstance(meta, dict) else {}
        for name, said in told.items() if isinstance(told, dict) else ():
            row = rows.setdefault(
                str(name), {"source": str(name), "rounds": 0, "errors": 0, "last_error": ""}
            )
            row["rounds"] += 1
            if isinstance(said, dict) and said.get("error"):
                row["errors"] += 1
                row["last_error"] = str(said["error"])[:200]
    return pd.DataFrame(list(rows.values()), columns=["source", "rounds", "errors", "last_error"])


def free_by_hour(counted: pd.DataFrame) -> pd.DataFrame:
    """Mean free GPUs by model and hour of the day (UTC): model, capability, hour, free, gpus; best capability last.

    counted : family, model, mig, hour, capability, free, total, snapshots (in which the hour was seen)
    """
    held = counted.assign(model=device_labels(counted))
    rows = held.groupby(["model", "hour"]).agg(
        capability=("capability", "max"),
        free=("free", "sum"),
        gpus=("total", "sum"),
        snapshots=("snapshots", "max"),
    )
    rows["free"], rows["gpus"] = rows["free"] / rows["snapshots"], rows["gpus"] / rows["snapshots"]
    made = rows.drop(columns="snapshots").reset_index()
    best = made.groupby("model")["capability"].transform("max")
    return made.assign(capability=best).sort_values(
        ["capability", "model", "hour"], na_position="first", ignore_index=True
    )


def count_repositories(cvmfs: pd.DataFrame, machines: int) -> pd.DataFrame:
    """How many machines have each repository, the most frequent first: repository, available, machines, oldest_revision.

    cvmfs : frame "cvmfs"
    """
    there = cvmfs[cvmfs["available"].fillna(value=False).astype(bool)]
    found = cvmfs[["repository"]].drop_duplicates().set_index("repository")
    found["available"] = (
        there.groupby("repository")["machine"].nunique().reindex(found.index).fillna(0).astype(int)
    )
    found["machines"] = machines
    found["oldest_revision"] = there.groupby("repository")["revision"].min().reindex(found.index)
    return found.reset_index().sort_values(
        ["available", "repository"], ascending=[False, True], ignore_index=True
    )


#: What a slot says it can run: column of the frame "slots" → word; `images` is the repository of unpacked ones.
ABILITIES = {
    "has_singularity": "Apptainer",
    "images": "images in CVMFS",
    "has_sif": "SIF",
    "has_sandbox_image": "sandbox image",
    "has_docker_url": "registry image",
    "has_docker": "Docker",
}


def count_abilities(slots: pd.DataFrame, repository: str) -> pd.DataFrame:
    """How many machines of each site can run which kind of image: site, machines, a column per `ABILITIES`.

    slots : frame "slots" of one snapshot
    repository : of unpacked images, as attribute names spell it
    """
    held = slots[slots["slot_type"] != "dynamic"].assign(site=slots["site"].fillna(ELSEWHERE))
    held["images"] = held["cvmfs"].fillna("").str.split(",").map(lambda names: repository in names)
    machines = held.groupby(["site", "machine"])[list(ABILITIES)].any()
    found = machines.groupby("site").sum().astype(int)
    found.insert(0, "machines", machines.groupby("site").size())
    return found.reset_index()
