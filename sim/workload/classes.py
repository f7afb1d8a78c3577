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
    attribute = None if by is None else _assignment(by)
    labels = []
    for gpus, requirements, picky, ad in zip(
        jobs["request_gpus"], jobs["requirements"], jobs["require_gpus"], jobs["ad"], strict=True
    ):
        hit = attribute.search(ad) if attribute is not None else None
        if hit is not None:
            labels.append(hit[1] if hit[1] is not None else hit[2])
        else:
            device = None if pd.isna(picky) else _with_values(str(picky), str(ad))
            labels.append(shape(int(gpus), str(requirements), device))
    return pd.Series(labels, index=jobs.index, dtype="str")


@cache
def _assignment(name: str) -> re.Pattern[str]:
    """A pattern for the value of an attribute in an ad's text: a string's content, or anything else as written."""
    begin = rf"(?:^|[\[;\n])\s*{re.escape(name)}\s*=\s*"
    return re.compile(begin + r'(?:"((?:[^"\\]|\\.)*)"|([^;\n\]]+?))\s*(?=[;\n\]]|$)', re.IGNORECASE)


def _with_values(expression: str, ad: str) -> str:
    """A RequireGPUs with what the job's own limits are: Capability >= GPUsMinCapability → Capability >= 7.5."""

    def value(limit: re.Match[str]) -> str:
        hit = _assignment(limit[0]).search(ad)
        return limit[0] if hit is None else hit[2] or f'"{hit[1]}"'

    return re.sub(r"\bGPUsM(?:in|ax)\w+", value, expression)


@cache
def shape(gpus: int, requirements: str, require_gpus: str | None) -> str:
    """What a job asks for in words; what condor_submit adds is left out.

    Examples
    --------
    >>> shape(1, '(TARGET.Arch == "X86_64") && (TARGET.GPUs >= RequestGPUs)', "Capability >= 7.500000000000000E+00")
    '1 GPU, Capability >= 7.5'
    """
    parts = [f"{gpus} GPU{'s' * (gpus > 1)}" if gpus else "CPU"]
    if gpus and require_gpus:
        parts.append(require_gpus)
    parts += own_clauses(requirements)
    return ", ".join(_plain_numbers(part) for part in parts)


def _plain_numbers(text: str) -> str:
    """Numbers as people write them: classad2 prints 7.5 as 7.500000000000000E+00."""
    return re.sub(r"\d\.\d+E[+-]\d+", lambda number: f"{float(number[0]):g}", text)


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
