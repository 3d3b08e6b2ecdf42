"use strict";
// One case: what it looks like, its layers with end to end beside layerwise, the worst element of each array.

/** What shows the case of this number in the list of cases. */
function caseView(report, code) {
  const { text, verdict, columns, numbers } = report;
  const rows = [];
  columns.case.codes.forEach((found, row) => found === code && rows.push(row));
  const failing = rows.filter((row) => verdict(row).fails).length;
  const heading = (...titles) => make("thead", {}, make("tr", {}, ...titles.map(([title, kind = ""]) => make("th", { scope: "col", class: kind }, title))));
  const scrolled = (label, inner) => make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": label }, inner);
  const soft = (told) => make("p", { class: "soft" }, told);

  function chip(row) {
    const told = `${verdict(row).name}, ${short(numbers.sigmas[row]) || "no"} sigmas`;
    return make("span", { class: `chip h h${report.shade(row)}`, title: told }, `${text("symbol", row)} `, make("b", {}, `${short(numbers.sigmas[row])}${verdict(row).mark}`));
  }

  /** Whose fault it is, as in oracle/report/grid.py. */
  function reading(fails, kinds) {
    if (!kinds.includes("layerwise")) return kinds.some(fails) ? "fails" : "agrees";
    return fails("layerwise") ? "own fault" : fails("end to end") ? "inherited" : "agrees";
  }

  function layers() {
    const places = new Map();
    for (const row of rows) {
      const place = text("position", row);
      if (!places.has(place)) places.set(place, { name: `${text("layer", row)} ${text("module", row)}`, rows: [] });
      places.get(place).rows.push(row);
    }
    const kinds = columns.comparison.texts.filter((kind) => rows.some((row) => text("comparison", row) === kind));
    const lines = [...places.entries()].sort(([a], [b]) => a - b).map(([, { name, rows: here }]) => {
      const of = (kind) => here.filter((row) => text("comparison", row) === kind);
      const so = reading((kind) => of(kind).some((row) => verdict(row).fails), kinds);
      return make("tr", {}, make("th", { scope: "row" }, name), make("td", {}, make("b", { class: so === "agrees" ? "" : "bad" }, so)),
        ...kinds.map((kind) => make("td", {}, ...of(kind).map(chip))));
    });
    return make("table", { class: "layers" }, heading(["layer"], ["result"], ...kinds.map((kind) => [kind])), make("tbody", {}, ...lines));
  }

  function elements() {
    const values = { candidate: "by hand", reference: "autograd", max_abs: "difference", max_ulp: "ulps", sigmas: "sigmas" };
    const texts = { layer: "layer", symbol: "quantity", comparison: "comparison", shape: "shape", worst_index: "worst at" };
    const width = Object.keys(values).length + Object.keys(texts).length + 1;
    const lines = rows.flatMap((row) => {
      const cells = Object.keys(texts).map((name) => make("td", {}, String(text(name, row))));
      const figures = Object.keys(values).map((name) => make("td", { class: "n" }, report.full(name, row)));
      const note = text("note", row), line = make("tr", {}, ...cells, ...figures, make("td", {}, report.marked(row)));
      return note ? [line, make("tr", { class: "note" }, make("td", { colspan: width }, note))] : [line];
    });
    const titles = [...Object.values(texts).map((title) => [title]), ...Object.values(values).map((title) => [title, "n"]), ["verdict"]];
    return make("table", {}, heading(...titles), make("tbody", {}, ...lines));
  }

  const again = report.command(code), advice = report.advice[report.base[code]];
  const nodes = [make("p", {}, failing ? `${count(failing)} of ${plural(rows.length, "comparison")} fail.` : `None of ${plural(rows.length, "comparison")} fails.`)];
  if (again) nodes.push(make("p", {}, "To compare it again: ", make("code", { class: "copy" }, again)));
  if (advice) nodes.push(make("h3", {}, "What it looks like"), make("div", { class: "advice" }, ...advice.map(([kind, told]) => make("p", { class: kind }, told))));
  else if (failing && again) nodes.push(soft("Not diagnosed here, since only the first failing cases of a run are; the command above does it."));
  return [
    ...nodes,
    make("h3", {}, "Layer by layer"), soft("The number behind each quantity is how many sigmas its worst element is off."), scrolled("Layer by layer", layers()),
    make("h3", {}, "The worst element of each array"), soft("Three digits where both agree, all of them where they do not."), scrolled("The worst elements", elements()),
  ];
}
