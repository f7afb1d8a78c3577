"""A job as condor_submit would describe it from a requirements expression and what it asks for."""

from __future__ import annotations

from dataclasses import dataclass

from sim.classads.expression import Expression
from sim.classads.job import GPUS, SYSTEMS, JobDescription
from sim.errors import InputError

SCRATCH_KIB = 102_400  # what a job without large files asks of the disk, so that disk decides nothing


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

    def describe(self, expression: str) -> JobDescription:
        """A job with this expression and these requests, its files carried by HTCondor.

        Raises
        ------
        ExpressionError : `expression` or `require_gpus` is not one whole expression
        """
        user = Expression.parse(expression or "true")
        attributes = {
            "RequestCpus": f"{self.cpus:.15g}",
            "RequestMemory": str(int(self.memory_mib)),
            "RequestDisk": str(SCRATCH_KIB),
            "RequestGPUs": str(self.gpus),
            "JobUniverse": "5",
            "Rank": "0.0",
        }
        if self.require_gpus and self.gpus > 0:
            picky = Expression.parse(self.require_gpus)
            attributes["RequireGPUs"] = picky.text_of(picky.root)
        standards = (
            (frozenset({"arch"}), '(TARGET.Arch == "X86_64")'),
            (SYSTEMS, '(TARGET.OpSys == "LINUX")'),
            (frozenset[str](), "(TARGET.Disk >= RequestDisk)"),
            (frozenset[str](), "(TARGET.Memory >= RequestMemory)"),
            *(((frozenset({"cpus"}), "(TARGET.Cpus >= RequestCpus)"),) if self.cpus > 1 else ()),
            (frozenset({"gpus"}), GPUS),
            (frozenset({"hasfiletransfer"}), "(TARGET.HasFileTransfer)"),
        )
        return JobDescription(attributes, user.text_of(user.root), 0, standards)


def job_ad(expression: str, request: Request) -> str:
    """The ad of such a job as text, with the clauses that condor_submit adds (fact sheet §3.1)."""
    return request.describe(expression).text
