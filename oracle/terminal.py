"""What a person sees in the terminal: answers, tables, an explanation."""

from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from oracle.verdict import Verdict

if TYPE_CHECKING:
    from oracle.accuracy import Atlas
    from oracle.calibration import Calibration
    from oracle.explain import Explanation, Step
    from oracle.mutants.detection import Detection
    from oracle.report import Report

#: Failing rows shown; the rest is in the report.
SHOWN = 12
#: How the lines of a diagnosis look, by their kind.
_ADVICE = {"far": "dim", "what": "bold", "effect": "red", "formula": "green"}


def _verdict(verdict: str) -> Text:
    """Red fails; yellow differs and is no error."""
    return Text(verdict, style="bold red" if Verdict(verdict).fails else "green" if verdict == Verdict.AGREE else "yellow")


def _number(value: float) -> str:
    return "" if value is None or np.isnan(value) else f"{value:.3g}"


def _table(title: str, left: tuple[str, ...], right: tuple[str, ...] = ()) -> Table:
    table = Table(title=title or None, title_justify="left", title_style="bold", header_style="dim", box=None, pad_edge=False)
    for name in left:
        table.add_column(name, overflow="fold")
    for name in right:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def show_report(console: Console, report: "Report") -> None:
    """The answer, the trainings, what fails, and for each diagnosed case where to look and how to repeat it."""
    from oracle.report.model import KIND
    from oracle.report.text import clip
    from oracle.report.words import answer, reasons, remarks
    from oracle.tables import LAYERWISE

    console.print(Text(("✓ " if report.ok else "✗ ") + answer(report), style="bold green" if report.ok else "bold red"))
    for reason in reasons(report):
        console.print(Text(f"  {clip(reason, 1000)}", style="red"))
    for remark in remarks(report.table):
        console.print(Text(f"  {clip(remark)}", style="yellow"))
    if report.curves:
        table = _table("\nReal data, by hand against torch.optim.SGD", ("data", "dtype"), ("steps", "loss differs by", "result"))
        for curve in report.curves:
            table.add_row(
                curve.data, curve.dtype, str(curve.steps), _number(curve.max_loss_difference), f"{curve.metric} {curve.score:.3g}"
            )
        console.print(table)
    failing = report.shown_first
    if failing.empty:
        return
    _show_layers(console, report)
    rows = failing.drop_duplicates(KIND).head(SHOWN)
    both = ": layerwise, a layer's own fault; end to end, its own or inherited"
    console.print(f"\nWhat fails{both if (report.table['comparison'] == LAYERWISE).any() else ''}", style="bold")
    for row in rows.to_dict("records"):
        console.print(f"  {clip(row['case'])}", soft_wrap=True, highlight=False, markup=False)
        where = f"    layer {row['layer']} {clip(row['module'])}, {row['comparison']}: {row['symbol']} "
        console.print(Text.assemble(where, _verdict(row["verdict"])), soft_wrap=True)
        seen = f"by hand {row['candidate']:.3g}, autograd {row['reference']:.3g} at {row['worst_index']}"
        off = f"{_number(row['sigmas'])} sigmas off"
        details = [off] * (row["sigmas"] > 0) + [seen] * bool(row["worst_index"]) + [clip(row["note"])] * bool(row["note"])
        console.print(f"      {'; '.join(details)}", style="dim", soft_wrap=True, highlight=False, markup=False)
    if len(failing) > len(rows):
        console.print(f"  and {len(failing) - len(rows):,} rows more", style="dim", highlight=False)
    for advice in report.diagnoses:
        console.rule(style="red")
        console.print(Text(advice.location, style="bold red"))
        console.print(Text(f"  {advice.case}", style="dim"), soft_wrap=True)
        for kind, text in advice.lines[1:]:
            for line in Text(text, style=_ADVICE.get(kind, "")).wrap(console, max(console.width - 2, 20)):
                line.rstrip()
                console.print(Text("  ") + line, soft_wrap=True)
        _show_command(console, "  To see it again:", report.repeat(advice.case))
    if not report.diagnoses:
        _show_command(console, "\nTo repeat the first:", report.repeat(failing.iloc[0]["case"]))
    elif report.undiagnosed:
        console.print(f"\nFailing cases beyond these, not diagnosed: {report.undiagnosed:,}", style="dim", highlight=False)


def _show_layers(console: Console, report: "Report") -> None:
    """One line a layer: whose fault it is, and the worst of each comparison in sigmas."""
    from oracle.report.grid import layer_by_quantity
    from oracle.report.text import clip

    layers = layer_by_quantity(report)
    table = _table("", ("layer", "so"), layers.comparisons)
    for layer in layers.layers:
        so = Text(layer.reading, style="green" if layer.reading == "agrees" else "bold red")
        table.add_row(clip(layer.name, 60), so, *(layer.worst(comparison).shown for comparison in layers.comparisons))
    if layers:
        console.print("\nThe worst of each layer in sigmas", style="bold")
        console.print(table)


def _show_command(console: Console, title: str, command: str) -> None:
    """A command on a line of its own, unbroken, to be copied."""
    if command:
        console.print(title, style="bold")
        console.print(f"  {command}", soft_wrap=True, highlight=False, markup=False)


def show_cases(console: Console, report: "Report") -> None:
    """Every row of every case, end to end and layerwise."""
    from oracle.tables import TRAINING

    for (case, comparison), part in report.table.groupby(["case", "comparison"], observed=True, sort=False):
        if comparison == TRAINING:
            continue  # two hundred tables; the report has them
        table = _table(f"\n{case}, {comparison}", ("layer", "quantity", "shape"), ("discrepancy", "ulps", "sigmas"))
        table.add_column("verdict")
        for row in part.to_dict("records"):
            table.add_row(
                f"{row['layer']} {row['module']}", row["symbol"], row["shape"], _number(row["max_abs"]),
                _number(row["max_ulp"]), _number(row["sigmas"]), _verdict(row["verdict"]),
            )  # fmt: skip
        console.print(table)
        for note in dict.fromkeys(part["note"]):
            if note:
                symbols = ", ".join(part.loc[part["note"] == note, "symbol"])
                console.print(f"  {note}: {symbols}", style="yellow", highlight=False)


def show_atlas(console: Console, atlas: "Atlas") -> None:
    """Whether the criteria hold, how we stand beside torch, where we miss and where torch is most wrong."""
    from oracle.accuracy.page import at, told_apart, ulps

    console.print(Text(("✓ " if atlas.ok else "✗ ") + atlas.answer, style="bold green" if atlas.ok else "bold red"))
    console.print(Text(atlas.sentence, style="bold red" if atlas.above else "bold"))
    for dtype in atlas.dtypes:
        counts = ", ".join(f"{count} {name}" for name, count in atlas.standings(dtype).items())
        console.print(f"  {dtype}: {counts}", highlight=False)

    def places(title: str, side: str, entries: list[tuple[Any, str]]) -> None:
        if entries:
            console.print(f"\n{title}", style="bold")
        for measured, name in entries[:SHOWN]:
            error, place = getattr(measured, f"{side}_{name}_ulp"), measured.where.get(f"{side}_{name}")
            console.print(f"  {measured.name}, {name}: {ulps(error)} ulps", soft_wrap=True, highlight=False)
            seen = measured.note
            if place:
                told = told_apart(place)
                seen = f"at {at(place)}: truth {told['truth']}, by hand {told['ours']}, torch {told['torch']}"
            console.print(f"      {seen}", style="dim", soft_wrap=True, highlight=False)
        if len(entries) > SHOWN:
            console.print(f"  and {len(entries) - SHOWN:,} more", style="dim")

    missed = [(each, name) for each in atlas.misses for name in ("value", "derivative") if not getattr(each, f"{name}_holds")]
    places("By hand above the criterion", "ours", missed)
    places("Where torch is most wrong", "torch", list(atlas.torch_most_wrong))
    if atlas.unmeasured:
        console.print(f"\nNot measured, since the referee has no definition: {'; '.join(atlas.unmeasured)}.", soft_wrap=True)


def show_calibration(console: Console, calibration: "Calibration") -> None:
    """Whether anything raised an alarm, whether the scale fits, and what raised the alarms."""
    from oracle.calibration.page import brief

    console.print(
        Text(("✓ " if calibration.ok else "✗ ") + calibration.answer, style="bold green" if calibration.ok else "bold red")
    )
    console.print(Text(calibration.sentence), soft_wrap=True)
    table = _table(
        "\nSigmas of the arrays that are not equal to the last bit", ("dtype",),
        ("arrays", "apart", "median", "99.9 %", "largest", "below half"),
    )  # fmt: skip
    for dtype, found in calibration.figures.items():
        counts = (f"{found[name]:,}" for name in ("arrays", "apart"))
        sigmas = (_number(found[name]) for name in ("median", "p999", "max"))
        table.add_row(dtype, *counts, *sigmas, f"{found['share_below_half']:.3%}", style="" if found["fits"] else "red")
    console.print(table)
    alarms = calibration.alarms
    if not alarms:
        return
    console.print("\nAlarms", style="bold")
    for row in alarms[:SHOWN]:
        where = f"  layer {row.layer} {brief(row.module)}, {row.comparison}: {row.symbol} " if row.module else f"  {row.case} "
        console.print(Text.assemble(where, _verdict(row.verdict), f" {_number(row.sigmas)} sigmas" * (row.sigmas == row.sigmas)))
        console.print(
            f"      {'; '.join([calibration.repeat(row)] + [row.note] * bool(row.note))}",
            style="dim",
            soft_wrap=True,
            highlight=False,
        )
    if len(alarms) > SHOWN:
        console.print(f"  and {len(alarms) - SHOWN:,} more", style="dim")


def show_mutants(console: Console, detection: "Detection") -> None:
    """The answer, the counts, what is missed or misnamed; beside it the other tools and the smallest visible error."""
    from oracle.mutants.page import eps, percent, times

    console.print(Text(("✓ " if detection.ok else "✗ ") + detection.answer, style="bold green" if detection.ok else "bold red"))
    table = _table("\nPlanted mistakes", ("",), tuple(detection.dtypes))
    for name, counts in detection.counts.items():
        table.add_row(name.replace("_", " "), *(f"{count:,}" for count in counts.values()))
    table.add_row("named, of the found", *(percent(detection.share_named([dtype])) for dtype in detection.dtypes))
    console.print(table)
    from oracle.mutants.trial import Outcome

    for title, outcome in (("Missed", Outcome.MISSED), ("Misnamed", Outcome.MISNAMED), ("Not named", Outcome.UNMATCHED)):
        trials = detection.which(outcome)
        if trials:
            console.print(f"\n{title}", style="bold")
        for each in detection.listed(trials[:SHOWN]):
            console.print(f"  {each['mistake']}, position {each['position']}, {each['module']}", soft_wrap=True, highlight=False)
            console.print(f"      {each['command']}", style="dim", soft_wrap=True, highlight=False)
        if len(trials) > SHOWN:
            console.print(f"  and {len(trials) - SHOWN:,} more", style="dim")
    for row in detection.found.alarms[:SHOWN]:
        text = f"\nFalse alarm: {row.case}, {row.comparison}, {row.symbol}: {row.verdict}"
        console.print(text, soft_wrap=True, highlight=False)
    if detection.comparison:
        table = _table("\nBeside what people use", ("tool", "dtype"), ("found", "false alarms", "named", "time"))
        for line in detection.comparison:
            table.add_row(
                line.tool, line.dtype, f"{line.found} of {line.planted}", f"{line.alarms} of {line.correct}", str(line.named),
                times(line.ratio),
            )  # fmt: skip
        console.print(table)
    if detection.smallest:
        table = _table("\nThe smallest visible error", ("dtype", "elements"), ("half found at", "all found at", "asked for"))
        for tried in detection.smallest:
            table.add_row(tried.dtype, tried.kind, eps(tried.half), eps(tried.every), eps(tried.goal) if tried.goal else "")
        console.print(table)


def _array(values: Any, width: int = 75) -> str:
    if values is None:
        return "not given"
    return np.array2string(
        np.asarray(values), precision=4, threshold=60, edgeitems=3, floatmode="maxprec_equal", max_line_width=max(width, 20)
    )


def _side_by_side(step: "Step", width: int) -> Table:
    """Both sides and their discrepancy in one row; below each other where the terminal is too narrow for that."""
    hand, torch = (Text(_array(side, width - 16), no_wrap=True) for side in (step.by_hand, step.autograd))
    mark = Text.assemble(_number(step.row.max_abs), " ", _verdict(step.row.verdict))
    cells = [("by hand", hand), ("autograd", torch), ("discrepancy", mark)]
    fits = sum(max(map(len, [name, *cell.plain.split("\n")])) + 3 for name, cell in cells) < width
    grid = Table.grid(padding=(0, 3), pad_edge=False)
    if fits:
        grid.add_row(*(Text(name, style="dim") for name, _ in cells))
        grid.add_row(*(cell for _, cell in cells))
    else:
        for name, cell in cells:
            grid.add_row(Text(name, style="dim"), cell)
    return grid


def show_explanation(console: Console, explanation: "Explanation", nodes: list[tuple[str, str, float]]) -> None:
    """Each step: its formula, then both sides and how far they are apart."""
    case = explanation.case
    console.print(Text(f"{case.name}: L = {case.network.depth}, batch {case.x.shape[-1]}, {case.dtype}", style="bold"))
    console.print("One column per sample. By hand is manualbp, autograd is torch.\n", style="dim")
    for name, values in _given(case):
        grid = Table.grid(padding=(0, 2))
        grid.add_row(Text(name, style="cyan"), _array(values, console.width - 8))
        console.print(grid)
    part = ""
    for step in explanation.steps:
        if step.part != part:
            part = step.part
            console.rule(part, align="left", style="dim")
        console.print(Text.assemble((step.symbol, "bold cyan"), " = ", step.formula), soft_wrap=True)
        console.print(_side_by_side(step, console.width))
    if nodes:
        console.rule("Node by node", align="left", style="dim")
        for name, formula, value in nodes:
            console.print(Text.assemble((name, "bold cyan"), " = ", formula, " = ", (f"{value:.5f}", "bold")), soft_wrap=True)
    console.rule("Update", align="left", style="dim")
    before, after = explanation.loss_before, explanation.loss_after
    console.print(f"w <- w - alpha dC/dw,  b <- b - alpha dC/db  with alpha = {explanation.alpha:g}", highlight=False)
    if before is None or after is None:
        console.print("not every gradient is given: there is no update", style="red")
    elif after < before:
        console.print(f"C falls from {before:.6g} to {after:.6g}", highlight=False)
    else:
        console.print(f"C goes from {before:.6g} to {after:.6g}: the step is too long, or the gradient wrong", highlight=False)


def _given(case: Any) -> list[tuple[str, Any]]:
    """The numbers a case starts from, by the notes' symbols."""
    named = [("x", case.x), ("y", case.target)]
    for layer, number, own in zip(case.network.layers, case.network.numbers, case.params, strict=True):
        named += [(f"{layer.symbols.get(name, name)}[{number}]", value) for name, value in own.items()]
    return named
