"""Ads are read alike from all four formats, garbage is refused with its place, and what is kept holds no secret."""

import json
import lzma
from pathlib import Path

import pytest

from sim.classads.ads import (
    Ad,
    ad_of_json,
    flag_of,
    number_of,
    parse_ads,
    parse_one,
    read_ads,
    source_of,
    text_of,
    value_of,
)
from sim.classads.view import print_ad
from sim.errors import InputError

LONG = r"""Name = "slot1@a.example"
Path = "C:\new\dir"
Quote = "say \"hi\""
Cpus = 4
Load = 0.5
Ready = true
Weight = Cpus * 2
Nothing = undefined
GPUs_GPU_1 = [ Id = "GPU-1"; Capability = 7.5 ]
List = { 1,"two",{ 3 } }

Name = "slot2@b.example"
Cpus = 8

"""
JSON = r"""[
{ "Name": "slot1@a.example", "Path": "C:\\new\\dir", "Quote": "say \"hi\"", "Cpus": 4, "Load": 0.5, "Ready": true,
  "Weight": "\/Expr(Cpus * 2)\/", "Nothing": null, "GPUs_GPU_1": { "Id": "GPU-1", "Capability": 7.5 },
  "List": [ 1, "two", [ 3 ] ] }
,
{ "Name": "slot2@b.example", "Cpus": 8 }
]
"""
XML = r"""<?xml version="1.0"?>
<!DOCTYPE classads SYSTEM "classads.dtd">
<classads>
<c>
    <a n="Name"><s>slot1@a.example</s></a>
    <a n="Path"><s>C:\new\dir</s></a>
    <a n="Quote"><s>say "hi"</s></a>
    <a n="Cpus"><i>4</i></a>
    <a n="Load"><r>5.000000000000000E-01</r></a>
    <a n="Ready"><b v="t"/></a>
    <a n="Weight"><e>Cpus * 2</e></a>
    <a n="Nothing"><un/></a>
    <a n="GPUs_GPU_1"><c><a n="Id"><s>GPU-1</s></a><a n="Capability"><r>7.5</r></a></c></a>
    <a n="List"><l><i>1</i><s>two</s><l><i>3</i></l></l></a>
</c>
<c><a n="Name"><s>slot2@b.example</s></a><a n="Cpus"><i>8</i></a></c>
</classads>
"""
NEW = r"""[ Name = "slot1@a.example"; Path = "C:\\new\\dir"; Quote = "say \"hi\""; Cpus = 4; Load = 0.5; Ready = true;
  Weight = Cpus * 2; Nothing = undefined; GPUs_GPU_1 = [ Id = "GPU-1"; Capability = 7.5 ]; List = { 1,"two",{ 3 } } ]
[ Name = "slot2@b.example"; Cpus = 8 ]
"""
LISTED = "{\n" + NEW.replace("]\n[", "],\n[") + "}\n"


class TestFormats:
    @pytest.mark.parametrize("text", [LONG, LONG.replace("\n", "\r\n"), JSON, XML, NEW, LISTED],
                             ids=["long", "crlf", "json", "xml", "new", "long:new"])  # fmt: skip
    def test_the_same_from_all(self, text: str) -> None:
        first, second = parse_ads(text, where="here")
        assert (text_of(second, "Name"), number_of(second, "Cpus")) == ("slot2@b.example", 8)
        assert value_of(first, "Path") == r"C:\new\dir"
        assert value_of(first, "Quote") == 'say "hi"'
        assert [value_of(first, name) for name in ("Cpus", "Load", "Ready", "Weight", "Nothing", "Absent")] == [
            4, 0.5, True, 8, None, None,
        ]  # fmt: skip
        assert source_of(first, "Weight") == "Cpus * 2"
        assert value_of(first, "List") == [1, "two", [3]]
        nested = value_of(first, "GPUs_GPU_1")
        assert (text_of(nested, "Id"), number_of(nested, "Capability")) == ("GPU-1", 7.5)

    @pytest.mark.parametrize("text", ["", "\n\n", "[\n]\n", "<?xml version=\"1.0\"?>\n<!DOCTYPE classads SYSTEM \"classads.dtd\">\n<classads>\n\n</classads>\n\n"])  # fmt: skip
    def test_no_jobs_is_no_mistake(self, text: str) -> None:
        """So condor_q and condor_history print an empty answer."""
        assert parse_ads(text, where="here") == []

    def test_objects_one_after_another(self) -> None:
        """As a JSON event log has them."""
        assert [number_of(ad, "A") for ad in parse_ads('{"A": 1}\n{"A": 2}\n', where="here")] == [1, 2]

    def test_banners_of_history_and_queue(self) -> None:
        text = (
            "-- Schedd: ap1 : <127.0.0.1:1>\nA = 1\n\n*** Offset = 0 ClusterId = 1\nA = 2\n*** Offset = 3\n"
        )
        assert [number_of(ad, "A") for ad in parse_ads(text, where="here")] == [1, 2]

    def test_line_separators_within_a_string(self) -> None:
        """Only a line feed ends a line."""
        (ad,) = parse_ads('A = "one\u2028two\x0cthree\x85four"\nB = 2\n', where="here")
        assert (text_of(ad, "A"), number_of(ad, "B")) == ("one\u2028two\x0cthree\x85four", 2)

    def test_packed_files(self, tmp_path: Path) -> None:
        (tmp_path / "q.json.xz").write_bytes(lzma.compress(JSON.encode()))
        assert len(read_ads(tmp_path / "q.json.xz")) == 2

    def test_large_strings(self) -> None:
        (ad,) = parse_ads(f'A = "{"x" * 1_000_000}"\nB = 1\n', where="here")
        assert len(text_of(ad, "A") or "") == 1_000_000


class TestGarbage:
    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("A = 1\nB\n", r"here, line 2: 'B' is no attribute"),
            ("A = 1\n\nB = 2\nC = (3\n", r"here, line 4: .*"),
            ("A = 1; B = 2\n", r"here, line 1: .*"),
            ('A = 1\nB = "open\n', r"here, line 2: the value of B"),
            ('{"A": 1', r"here: no ClassAd"),
            ("[1, 2]", r"here.* no "),
            ('[{"A": 1}, 5]', r"a JSON int"),
            ("[ A = 1; ] garbage", r"here.*"),
            ("[ A = 1; ] [ B = 2", r"here.*"),
            ("<html><body><p>404</p></body></html>", r"here.*no ClassAd"),
            ("<!DOCTYPE html>\n<html><body>502<br></body></html>", r"here: no ClassAd"),
            ("<classads><c><a n='A'><i>one</i></a></c></classads>", r"here: no ClassAd"),
            ('<!DOCTYPE c [<!ENTITY x "y">]><classads/>', r"entities"),
            ("[" * 100_000, r"here.*"),
            ("[ A = " * 5_000 + "1" + " ]" * 5_000, r"here.*"),
            ("A = " + "{" * 9_000 + "1" + "}" * 9_000 + "\n", r"here, line 1"),
            ("A = " + "(" * 9_000 + "1" + ")" * 9_000 + "\n", r"here, line 1"),
            ("A = " + "1+" * 60_000 + "1\n", r"here, line 1"),
            ('{"A":' * 100_000, r"here: no ClassAd"),
            ('{"A": "\\/Expr(1; B=2)\\/"}', r"here.*"),
        ],
    )  # fmt: skip
    def test_refused_with_its_place(self, text: str, told: str) -> None:
        with pytest.raises(InputError, match=told):
            parse_ads(text, where="here")

    @pytest.mark.parametrize(
        ("name", "content", "told"),
        [
            ("photo.jpg", b"\xff\xd8\xff\xe0\x00\x10JFIF", "byte 0 is no UTF-8"),
            ("latin.ads", 'A = 1\nB = "Müller"\n'.encode("latin-1"), "byte 12 is no UTF-8"),
            ("short.xz", lzma.compress(b"A = 1\n" * 1000)[:40], "can't be read"),
            ("not.xz", b"A = 1\n", "can't be read"),
        ],
    )
    def test_files_that_are_no_text(self, tmp_path: Path, name: str, content: bytes, told: str) -> None:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=f"{name}.*{told}"):
            read_ads(tmp_path / name)

    def test_no_such_file(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="can't be read"):
            read_ads(tmp_path / "missing.ads")

    @pytest.mark.parametrize(
        ("text", "number"),
        [("5", 5), ("5.5", 5.5), ("2 * 4", 8), ("true", None), ('"5"', None), ('real("NaN")', None), ('real("INF")', None),
         ("1.0E+30", None), ("undefined", None), ("error", None), ("1/0", None), ("X", None), ("{ 1 }", None)],
    )  # fmt: skip
    def test_only_finite_numbers_are_numbers(self, text: str, number: float | None) -> None:
        assert number_of(parse_one(f"[ A = {text} ]"), "A") == number

    def test_the_first_that_is_usable(self) -> None:
        ad = parse_one('[ A = "x"; B = 2; C = ""; D = "d"; E = 1; F = true ]')
        assert number_of(ad, "A", "B") == 2
        assert text_of(ad, "B", "C", "D") == "d"
        assert flag_of(ad, "E") is False
        assert flag_of(ad, "E", "F") is True

    def test_a_loop_in_an_ad_harms_nobody(self) -> None:
        ad = parse_one("[ A = B; B = A; C = { A, D/0 }; E = { E }; F = { F, F } ]")
        assert [value_of(ad, name) for name in "AC"] == [None, [None, None]]
        for name in "EF":
            assert isinstance(value_of(ad, name), list)

    def test_json_values_that_no_ad_can_hold(self) -> None:
        for record in ({"A": 2**80}, {"A": "\ud800"}):
            with pytest.raises(InputError, match="here"):
                parse_ads(json.dumps([record]), where="here")


class TestPrinting:
    def keeps(self, ad: str) -> Ad:
        return parse_one(print_ad(parse_one(ad)))

    def test_a_jobs_own_attributes_stay(self) -> None:
        """Names that begin like the schedd's own are a user's right."""
        own = {
            "ExpectedRuntime": 3600, "LastName": "a  b", "LoadModules": "x\\ty", "ChildCare": 1, "StatsModel": "m",
            "ShadowRun": True, "RequirementClass": "c", "EnteredBy": "me", "NumTokens": None, "My_Data": 5, "ProjectName": "p",
        }  # fmt: skip
        job = ad_of_json({"ClusterId": 1, "ProcId": 0, **own})
        kept = parse_one(print_ad(job))
        expected = {name: value for name, value in own.items() if name not in {"EnteredBy", "NumTokens"}}
        assert {name: value_of(kept, name) for name in expected} == expected

    @pytest.mark.parametrize(
        "head", ['ClusterId = 1; Cmd = "/bin/x"', 'MyType = "Machine"; Name = "slot1@h"']
    )
    def test_no_secrets(self, head: str) -> None:
        secrets = (
            "Environment", "Env", "Arguments", "Args", "ClaimId", "PublicClaimId", "ClaimIdList", "ChildClaimIds", "PairedClaimId",
            "Capability", "_condor_PrivClaimId", "_condor_priv_x", "RemoteAdminCapability", "TransferKey", "x509userproxy",
            "OAuthToken", "MySecret", "DbPassword", "AuthTokenSubject",
        )  # fmt: skip
        told = "; ".join(f'{name} = "tops3cret"' for name in secrets)
        text = print_ad(parse_one(f"[ {head}; {told}; Kept = 1 ]"))
        assert "tops3cret" not in text
        assert "Kept = 1" in text
        assert "GPU_1 = [ Capability = 7.5 ]" in print_ad(parse_one("[ GPU_1 = [ Capability = 7.5 ] ]"))

    def test_two_updates_of_a_slot_are_one_text(self) -> None:
        slot = '[ Name = "s"; Cpus = 4; LastHeardFrom = %d; LoadAvg = %d.5; MyAddress = "<%d>"; TotalTimeUnclaimedIdle = %d ]'
        assert print_ad(parse_one(slot % ((1,) * 4))) == print_ad(parse_one(slot % ((2,) * 4)))

    def test_what_the_slots_own_policy_reads_stays(self) -> None:
        """START of a desktop pool would never be true without KeyboardIdle."""
        kept = self.keeps(
            '[ Name = "s"; Start = Idle; Idle = KeyboardIdle > 60; KeyboardIdle = 100; ConsoleIdle = 7 ]'
        )
        assert (value_of(kept, "Start"), value_of(kept, "ConsoleIdle")) == (True, None)

    def test_text_means_what_the_ad_meant(self) -> None:
        ad = parse_one(
            r'[ A = "two  blanks"; B = "a\nb\tc\\d\"e"; C = [ x = { 1,"y ] ;",[ z = "  " ] } ]; D = 0.1; E = "7.500000000000000E+00";'
            r' F = 1.5E-300; Q = A == "two  blanks" && regexp("\\.edu$", A); '
            r"'odd name' = 1 ]"
        )
        kept = parse_one(print_ad(ad))
        assert "\n" not in print_ad(ad)
        for name in ("A", "B", "D", "E", "F", "odd name"):
            assert value_of(kept, name) == value_of(ad, name)
        for name in ("C", "Q"):
            assert str(kept.lookup(name)) == str(ad.lookup(name))

    def test_real_slot_ads_survive(self, shared_data: Path) -> None:
        """Everything that is kept of 26 real ads is what it was."""
        for file in ("slots_idle.ads", "slots_busy.ads"):
            for ad in read_ads(shared_data / "pool" / file):
                kept = parse_one(print_ad(ad))
                assert len(kept) > 50
                for name in kept:
                    assert str(kept.lookup(name)) == str(ad.lookup(name)), name
