"""Ads as plain values and as text: reading files in HTCondor's four formats, evaluating, printing without what is volatile."""

from __future__ import annotations

import json
import lzma
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import classad2

from sim.errors import InputError

Ad = classad2.ClassAd

_EXPRESSION = re.compile(r"^/Expr\((.*)\)/$", re.DOTALL)

# What changes at every update or names a socket or a moment: text that repeats from snapshot to snapshot takes no room.
# An attribute that the ad's own expressions read is kept all the same.
LEFT_OUT_OF_SLOTS = re.compile(
    r"""(?ix)
    .*(address|addressv1|ipaddr|sinful) | my(address|currenttime) | last\w+ | recent\w+ | updates?\w+ | monitorself\w+
    | daemon(core|last)\w+ | clock(day|min) | (total)?(condor)?loadavg | (total)?virtualmemory | (keyboard|console)idle
    | cpu(is)?busy(time)? | entered\w+ | expectedmachine\w+ | retirementtimeremaining | machinelast\w+
    | total(time|job|claim)\w+ | numdynamicslots(time)? | numpids | child\w+ | newdslotnotmatch | job(starts|preemptions)
    | job(rank|userprio)preemptions | (activation|claim)requests | authenticat\w+ | privatenetworkname | utsnameversion
    | (gpus|cpus|memory|disk)usage | device\w+(averageusage|peakusage) | islocalstartd | jobcurrent\w+ | imagesize
    | residentset\w* | proportional\w+ | scratchdirfilecount
    """
)
LEFT_OUT_OF_JOBS = re.compile(
    r"""(?ix)
    .*(address|addressv1|ipaddr|sinful|socket) | last(job|match|rej|remote|suspension|vacate|hold|release|activation|ckpt)\w*
    | servertime | shadow(bday|version) | startdprincipal | recent\w+ | stats\w*lifetime\w+ | (activation|committed)\w+
    | cumulative\w+ | jobcurrent\w+ | job(finishedhookdone|status|laststartdate|submitfile|startdate) | completiondate
    | entered\w+ | exit(code|status|reason|signal|bysignal) | toe | terminationpending | currenthosts | iowait
    | block(read|write)\w+ | bytes(sent|recvd) | \w+_raw | \w+usage | imagesize | executablesize | residentset\w*
    | proportional\w+ | remote(host|slotid|syscpu|usercpu|wallclocktime|pool) | assignedgpus | \w+provisioned
    | provisionedresources | transfer(in|out)(finished|started|queued)? | transferring(input|output)
    | transfer(queued|err) | transfer(input|output)stats | spooledoutputfiles | scratchdirfilecount | numpids
    | vacatereason\w* | autoclusterid | scheduler | runinstanceid | epoch\w+
    """
)
PRIVATE = re.compile(
    r"(?i)env|environment|arguments?|args|cmd|in|out|err|iwd|userlog|notifyuser|jobsubmitfile|capability|remoteadmincapability|transferkey|_condor_priv.*"
    r"|.*(secret|token|password|passwd|claimid|claimids|claimidlist|credential).*|x509.*|.*adhistory|\w*session\w*"
)
_REAL = re.compile(r'"(?:[^"\\]|\\.)*"|-?\d\.\d{15}E[+-]\d+')
_LITERAL = re.compile(r'"(?:[^"\\]|\\.)*"')
_NEW_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\'|[\[\]]', re.DOTALL)
_DEEPEST = 200  # ads within ads; classad2 crashes on a hundred thousand
_DEEPEST_LIST = 3
_LONGEST = 20_000  # characters outside strings; classad2 crashes on chains of some 30,000 operators


def parse_ads(text: str, *, where: str) -> list[Ad]:
    """Read ads as condor_status, condor_q and condor_history print them with -long, -json, -xml or in new syntax.

    A text without ads is what those tools print where there is nothing: no mistake.

    Raises
    ------
    InputError : `text` is something else, or breaks off
    """
    head = text.lstrip()[:200]
    try:
        if head.startswith("<"):
            return _parse_xml(text, where)
        if _is_json(head):
            return [ad_of_json(record) for record in _json_records(text)]
        if re.match(r"\[|\{\s*\[", head):
            return _parse_new(text, where)
        return _parse_long(text, where)
    except InputError as error:
        raise error if where in str(error) else InputError(f"{where}: {error}") from error
    except Exception as error:  # classad2 and the XML parser raise many kinds
        raise InputError(
            f"{where}: no ClassAd ({' '.join(str(error).split())[:120]}); {_EXPECTED}"
        ) from error


_EXPECTED = "expected the output of condor_status, condor_q or condor_history with -long, -json or -xml"


def read_ads(path: Path) -> list[Ad]:
    """Read a file of ads, also one packed by xz; see `parse_ads`."""
    return parse_ads(read_text(path), where=str(path))


def read_text(path: Path) -> str:
    """Read a text file, also one packed by xz; InputError if it can't be read or is no text."""
    try:
        data = lzma.decompress(path.read_bytes()) if path.suffix == ".xz" else path.read_bytes()
        return data.decode("utf-8-sig")
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
        value.encode()  # half a surrogate pair crashes classad2; UnicodeEncodeError is caught
        match = _EXPRESSION.match(value)
        return expression(match[1]) if match else value
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


def expression(text: str) -> classad2.ExprTree:
    """Read a text as one whole expression: classad2 alone would cut ``A; B=2`` to ``A`` without a word."""
    if len(text) > _LONGEST and len(_LITERAL.sub("", text)) > _LONGEST:
        raise InputError(f"an expression of {len(text)} characters; at most {_LONGEST} outside strings")
    if ";" in text or "]" in text:
        classad2.ExprTree(f"({text}\n)")
    return classad2.ExprTree(text)


def _parse_long(text: str, where: str) -> list[Ad]:
    ads: list[Ad] = []
    block: list[tuple[int, str]] = []
    for number, read in enumerate([*text.split("\n"), ""], start=1):
        line = read.rstrip("\r")
        if line.strip(" \t"):
            if not line.startswith(("***", "#", "--")):  # banners of condor_history and condor_q
                block.append((number, line))
        elif block:
            ads.append(_long_ad(block, where))
            block = []
    return ads


def _long_ad(block: list[tuple[int, str]], where: str) -> Ad:
    """An ad from its lines; the fast way parses all at once, and where that loses something, line by line."""
    doubtful = [line for line in block if ";" in line[1] or "]" in line[1] or len(line[1]) > _LONGEST]
    for number, line in doubtful:
        _attribute(line, f"{where}, line {number}")
    names = {line.partition("=")[0].strip().lower() for _, line in block}
    try:
        (ad,) = classad2.parseAds("\n".join(line for _, line in block) + "\n", classad2.ParserType.Old)
    except ValueError:
        ad = Ad()
    if len(ad) != len(names):
        for number, line in block:
            _attribute(line, f"{where}, line {number}")
        raise InputError(
            f"{where}, line {block[0][0]}: the ad that begins here can't be read whole; {_EXPECTED}"
        )
    return ad


def _attribute(line: str, where: str) -> None:
    """Check a line ``Name = value`` in old syntax, where a backslash is a backslash."""
    name, equals, value = line.partition("=")
    name = name.strip()
    if not equals or not re.fullmatch(r"[A-Za-z_][\w.]*", name):
        raise InputError(f"{where}: {line[:60]!r} is no attribute; {_EXPECTED}")
    try:
        if not value.strip().startswith('"'):
            expression(value.strip())
        if len(classad2.parseOne(f"{name} = {value}\n", classad2.ParserType.Old)) != 1:
            raise ValueError(value)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
    except (classad2.ClassAdException, ValueError) as error:
        raise InputError(f"{where}: the value of {name} is no ClassAd expression") from error


def _parse_new(text: str, where: str) -> list[Ad]:
    """Ads in new syntax, in a list or one after another; each must be whole, because classad2 stops without a word."""
    ads, depth, began, between = [], 0, 0, 0
    for token in _NEW_TOKEN.finditer(text):
        if token[0] == "[":
            if depth == 0:
                _nothing(text[between : token.start()], where)
                began = token.start()
            depth += 1
            if depth > _DEEPEST:
                raise InputError(f"{where}: ads nested deeper than {_DEEPEST}")
        elif token[0] == "]":
            depth -= 1
            if depth == 0:
                between = token.end()
                ads.append(parse_one(text[began:between]))
            elif depth < 0:
                break
    if depth:
        raise InputError(f"{where}: the ad {text[began : began + 40]!r} breaks off; {_EXPECTED}")
    _nothing(text[between:], where)
    return ads


def _nothing(text: str, where: str) -> None:
    if text.strip("{}, \t\r\n"):
        raise InputError(f"{where}: {text.strip()[:40]!r} between ads; {_EXPECTED}")


def _parse_xml(text: str, where: str) -> list[Ad]:
    from xml.etree import ElementTree as ET

    if "<!ENTITY" in text:
        raise InputError("an XML file with entities is refused")
    root = ET.fromstring(re.sub(r"<!DOCTYPE[^>]*>", "", text))  # noqa: S314
    if root.tag != "classads":
        raise InputError(f"{where}: no ClassAd found in <{root.tag[:40]}>; {_EXPECTED}")
    return [_xml_ad(node) for node in root.findall("c")]


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
            return expression(text)
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
        return _plain(_evaluated(ad, name), ad)
    except Exception:  # a garbage attribute of one ad is that ad's affair
        return None


def _scalar(ad: Ad, name: str) -> Any:
    """As `value_of`, but a list's items stay as they are."""
    try:
        value = _evaluated(ad, name)
    except Exception:  # as above
        return None
    return None if isinstance(value, classad2.Value) else value  # UNDEFINED counts as an int


def _evaluated(ad: Ad, name: str) -> Any:
    value = ad[name]
    return ad.eval(name) if isinstance(value, classad2.ExprTree) else value


def _plain(value: Any, ad: Ad, depth: int = 0) -> Any:
    if isinstance(value, classad2.Value) or depth > _DEEPEST_LIST:  # a list that holds itself
        return None
    if isinstance(value, list):
        items = [item.eval(scope=ad) if isinstance(item, classad2.ExprTree) else item for item in value]
        return [_plain(item, ad, depth + 1) for item in items]
    return value


def number_of(ad: Ad, *names: str) -> float | None:
    """The first of these attributes that is a finite number."""
    for name in names:
        value = _scalar(ad, name)
        if (
            isinstance(value, int | float)
            and not isinstance(value, bool)
            and abs(value) < 1e18  # NaN fails this, too
        ):
            return float(value)
    return None


def text_of(ad: Ad, *names: str) -> str | None:
    """The first of these attributes that is a string."""
    for name in names:
        value = _scalar(ad, name)
        if isinstance(value, str) and value:
            return value
    return None


def flag_of(ad: Ad, *names: str) -> bool:
    """Whether one of these attributes is true; absent booleans are false (fact sheet §6.4)."""
    return any(_scalar(ad, name) is True for name in names)


def source_of(ad: Ad, name: str) -> str | None:
    """An attribute as text, not evaluated."""
    if name not in ad:
        return None
    return tidy(str(ad.lookup(name)))


def tidy(text: str) -> str:
    """One line, and 7.5 for 7.500000000000000E+00; strings stay as they are (their line breaks are escaped)."""
    if "\n" in text:
        text = " ".join(part.strip() for part in text.split("\n") if part.strip())
    return _REAL.sub(_short, text) if "E+" in text or "E-" in text else text


def _short(match: re.Match[str]) -> str:
    return match[0] if match[0].startswith('"') else repr(float(match[0]))
