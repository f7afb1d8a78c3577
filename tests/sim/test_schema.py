"""A frame has the columns, order and types of its table, or is refused with the place."""

import csv
from pathlib import Path

import pandas as pd
import pytest

import sim.schema
from sim.errors import FrameError
from sim.schema import DTYPES, conform, describe, empty, frames

FOLDER = Path(sim.schema.__file__).parent
WAIT = {"by": "all", "group": "all", "q": 0.9, "n": 3, "n_censored": 1}


class TestTables:
    def test_every_table_is_a_frame(self) -> None:
        assert set(frames()) == {path.stem for path in FOLDER.glob("*.csv")}

    @pytest.mark.parametrize("name", frames())
    def test_rows_say_what_they_must(self, name: str) -> None:
        with (FOLDER / f"{name}.csv").open(encoding="utf-8") as file:
            rows = list(csv.reader(file))
        assert rows[0] == ["column", "dtype", "unit", "required", "source", "meaning"]
        assert all(len(row) == 6 for row in rows)
        assert len({row[0] for row in rows}) == len(rows)
        for column in describe(name):
            assert column.dtype in DTYPES
            assert column.meaning
            assert (column.unit == "UTC") == (column.dtype == "time")

    @pytest.mark.parametrize("name", frames())
    def test_names_tell_units(self, name: str) -> None:
        """Seconds, MiB and moments are the suffix of a name (design §3)."""
        suffixes = {"s": "_s", "MiB": "_mib", "UTC": "_at"}
        for column in describe(name):
            if column.unit in suffixes:
                assert column.name.endswith(suffixes[column.unit]), column.name

    @pytest.mark.parametrize("name", frames())
    def test_empty(self, name: str) -> None:
        frame = empty(name)
        assert len(frame) == 0
        assert [(str(column), str(dtype)) for column, dtype in frame.dtypes.items()] == [
            (column.name, DTYPES[column.dtype]) for column in describe(name)
        ]

    def test_unknown_frame(self) -> None:
        with pytest.raises(FrameError, match=r"no frame is called 'slot'; there are attempts, .*slots"):
            describe("slot")


class TestConform:
    def test_order_types_and_what_is_missing(self) -> None:
        frame = conform(
            pd.DataFrame([{"n": 3.0, "extra": 1, **{k: v for k, v in WAIT.items() if k != "n"}}]), "waits"
        )
        assert frame.columns.tolist() == ["by", "group", "q", "wait_s", "low_s", "high_s", "n", "n_censored"]
        assert (str(frame["n"].dtype), frame["n"][0]) == ("Int64", 3)
        assert frame["wait_s"].isna().all()

    def test_index_is_made_new_and_the_input_left_alone(self) -> None:
        given = pd.DataFrame([WAIT, {**WAIT, "n": 4}], index=[7, 7])
        assert conform(given, "waits").index.tolist() == [0, 1]
        assert given.index.tolist() == [7, 7]

    def test_twice_is_once(self) -> None:
        once = conform(pd.DataFrame([WAIT]), "waits")
        pd.testing.assert_frame_equal(conform(once, "waits"), once)

    @pytest.mark.parametrize(
        "told", ["2026-11-24T13:00:00+01:00", pd.Timestamp("2026-11-24 12:00", tz="UTC"), pd.Timestamp("2026-11-24 12:00")]
    )  # fmt: skip
    def test_times_become_utc(self, told: object) -> None:
        cycle = {"negotiator": "n", "started_at": told, "duration_s": 1, "matched": 0, "rejected": 0}
        frame = conform(pd.DataFrame([cycle]), "cycles")
        assert frame["started_at"].tolist() == [pd.Timestamp("2026-11-24 12:00", tz="UTC")]
        assert frame["ended_at"].isna().all()

    @pytest.mark.parametrize(
        ("wrong", "message"),
        [
            ({"q": None}, r"frame 'waits', row 1: required column 'q' is missing a value"),
            ({"n": "many"}, r"frame 'waits', column 'n': expected int"),
            ({"n": 2.5}, r"frame 'waits', column 'n': expected int"),
            ({"q": "high"}, r"frame 'waits', column 'q': expected float"),
        ],
    )
    def test_refused_with_its_place(self, wrong: dict[str, object], message: str) -> None:
        with pytest.raises(FrameError, match=message):
            conform(pd.DataFrame([WAIT, {**WAIT, **wrong}]), "waits")

    def test_all_absent_columns_at_once(self) -> None:
        with pytest.raises(FrameError, match=r"frame 'waits' lacks the columns by, group, q, n$"):
            conform(pd.DataFrame({"n_censored": [1]}), "waits")
        with pytest.raises(FrameError, match=r"lacks the column by$"):
            conform(pd.DataFrame([WAIT]).drop(columns="by"), "waits")
