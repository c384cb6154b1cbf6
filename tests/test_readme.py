"""What README promises: its code runs as written, its commands exist, its figures stand in a result file."""

import csv
import re
import shutil
import statistics
from pathlib import Path

import pytest

import blocks
from dnal.costs.budget import amount

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
MEASURED = (ROOT / "docs" / "measured.md").read_text(encoding="utf-8")
PYTHON, SH = ([b for b in blocks.blocks(ROOT / "README.md") if b.language == one] for one in ("python", "sh"))


@pytest.mark.parametrize("block", PYTHON, ids=lambda block: f"line{block.line}")
def test_python_blocks_run_as_written(block: blocks.Block, here: Path) -> None:
    blocks.run([block])


@pytest.mark.slow
@pytest.mark.parametrize("block", SH, ids=lambda block: f"line{block.line}")
def test_commands_run_as_written(block: blocks.Block, here: Path, finished: Path) -> None:
    """Beside the README's files, and a finished run in the place of RUN."""
    for word, package in (("sweep", "ray"), ("onnx", "onnxruntime")):
        if word in block.text:
            pytest.importorskip(package)
    shutil.copytree(finished, "RUN")
    blocks.run([*(other for other in blocks.blocks(ROOT / "README.md") if other.file is not None), block])


def test_the_second_block_ends_with_the_budget_met(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blocks.run([PYTHON[1]])
    assert 0.29 < float(capsys.readouterr().out.split()[-1]) <= 0.3


def test_commands_are_the_ones_that_ci_looks_for() -> None:
    assert SH[0].text.endswith("&& dnal learn\n")
    assert SH[1].text.startswith("python -m venv .venv-test ")


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


def rows_of(name: str) -> list[dict[str, str]]:
    return list(csv.DictReader((ROOT / "benchmarks" / name).open()))


def tables(section: str, text: str = MEASURED) -> list[dict[str, list[str]]]:
    """The tables of a section: the cells of each line by its first one."""
    found: list[dict[str, list[str]]] = []
    inside = False
    for line in text.partition(f"## {section}\n")[2].partition("\n## ")[0].splitlines():
        if not line.startswith("|"):
            inside = False
            continue
        if not inside:
            found.append({})
        inside = True
        first, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        found[-1][first.strip("`")] = cells
    return found


VGG, RESNET = "vgg16-quarter", "resnet20"
SHARES = ("50.0", "25.0", "10.0")


def means_of(suite: str) -> dict[tuple[str, str, str], str]:
    """The mean accuracy over seeds of each network, share and entry, as tables have it."""
    found: dict[tuple[str, str, str], list[float]] = {}
    for row in rows_of(f"results/{suite}.csv"):
        found.setdefault((row["network"], row["share"], row["entry"]), []).append(100 * float(row["accuracy"]))
    return {key: f"{statistics.mean(own):.1f}" for key, own in found.items() if len(own) == 3}


def test_the_headline_table_is_what_the_result_files_say() -> None:
    lines = [line.strip("|").split("|")[1:] for line in README.partition("## Does it pay?\n")[2].splitlines()
             if line.startswith(("| VGG16", "| the same", "| ResNet", "| 25 %", "| 10 %"))]  # fmt: skip
    places = [("one-cycle", VGG, "dnal"), ("trained", VGG, "obs"), ("trained", RESNET, "obs")]
    assert len(lines) == len(places) * len(SHARES)
    for number, cells in enumerate(lines):
        suite, network, default = places[number // len(SHARES)]
        means, share = means_of(suite), SHARES[number % len(SHARES)]
        for entry, cell in zip((default, "gates", "uniform", "magnitude", "scratch"), cells, strict=True):
            assert cell.strip() in ("", means.get((network, share, entry))), (suite, network, share, entry)


def test_tables_of_the_recipe_are_what_the_result_files_say() -> None:
    fresh, trained, *_ = tables("Does learning the widths pay?")
    for table, suite, networks, ours in (
        (fresh, "one-cycle", [VGG], "dnal"),
        (trained, "trained", [VGG, RESNET], "obs"),
    ):
        rows, means, told = rows_of(f"results/{suite}.csv"), means_of(suite), 0
        for line, cells in table.items():
            entry = line.partition("`")[0]
            if entry not in {row["entry"] for row in rows}:
                continue
            *accuracies, difference = cells
            assert accuracies == [means[network, share, entry] for network in networks for share in SHARES], line
            if entry != ours:
                gaps: dict[tuple[str, str], list[float]] = {}
                for row in rows:
                    if row["entry"] in (ours, entry):
                        sign = 1 if row["entry"] == ours else -1
                        gaps.setdefault((row["network"], row["seed"]), []).append(sign * 100 * float(row["accuracy"]))
                own = [sum(each) / len(SHARES) for each in gaps.values()]
                reach = {3: 4.302653, 6: 2.570582}[len(own)] / len(own) ** 0.5  # Student's t, 97.5 %
                mean, error = statistics.mean(own), statistics.stdev(own) * reach
                shown = [float(number) for number in re.findall(r"[-+]?[0-9.]+", difference)]
                assert shown == pytest.approx([mean, mean - error, mean + error], abs=0.06), line
                told += 1
        assert told >= 4


def test_it_is_short() -> None:
    assert len(README.splitlines()) <= 150


def test_tables_of_the_suite_cpu_are_what_the_result_file_says() -> None:
    rows = rows_of("results/cpu.csv")
    networks, shares, seeds = ("vgg16-quarter", "resnet20"), ("25.0", "10.0"), ("0", "1", "2")
    entries = {row["entry"] for row in rows}
    assert len(rows) == len(networks) * len(shares) * len(seeds) * len(entries) * 2
    found = {
        (row["network"], row["entry"], row["taught"], row["share"], row["seed"]): 100 * float(row["accuracy"])
        for row in rows
    }
    *accuracies, differences = tables("Does learning the widths pay?")[-3:]
    assert len(accuracies) == len(networks)
    reach = 2.570582 / 6**0.5  # Student's t of five degrees of freedom, 97.5 %
    firsts = 0
    for network, table in zip(networks, accuracies, strict=True):
        means = {
            entry: [
                statistics.mean(found[network, entry, taught, share, seed] for seed in seeds)
                for taught in "01"
                for share in shares
            ]
            for entry in entries
        }
        for entry, own in means.items():
            assert table[entry] == [f"{mean:.1f}" for mean in own], entry
        firsts += sum(max(entries, key=lambda entry, n=n: means[entry][n]) == "dnal" for n in range(4))  # type: ignore[misc]
    assert firsts == 6
    assert "first in six of the eight cells" in MEASURED
    for entry in entries - {"dnal"}:
        for taught, cell in zip("01", differences[entry][:2], strict=True):
            gaps = [
                statistics.mean(found[n, "dnal", taught, s, seed] - found[n, entry, taught, s, seed] for s in shares)
                for n in networks
                for seed in seeds
            ]
            mean, error = statistics.mean(gaps), statistics.stdev(gaps) * reach
            assert mean > 0
            shown = [float(number) for number in re.findall(r"[-+][0-9.]+", cell)]
            assert shown == pytest.approx([mean, mean - error, mean + error], abs=0.06), entry
    for entry in entries:
        own = [row for row in rows if row["entry"] == entry and not row["epochs"].startswith("0+")]
        if own:
            cost = statistics.mean(1 + float(row["choosing_seconds"]) / float(row["base_seconds"]) for row in own)
            assert float(differences[entry][2]) == pytest.approx(cost, abs=0.006), entry


def test_table_of_the_baselines_is_what_the_result_file_says() -> None:
    rows = rows_of("results/baselines.csv")
    found = {(r["entry"], r["taught"], r["share"], r["seed"]): 100 * float(r["accuracy"]) for r in rows}
    (table,) = tables("And against the tools from outside?")
    entries, shares, seeds = {row["entry"] for row in rows}, ("25.0", "10.0"), ("0", "1", "2")
    assert len(found) == len(rows) == len(entries) * len(shares) * len(seeds) * 2
    assert set(table) - {"", "---"} == entries
    reach = 4.302653 / 3**0.5  # Student's t of two degrees of freedom, 97.5 %
    means = {
        entry: [statistics.mean(found[entry, t, s, seed] for seed in seeds) for t in "01" for s in shares]
        for entry in entries
    }
    assert all(own[n] < means["dnal"][n] for entry, own in means.items() if entry != "dnal" for n in range(4))
    for entry, own in means.items():
        assert table[entry][:4] == [f"{mean:.1f}" for mean in own], entry
        if entry == "dnal":
            continue
        for taught, cell in zip("01", table[entry][4:], strict=True):
            gaps = [
                statistics.mean(found["dnal", taught, s, seed] - found[entry, taught, s, seed] for s in shares)
                for seed in seeds
            ]
            mean, error = statistics.mean(gaps), statistics.stdev(gaps) * reach
            shown = [float(number) for number in re.findall(r"[-+][0-9.]+", cell)]
            assert shown == pytest.approx([mean, mean - error, mean + error], abs=0.06), entry
    for entry in ("dnal", "fastnas"):
        own = [row for row in rows if row["entry"] == entry]
        cost = statistics.mean(1 + float(row["choosing_seconds"]) / float(row["base_seconds"]) for row in own)
        assert re.search(
            rf"`{entry}`,? (which measures every width of every layer, )?{cost:.1f}", " ".join(MEASURED.split())
        )
    least = min(float(row["used"]) for row in rows)
    assert f"Every row uses {100 * least:.1f} to 100 % of its budget" in " ".join(MEASURED.split())


def test_lead_of_the_earlier_comparison_is_what_the_result_file_says() -> None:
    rows = [row for row in rows_of("unbalanced_vgg.csv") if row["taught"] == "0"]
    ours, theirs = (
        statistics.mean(100 * float(row["accuracy"]) for row in rows if row["method"] == method)
        for method in ("dnal", "magnitude")
    )
    assert f"has `dnal` {ours - theirs:.1f} points before `magnitude`" in " ".join(MEASURED.split())


def test_digits_are_what_the_result_file_says() -> None:
    base, compact = (
        statistics.mean(100 * float(row[f"{which}_accuracy"]) for row in rows_of("digits.csv"))
        for which in ("base", "compact")
    )
    said = (
        f"the base reaches {base:.1f} % on the 540 test images, the compact network at 30 % of the MACs {compact:.1f} %"
    )
    assert said in " ".join(MEASURED.split())


def test_the_first_table_of_the_documentation_is_the_first_row_of_the_digits() -> None:
    row, text = rows_of("digits.csv")[0], (ROOT / "docs" / "start.md").read_text()
    for figure in ("macs", "params"):
        assert f"{amount(figure, float(row[f'compact_{figure}']))} " in text
    for which in ("base", "compact"):
        assert f"{100 * float(row[f'{which}_accuracy']):.2f} %" in text


def test_budgets_are_met_as_the_result_file_says() -> None:
    run = [row for row in rows_of("budgets_met.csv") if row["used"]]
    for kind, multiple, count, used in (("one", "1", 15, 0.999), ("one", "8", 13, 0.996), ("several", "1", 9, 0.999)):
        own = [row for row in run if (row["kind"], row["multiple"]) == (kind, multiple)]
        assert len(own) == count
        assert all(row["holds"] == "1" and used <= float(row["used"]) <= 1 and row["tight"] for row in own)
    assert all(0.935 <= float(row["hard_used"]) <= 1 and float(row["undecided"]) == 0 for row in run)


def test_depth_pays_as_the_result_file_says() -> None:
    widths, depth = ([r for r in rows_of("studies/depth.csv") if r["depth"] == on] for on in "01")
    gaps = [100 * (float(b["accuracy"]) - float(a["accuracy"])) for a, b in zip(widths, depth, strict=True)]
    assert (
        f"paired {statistics.mean(gaps):+.2f} points, standard error {statistics.stdev(gaps) / 3**0.5:.2f}" in MEASURED
    )
    times = [key for key in widths[0] if key.endswith(" ms") and "base" not in key]
    ratios = [float(a[key]) / float(b[key]) for a, b in zip(widths, depth, strict=True) for key in times]
    assert f"{min(ratios):.2f} to {max(ratios):.2f} times as fast" in MEASURED


def test_speed_is_what_the_result_file_says() -> None:
    rows = rows_of("realised_speed.csv")
    section = MEASURED.partition("## Does it become faster?")[2].partition("## ")[0]
    for row in rows:
        assert row["multiple"] == "16"
        assert row["speedup"] in section, row


def test_latency_is_predicted_as_the_result_file_says() -> None:
    rows = rows_of("latency_prediction.csv")
    section = " ".join(MEASURED.partition("## Does it become faster?")[2].partition("\n## ")[0].split())

    def ends(key: str, scale: float = 100.0) -> tuple[float, float]:
        values = [scale * float(row[key]) for row in rows]
        return min(values), max(values)

    assert "a median error of {:.1f} to {:.1f} %".format(*ends("error")) in section
    assert "misses by {:.1f} to {:.1f} %".format(*ends("macs_error")) in section
    low, high = (f"{value:.3f}".lstrip("0") for value in ends("rank_correlation", 1.0))
    assert f"a rank correlation of {low} to {high} in all {len(rows)} rows" in section
    liked, any_ = ([row for row in rows if row["multiple"] == multiple] for multiple in ("auto", "1"))
    assert all(2 * float(row["error"]) <= float(row["macs_error"]) for row in any_)
    assert f"twice as good as that line in all {len(any_)} rows" in section
    for own, words in ((liked, "at most 5 % away from it"), (any_, "at most 5 % above it")):
        kept = [float(value) for row in own for key, value in row.items() if key.startswith("latency<=") and value]
        near = sum(value <= 1.05 and (own is any_ or value >= 0.95) for value in kept)
        assert f"{100 * min(kept):.0f} to {100 * max(kept):.0f} %" in section
        assert f"{near} of {len(kept)} {words}" in section


def of_networks() -> str:
    return " ".join(MEASURED.partition("## On which networks?")[2].partition("\n## ")[0].split())


def test_networks_of_the_list_are_exact_as_the_result_file_says() -> None:
    rows, section = rows_of("coverage.csv"), of_networks()
    exact = [row for row in rows if row["dnal status"] == "exact"]
    frozen = [row for row in rows if row["dnal status"] == "frozen"]
    assert len(exact) + len(frozen) == len(rows)
    assert all(row["dnal fixed_because"] for row in frozen)
    enough = [row for row in exact if float(row["dnal removable_share"]) >= 0.85]
    least = min(exact, key=lambda row: float(row["dnal removable_share"]))
    assert f"{len(rows)} torchvision and timm networks" in section
    assert f"{len(exact)} compact networks equal the original" in section
    assert f"{len(frozen)} have nothing that can leave and say why, none fails" in section
    assert f"in layers that can shrink in {len(enough)} of them" in section
    assert f"({least['network'].rpartition('/')[2]} {100 * float(least['dnal removable_share']):.0f} %)" in section


def test_networks_as_people_have_them_hold_as_the_result_file_says() -> None:
    rows, section = rows_of("coverage_people.csv"), of_networks()
    lines = (ROOT / "benchmarks" / "coverage_people.txt").read_text().splitlines()
    listed = {name for line in lines if (name := line.partition("#")[0].strip())}
    assert {row["network"] for row in rows} == listed
    of = {status: [row for row in rows if row["status"] == status] for status in {row["status"] for row in rows}}
    hold = of["all hold"]
    assert set(of) == {"all hold", "nothing varies", "refused"}
    assert f"{len(rows)} networks as people have them" in section
    assert f"In {len(hold)} all holds" in section
    for check in ("exact", "macs", "eval_mode", "deep_copy", "second_round"):
        assert {row[check] for row in hold} == {"yes"}, check
    assert {row["training_step"] for row in hold} == {"equal"}
    branches = [row for row in hold if row["without_branches"] != "none offered"]
    assert {row["without_branches"] for row in branches} == {"yes"}
    assert f"where it has any that may go ({len(branches)})" in section
    leave = [row for row in hold if row["export"] == "pt2"]
    assert {row["export"] for row in hold if row not in leave} == {"nor the original"}
    assert f"{len(leave)} leave as torch.export programs; of the other {len(hold) - len(leave)} the original" in section
    assert f"In {len(of['nothing varies'])} nothing varies" in section
    assert f"{len(of['refused'])} is refused in a sentence" in section


def test_compact_networks_leave_as_the_result_file_says() -> None:
    rows = rows_of("export_zoo.csv")
    equal = [row for row in rows if row["status"] == "equal"]
    largest = max(float(row[f"difference at {batch}"]) for row in equal for batch in (1, 8))
    networks = {row["network"] for row in equal}
    assert networks == {row["network"] for row in equal if row["format"] == "onnx"}
    section = MEASURED.partition("## Where does it run?")[2].partition("## ")[0]
    assert f"{len(networks)} compact networks" in section
    assert f"{largest:.0e}".replace("e-0", "e-") in section
    assert all(f"`{row['network'].rpartition('/')[2]}`" in section for row in rows if row["status"] != "equal")


def test_supernets_lead_as_the_result_files_say() -> None:
    section = " ".join(MEASURED.partition("## And which operations?")[2].partition("\n## ")[0].split())
    own: dict[str, dict[str, list[float]]] = {}
    for row in rows_of("studies/supernet-search.csv"):
        if row["accuracy"]:
            kind = re.sub(r"^random \d$", "random", row["name"])
            own.setdefault(kind, {}).setdefault(row["seed"], []).append(100 * float(row["accuracy"]))
    learnt, *others = (
        {seed: statistics.mean(found) for seed, found in own[kind].items()}
        for kind in ("learnt 2+2+8", "uniform", "random")
    )
    assert f"reaches {statistics.mean(learnt.values()):.1f} %" in section
    for other in others:
        gaps = [learnt[seed] - found for seed, found in other.items()]
        error = statistics.stdev(gaps) / len(gaps) ** 0.5
        assert len(gaps) == 9
        assert f"{statistics.mean(other.values()):.1f} % (" in section
        assert f"+{statistics.mean(gaps):.1f}, standard error {error:.1f}" in section.replace("paired ", "")
    (run, *_) = rows_of("proxyless_cifar.csv")
    seconds = sum(int(run[f"{phase}_s"]) for phase in ("base", "architecture", "retrain"))
    first = sum(map(int, run["first_epochs_s"].split("+")))
    assert f"{100 * int(run['macs']) / int(run['base_macs']):.1f} % of the MACs" in section
    assert f"{100 * float(run['accuracy']):.1f} % accuracy" in section
    assert f"{100 * float(run['base_accuracy']):.1f} % after" in section
    assert f"{seconds} seconds of training in all, {first} of them" in section
