"""A job as condor_submit would describe it from a requirements expression and what it asks for."""

from __future__ import annotations

from dataclasses import dataclass

import classad2

from sim.classads.expression import Expression
from sim.errors import InputError

SCRATCH_KIB = 102_400  # what a job without large files asks of the disk, so that disk decides nothing

_SYSTEMS = {"opsys", "opsysandver", "opsyslongname", "opsysshortname", "opsysname", "opsyslegacy"}


@dataclass(frozen=True)
class Request:
    """What a job asks for beside its expression: devices [1], cores [1], memory [MiB]; and of each device, an expression."""

    gpus: int = 1
    cpus: float = 1
    memory_mib: float = 128.0
    require_gpus: str = ""

    def __post_init__(self) -> None:
        for name, value, most in (
            ("request_gpus", self.gpus, 10**6),
            ("request_cpus", self.cpus, 10**6),
            ("request_memory", self.memory_mib, 10**12),
        ):
            if not 0 <= value <= most:
                raise InputError(f"{name} = {value:g}: expected a number from 0 to {most:g}")


def job_ad(expression: str, request: Request) -> str:
    """The ad of such a job as text, with the clauses that condor_submit adds (fact sheet §3.1).

    A clause is left out if the expression mentions the attribute, whatever its scope; those on memory and disk never are
    (measured with condor_submit -dry-run of 23.9.6 and 25.14.1).

    Raises
    ------
    ExpressionError : `expression` or `request.require_gpus` is not one whole expression
    """
    user = Expression.parse(expression or "true")
    named = {reference.name.lower() for reference in user.references()}
    picky = bool(request.require_gpus) and request.gpus > 0
    counted = (
        "countMatches(MY.RequireGPUs, TARGET.AvailableGPUs) >= RequestGPUs"
        if picky
        else "TARGET.GPUs >= RequestGPUs"
    )
    added = [
        ({"arch"}, 'TARGET.Arch == "X86_64"', True),
        (_SYSTEMS, 'TARGET.OpSys == "LINUX"', True),
        (set(), "TARGET.Disk >= RequestDisk", True),
        (set(), "TARGET.Memory >= RequestMemory", True),
        ({"cpus"}, "TARGET.Cpus >= RequestCpus", request.cpus > 1),
        ({"gpus"}, counted, request.gpus > 0),
        ({"hasfiletransfer"}, "TARGET.HasFileTransfer", True),
    ]
    clauses = [
        f"({user.text_of(user.root)})",
        *(f"({text})" for names, text, wanted in added if wanted and not names & named),
    ]
    ad = classad2.ClassAd()
    ad["Requirements"] = classad2.ExprTree(" && ".join(clauses))
    ad["RequestCpus"] = int(request.cpus) if request.cpus == int(request.cpus) else request.cpus
    ad["RequestMemory"] = int(request.memory_mib)
    ad["RequestDisk"] = SCRATCH_KIB
    ad["RequestGPUs"] = request.gpus
    ad["JobUniverse"] = 5
    ad["Rank"] = 0.0
    if picky:
        ad["RequireGPUs"] = Expression.parse(request.require_gpus).tree
    return str(ad)
