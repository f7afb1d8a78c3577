"""The class of a job: the value of an attribute of its ad, or what it asks for in words."""

from __future__ import annotations

import re
from functools import cache

import pandas as pd

from sim.classads.expression import Expression
from sim.classads.matching import is_arithmetic
from sim.errors import ExpressionError

_ADDED = re.compile(
    r'^\(*\s*(TARGET\.)?(Arch\s*==\s*"X86_64"|OpSys\s*==\s*"LINUX"|HasFileTransfer|FileSystemDomain\s*==\s*MY\.FileSystemDomain)\s*\)*$'
    r"|TARGET\.FileSystemDomain\s*==\s*MY\.FileSystemDomain",
    re.IGNORECASE,
)


def label_classes(jobs: pd.DataFrame, by: str | None = None) -> pd.Series:
    """The class of each job of a frame "jobs".

    by : attribute of the job ad; without it, or where an ad lacks it, the job's shape
    """
    shapes = [
        shape(int(gpus), str(requirements), None if pd.isna(picky) else str(picky))
        for gpus, requirements, picky in zip(
            jobs["request_gpus"], jobs["requirements"], jobs["require_gpus"], strict=True
        )
    ]
    if by is None:
        return pd.Series(shapes, index=jobs.index, dtype="str")
    pattern = re.compile(
        rf'(?:^|[\[;\n])\s*{re.escape(by)}\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;\n\]]+?))\s*(?=[;\n\]]|$)',
        re.IGNORECASE,
    )
    found = [pattern.search(ad) for ad in jobs["ad"]]
    labels = [(hit[1] or hit[2]) if hit else words for hit, words in zip(found, shapes, strict=True)]
    return pd.Series(labels, index=jobs.index, dtype="str")


@cache
def shape(gpus: int, requirements: str, require_gpus: str | None) -> str:
    """What a job asks for in words, such as ``1 GPU, Capability >= 7.5``; what condor_submit adds is left out."""
    parts = [f"{gpus} GPU{'s' * (gpus > 1)}" if gpus else "CPU"]
    if gpus and require_gpus:
        parts.append(require_gpus)
    parts += own_clauses(requirements)
    return ", ".join(parts)


def own_clauses(requirements: str) -> list[str]:
    """The clauses of a job's Requirements that its user wrote."""
    try:
        expression = Expression.parse(requirements)
    except ExpressionError:
        return [requirements]
    texts = [expression.text_of(node) for node in expression.conjuncts()]
    return [text.strip("() ") if text.count("(") == 1 else text for text in texts if not _added(text)]


def _added(clause: str) -> bool:
    return is_arithmetic(clause) or _ADDED.search(clause) is not None or clause.strip("() ").lower() == "true"
