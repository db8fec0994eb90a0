"""The benchmarks run, refuse what did not do its work, and put their results where they belong."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import document, ground, judging, snapshots, table, targets
from benchmarks.results import Book, Measured
from tests.conftest import ROOT
from tests.factories.orders import Place


def bench(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments],
        cwd=ROOT,
        env=os.environ | {"SHOP_VAR": str(folder), "SHOP_FSYNC": "off"},
        capture_output=True,
        text=True,
        check=False,
    )


def results_of(done: subprocess.CompletedProcess[str], folder: Path) -> Any:
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads((folder / "bench" / "results.json").read_text())


@pytest.mark.timeout(180)
def test_what_was_measured_is_kept_and_gone_on_with(tmp_path: Path) -> None:
    asked = ("--only", "e", "--contenders", "plain", "--relay-events", "20", "--stored", "100")
    before = results_of(bench(tmp_path, *asked, "--rounds", "1"), tmp_path)
    for other, why in (
        (("--orders", "7"), "cannot resume what was measured with other orders"),
        (("--rounds", "2"), "cannot resume: there is a history now, and 1 rounds without one"),
    ):
        refused = bench(tmp_path, *asked, "--rounds", "1", *other, "--resume")
        assert (refused.returncode, refused.stderr) == (1, f"benchmark: {why}\n")
    kept = before | {
        "measured": [one for one in before["measured"] if (one["stored"], one["who"]) != (100, "starts")],
        "done": [one for one in before["done"] if one != [100, 0, "starts"]],
    }
    assert len(kept["done"]) == len(kept["measured"]) == 5
    (tmp_path / "bench" / "results.json").write_text(json.dumps(kept))
    after = results_of(bench(tmp_path, *asked, "--rounds", "1", "--resume"), tmp_path)
    assert after["measured"][:5] == kept["measured"]
    assert [(one["stored"], one["who"]) for one in after["measured"][5:]] == [(100, "starts")]
    assert sorted(after["done"]) == sorted(before["done"])
    assert after["history"] == before["history"]


def test_there_has_to_be_something_to_resume(tmp_path: Path) -> None:
    refused = bench(tmp_path, "--resume", "--quick")
    assert refused.returncode == 1
    assert "benchmark: nothing to resume" in refused.stderr


def test_a_small_run_measures_and_writes_everything_down(tmp_path: Path) -> None:
    done = bench(
        tmp_path,
        *("--only", "a,e", "--contenders", "plain,orm-floor,sql-floor"),
        *("--rounds", "1", "--orders", "10", "--relay-events", "20"),
    )
    found = results_of(done, tmp_path)
    assert {(one["what"], one["who"]) for one in found["measured"]} == {
        ("throughput", "plain"),
        ("throughput", "orm-floor"),
        ("throughput", "sql-floor"),
        ("relay", "starts"),
        ("relay", "deliveries"),
        ("machine", "loop"),
    }
    figures = [figure for one in found["measured"] for figure in one["figures"].items()]
    # The kernel counts time computed in ticks of 10 ms: ten orders by SQL may be none of them.
    assert all(value > 0 or (name == "CPU an order (ms)" and value == 0) for name, value in figures)
    assert found["memory_kb"]["plain"]["plain 0"] > 10_000
    assert (tmp_path / "bench" / "results.svg").stat().st_size > 1000
    assert "| throughput | plain function, 1 process |" in (tmp_path / "bench" / "results.md").read_text()


def test_a_contender_that_did_nothing_is_refused(place: Place) -> None:
    before = ground.mark()
    order = place(lines=(("MUG", 2), ("TRAY", 1)))
    with pytest.raises(judging.WrongRows) as refused:
        judging.judge("the idle one", ground.read([str(order.id)]), before, with_journal=True)
    told = str(refused.value)
    assert "the idle one did not do its work" in told
    for wrong in (
        "orders confirmed: 0 instead of 1",
        "payments_payment: 0 new rows instead of 1",
        "sagas_run: 0 new rows instead of 1",
    ):
        assert wrong in told


def two_rounds() -> Book:
    book = Book(facts=dict.fromkeys(
        ("at", "processor", "kernel", "cores", "memory_gb", "python", "postgresql", "fsync", "django", "celery", "dbos",
         "orders", "rounds",
         "batch_size", "load_before"), 1) | {"stored": 0}
    )  # fmt: skip
    for number, (ours, dbos) in enumerate([(300.0, 20.0), (100.0, 25.0), (200.0, 10.0)]):
        for who, rate in (("ours", ours), ("dbos-queue", dbos)):
            figures = {"orders a second": rate}
            book.measured.append(Measured(what="throughput", who=who, figures=figures, round=number))
    return book


def test_a_target_compares_figures_of_the_same_round() -> None:
    (result,) = targets.results(two_rounds())
    assert (result.median, result.least, result.most, result.reached) == (15.0, 4.0, 20.0, True)
    assert table.target_rows(two_rounds()) == [
        ["throughput: the shop ÷ DBOS queue", "≥ 10", "15.0 (4.00 to 20.0)", "reached"]
    ]


def test_what_a_history_costs_is_compared_with_the_same_round_without_one() -> None:
    book = two_rounds()
    for number, rate in enumerate([270.0, 100.0, 150.0]):
        figures = {"orders a second": rate}
        book.measured.append(Measured(what="throughput", who="ours", figures=figures, round=number, stored=1000))
    (decay,) = [result for result in targets.results(book) if result.target.against_empty]
    assert (decay.stored, decay.median, decay.least, decay.most, decay.reached) == (1000, 0.9, 0.75, 1.0, True)


def test_a_figure_that_was_nothing_without_a_history_is_compared_with_nothing() -> None:
    book = two_rounds()
    book.facts["stored"] = 1000
    for stored, rate in ((0, 0.0), (1000, 2.0)):
        figures = {"at rest: transactions/s": rate}
        book.measured.append(Measured(what="telling", who="wal", figures=figures, round=0, stored=stored))
    (row,) = [row for row in table.rows(book) if row[0] == "telling"]
    assert row[-1] == "-"


def test_results_go_between_the_marks_of_a_page_and_nowhere_else(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{document.BEGIN}\nold\n{document.END}\nafter\n")
    document.write(two_rounds(), page)
    once = page.read_text()
    document.write(two_rounds(), page)
    assert page.read_text() == once
    assert once.startswith(f"before\n{document.BEGIN}\n\n![")
    assert once.endswith(f"\n{document.END}\nafter\n")
    assert "old" not in once
    assert "| throughput | the shop | orders a second | 200 (100 to 300) |" in once
    assert (tmp_path / "images" / "benchmarks.svg").exists()


def test_a_page_without_marks_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("no place\n")
    with pytest.raises(SystemExit, match="has no place for the results"):
        document.write(two_rounds(), page)
    assert page.read_text() == "no place\n"


@pytest.mark.usefixtures("transactional_db")
def test_snapshots_are_measured_at_each_length_in_each_way() -> None:
    measured = snapshots.measure(lengths=(5, 60), rounds=2, others=50)
    assert [(one.kind, one.length, sorted(one.ms)) for one in measured] == [
        ("stays small", 5, ["all", "snapshot"]),
        ("stays small", 60, ["all", "rest", "snapshot"]),
        ("grows with it", 5, ["all", "snapshot"]),
        ("grows with it", 60, ["all", "rest", "snapshot"]),
    ]
    assert measured[1].bytes < measured[3].bytes
    assert snapshots.table(measured).count("\n| ") == 5


@pytest.mark.parametrize(
    ("gains", "expected"),
    [([-1.0, -0.5, 0.5, 3.0], 75.0), ([-1.0, 2.0, -1.0, 1.0], 300.0), ([0.5, 1.0, 1.0, 1.0], 5.0), ([1.0, -1.0], None)],
)
def test_a_snapshot_pays_from_the_length_behind_which_it_never_loses(
    gains: list[float], expected: float | None
) -> None:
    measured = [
        snapshots.Measured(kind="k", length=length, bytes=0, ms={"all": 5.0, "snapshot": 5.0 - gain})
        for length, gain in zip((5, 50, 100, 500), gains, strict=False)
    ]
    assert snapshots.pays_from(measured, "k", "snapshot") == expected
