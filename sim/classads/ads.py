"""Ads as plain values and as text: reading files in HTCondor's four formats, evaluating, printing without what is volatile."""

from __future__ import annotations

import json
import lzma
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import classad2

from sim.errors import InputError

Ad = classad2.ClassAd

_EXPRESSION = re.compile(r"^/Expr\((.*)\)/$", re.DOTALL)

# What changes at every update or names a socket, a secret or a moment: no requirements expression is about it, and text
# that repeats from snapshot to snapshot compresses to almost nothing.
_VOLATILE = re.compile(
    r"""(?ix)^(
      .*(address|ipaddr|claimid|claimids|capability_?secret|publicclaimid|authenticat.*|session.*|adhistory)$
    | addressv1 | my(address|currenttime) | (last|recent|daemon(core|last)|monitorself|updates?|clock|total(time|load|job|condorload)
      |condorload|load|expectedmachine|keyboard|console|entered|retirementtime
      |numdynamicslots|child|jobstarts|newdslot|activationrequests|claimrequests|jobpreempt|jobrankpreempt|jobuserprio
      |machinelast|privatenetwork|starteripaddr|transfersocket|shadow|sched.*ipaddr|startdipaddr|startdprincipal
      |remotesys|remoteuser(cpu|wall)|bytes|diskusage|imagesize|memoryusage_|residentset|cumulative|committed|stats|servertime
      |cpubusy|cpuisbusy|virtualmemory|totalvirtual|disk_?usage|islocalstartd|numpids|utsnameversion|expected).*
    )$"""
)  # fmt: skip
_PRIVATE = re.compile(
    r"(?i)^(env|environment|arguments?|args|cmd|in|out|err|iwd|userlog|.*secret.*|.*token.*|.*password.*|.*claimid.*|x509.*)$"
)
_KEPT = frozenset({"lastheardfrom_never", "totaldisk", "totalslotdisk"})


def parse_ads(text: str, *, where: str) -> list[Ad]:
    """Read ads as condor_status, condor_q and condor_history print them with -long, -json, -xml or in new syntax.

    Raises
    ------
    InputError : `text` holds no ad, or breaks off
    """
    head = text.lstrip()[:200]
    try:
        if head.startswith("<"):
            ads = _parse_xml(text)
        elif head.startswith(("[", "{")) and _is_json(head):
            ads = [ad_of_json(record) for record in _json_records(text)]
        else:
            ads = _parse_long(text, where) if not head.startswith("[") else list(classad2.parseAds(text))
    except InputError:
        raise
    except Exception as error:  # classad2 and the XML parser raise many kinds
        raise InputError(
            f"{where}: no ClassAd ({' '.join(str(error).split())[:120]}); {_EXPECTED}"
        ) from error
    if not ads and head:
        raise InputError(f"{where}: no ClassAd found; {_EXPECTED}")
    return ads


_EXPECTED = "expected the output of condor_status, condor_q or condor_history with -long, -json or -xml"


def read_ads(path: Path) -> list[Ad]:
    """Read a file of ads, also one packed by xz; see `parse_ads`."""
    return parse_ads(read_text(path), where=str(path))


def read_text(path: Path) -> str:
    """Read a text file, also one packed by xz; InputError if it can't be read or is no text."""
    try:
        data = lzma.decompress(path.read_bytes()) if path.suffix == ".xz" else path.read_bytes()
        return data.decode("utf-8")
    except (OSError, lzma.LZMAError) as error:
        raise InputError(f"{path}: can't be read ({error.__class__.__name__})") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: byte {error.start} is no UTF-8 text; {_EXPECTED}") from error


def ad_of_json(record: Mapping[str, Any]) -> Ad:
    """Build an ad from a record as condor_status -json prints it; ``/Expr(...)/`` becomes an expression."""
    ad = Ad()
    for name, value in record.items():
        if value is None:
            continue
        ad[name] = _of_json(value)
    return ad


def _of_json(value: Any) -> Any:
    if isinstance(value, str):
        match = _EXPRESSION.match(value)
        return classad2.ExprTree(match[1]) if match else value
    if isinstance(value, Mapping):
        return ad_of_json(value)
    if isinstance(value, list):
        return [_of_json(item) for item in value]
    return value


def _is_json(head: str) -> bool:
    return re.match(r'\[\s*(\{|\])|\{\s*("|\})', head) is not None


def _json_records(text: str) -> Iterator[Mapping[str, Any]]:
    """Objects of an array, or one after another as an event log has them."""
    decoder = json.JSONDecoder()
    position, stripped = 0, text.strip()
    while position < len(stripped):
        value, position = decoder.raw_decode(stripped, position)
        for record in value if isinstance(value, list) else [value]:
            if not isinstance(record, Mapping):
                raise InputError(f"a JSON {type(record).__name__} where an ad was expected; {_EXPECTED}")
            yield record
        while position < len(stripped) and stripped[position] in " \t\r\n,":
            position += 1


def _parse_long(text: str, where: str) -> list[Ad]:
    ads: list[Ad] = []
    block: list[tuple[int, str]] = []
    for number, line in enumerate([*text.splitlines(), ""], start=1):
        if line.strip():
            block.append((number, line))
        elif block:
            if ad := _long_ad(block, where):
                ads.append(ad)
            block = []
    return ads


def _long_ad(block: list[tuple[int, str]], where: str) -> Ad | None:
    ad = Ad()
    for number, line in block:
        name, equals, value = line.partition("=")
        name = name.strip()
        if line.startswith(("***", "#", "--")):  # banners of condor_history and condor_q
            continue
        if not equals or not re.fullmatch(r"[A-Za-z_][\w.]*", name):
            raise InputError(f"{where}, line {number}: {line[:60]!r} is no attribute; {_EXPECTED}")
        try:
            ad[name] = classad2.ExprTree(value.strip())
        except (classad2.ClassAdException, ValueError) as error:
            raise InputError(
                f"{where}, line {number}: the value of {name} is no ClassAd expression"
            ) from error
    return parse_one(str(ad)) if len(ad) else None


def _parse_xml(text: str) -> list[Ad]:
    from xml.etree import ElementTree  # noqa: S405  HTCondor's own output; entities are refused below

    if "<!ENTITY" in text:
        raise InputError("an XML file with entities is refused")
    root = ElementTree.fromstring(re.sub(r"<!DOCTYPE[^>]*>", "", text))  # noqa: S314
    return [_xml_ad(node) for node in root.iter("c") if node in list(root)]


def _xml_ad(node: Any) -> Ad:
    ad = Ad()
    for attribute in node.findall("a"):
        child = attribute[0]
        ad[attribute.attrib["n"]] = _xml_value(child)
    return ad


def _xml_value(child: Any) -> Any:
    text = child.text or ""
    match child.tag:
        case "s":
            return text
        case "i":
            return int(text)
        case "r":
            return float(text)
        case "b":
            return child.attrib.get("v", "f") == "t"
        case "e":
            return classad2.ExprTree(text)
        case "c":
            return _xml_ad(child)
        case "l":
            return [_xml_value(item) for item in child]
        case _:
            return classad2.Value.Undefined


def parse_one(text: str) -> Ad:
    """Read one ad in new syntax; InputError if it is none."""
    try:
        return classad2.parseOne(text)
    except (classad2.ClassAdException, ValueError) as error:
        raise InputError(f"{text[:60]!r} is no ClassAd") from error


def value_of(ad: Ad, name: str) -> Any:
    """The value of an attribute as a plain Python value; UNDEFINED, ERROR and what isn't there are None."""
    try:
        value = ad.get(name)
        if isinstance(value, classad2.ExprTree):
            value = ad.eval(name)
    except Exception:  # a garbage attribute of one ad is that ad's affair
        return None
    return _plain(value, ad)


def _plain(value: Any, ad: Ad) -> Any:
    if isinstance(value, classad2.Value):
        return None
    if isinstance(value, list):
        return [
            _plain(item.eval(scope=ad) if isinstance(item, classad2.ExprTree) else item, ad) for item in value
        ]
    return value


def number_of(ad: Ad, *names: str) -> float | None:
    """The first of these attributes that is a finite number."""
    for name in names:
        value = value_of(ad, name)
        if (
            isinstance(value, int | float)
            and not isinstance(value, bool)
            and abs(value) < 1e18
            and value == value
        ):
            return float(value)
    return None


def text_of(ad: Ad, *names: str) -> str | None:
    """The first of these attributes that is a string."""
    for name in names:
        value = value_of(ad, name)
        if isinstance(value, str) and value:
            return value
    return None


def flag_of(ad: Ad, *names: str) -> bool:
    """Whether one of these attributes is true; absent booleans are false (fact sheet §6.4)."""
    return any(value_of(ad, name) is True for name in names)


def source_of(ad: Ad, name: str) -> str | None:
    """An attribute as text, not evaluated."""
    if name not in ad:
        return None
    value = ad.lookup(name)
    return " ".join(str(value).split())


def print_ad(ad: Ad, *, but: Iterable[str] = ()) -> str:
    """An ad as text without what is volatile or private, attributes in order of name."""
    dropped = {name.lower() for name in but}
    kept = Ad()
    for name in sorted(ad, key=str.lower):
        lowered = name.lower()
        if lowered in dropped or _PRIVATE.match(name) or (_VOLATILE.match(name) and lowered not in _KEPT):
            continue
        kept[name] = ad.lookup(name)
    return re.sub(r"\s*\n\s*", " ", str(kept)).strip()
