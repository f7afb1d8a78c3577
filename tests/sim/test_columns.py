"""Many ads at once say what each says alone."""

import random
from pathlib import Path

import htcondor2  # noqa: F401  before classad2 evaluates anything
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from sim.classads.ads import Ad, expression, parse_one, read_ads
from sim.classads.columns import Columns, inner_text
from sim.classads.view import View


def columns(ads: list[Ad]) -> Columns:
    return Columns.of(pa.array([inner_text(ad) for ad in ads], pa.large_string()))


ODD = [
    "[ ]",
    '[ Name = "a" ]',
    '[ NAME = "b"; Cpus = 1.5; Memory = "much"; Start = TARGET.X > Memory; Text = "x = 5; [ y ]  z"; Empty = "" ]',
    '[ Name = "c"; Cpus = Memory / 2; Memory = Disk * 4; Disk = 8; Off = Cpus > 3; Big = 1.0e20; Small = 5e-05 ]',
    '[ GPUs_a = [ Id = "A"; Inner = [ Deep = 1 ] ]; List = { 1, { 2, "two" } }; Odd = Odd; Un = undefined; Er = error ]',
    '[ Name = "d"; Requirements = LastHeardFrom > 3; LastHeardFrom = 5; MyAddress = "<1.2.3.4>"; ClaimId = "secret" ]',
    '[ Name = "quote \\" and \\\\ back"; \'odd name\' = 3; Cpus = real("NaN"); Memory = real("INF"); Text = "\\n        Cpus = 9" ]',
]


@pytest.fixture(params=["slots_busy.ads", "slots_idle.ads", "odd"])
def ads(request: pytest.FixtureRequest, shared_data: Path) -> list[Ad]:
    if request.param == "odd":
        return [parse_one(text) for text in ODD]
    return read_ads(shared_data / "pool" / request.param)


def test_as_each_ad_alone(ads: list[Ad]) -> None:
    views, told = [View(ad) for ad in ads], columns(ads)
    assert told.prints().to_pylist() == [view.print() for view in views]
    names = sorted({name for ad in ads for name in ad}, key=str.lower)
    for name in names:
        numbers = [view.number(name, "Cpus") for view in views]
        np.testing.assert_array_equal(told.numbers(name, "Cpus"), np.array(numbers, float), name)
        assert told.texts(name, "Name").tolist() == [view.text(name, "Name") for view in views], name
        assert told.flags(name).tolist() == [view.flag(name) for view in views], name
        assert told.sources(name).tolist() == [view.source(name) for view in views], name


def test_nested_ads(ads: list[Ad]) -> None:
    told = columns(ads)
    groups = told.group("gpus_")
    for row, ad in enumerate(ads):
        view = View(ad)
        names = view.names("gpus_")
        assert sorted(names) == [told.name(line) for line in groups.get(row, ())]
        for line in groups.get(row, ()):
            assert told.nested(row, line) == (view.nested(told.name(line)) or None)


def test_further_lines_count_where_an_ad_has_none(ads: list[Ad]) -> None:
    told = columns(ads)
    more = pa.array(['Name = "other"', "Extra = 7"], pa.large_string())
    rows = np.repeat(np.arange(told.n), 2)
    joined = told.joined(more, rows, np.tile([0, 1], told.n), {})
    assert joined.texts("Name").tolist() == [
        name if said is not None else "other"
        for name, said in zip(told.texts("Name"), told.sources("Name"), strict=True)
    ]
    assert joined.numbers("Extra").tolist() == [7.0] * told.n


def test_an_expression_of_the_time_is_evaluated_every_time() -> None:
    ads = [parse_one(f'[ Late = time() > {bound}; Name = "x" ]') for bound in (5, 99999999999)]
    assert columns(ads).flags("Late").tolist() == [True, False]
    seen = {columns([parse_one("[ Any = random(1000000) ]")]).numbers("Any")[0] for _ in range(20)}
    assert len(seen) > 1


def test_an_endless_expression_harms_nobody() -> None:
    """classad2 crashes on a chain of some 30,000 operators; here it is no value, and the rest is read."""
    ad = parse_one('[ Name = "a"; Cpus = 4; SlotWeight = Cpus ]')
    long = " + ".join(["1"] * 30_000)
    text = inner_text(ad).rstrip() + f";\n        Memory = {long}; \n        Disk = Memory"
    told = Columns.of(pa.array([text, inner_text(ad)], pa.large_string()))
    assert np.isnan(told.numbers("Memory")).all()
    assert np.isnan(told.numbers("Disk")).all()
    assert told.numbers("SlotWeight").tolist() == [4.0, 4.0]
    assert told.prints()[1].as_py() == View(ad).print()


def test_order_and_number_of_ads_change_nothing(ads: list[Ad]) -> None:
    chance = random.Random(1)
    many = [chance.choice(ads) for _ in range(3 * len(ads))]
    told, alone = columns(many), [columns([ad]) for ad in many]
    assert told.prints().to_pylist() == [one.prints()[0].as_py() for one in alone]
    assert told.texts("State").tolist() == [one.texts("State")[0] for one in alone]


def test_no_ads() -> None:
    told = columns([])
    assert (told.numbers("A").tolist(), told.texts("A").tolist(), told.prints().to_pylist()) == ([], [], [])
    assert told.group("gpus_") == {}


def test_expressions_that_read_each_other() -> None:
    ad = parse_one('[ Name = "a"; X = Y; Y = X; SlotWeight = X ]')
    ad["Cpus"] = expression("MY.Memory * 2")
    ad["Memory"] = 3
    told = columns([ad])
    assert (told.numbers("Cpus")[0], pd.isna(told.numbers("SlotWeight")[0])) == (6.0, True)


def test_more_names_than_a_short_number_tells_apart() -> None:
    told = columns([parse_one("[ " + "; ".join(f"N{number} = {number}" for number in range(40_000)) + " ]")])
    assert [told.numbers(name)[0] for name in ("n0", "n32768", "n39999")] == [0, 32768, 39999]
