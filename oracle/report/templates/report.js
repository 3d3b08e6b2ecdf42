"use strict";
// The rows of a report: read from the page, filtered, sorted, shown; and one case opened. Nothing is loaded from elsewhere.
(async () => {
  const find = (id) => document.getElementById(id);

  /** An element with attributes and children; texts are set as text, whatever is in them. */
  function make(tag, attributes = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...children);
    return made;
  }

  // ---- the data (oracle/report/embedded.py writes it) ----

  async function read(text) {
    const packed = Uint8Array.from(atob(text.trim()), (letter) => letter.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
    const whole = new Uint8Array(await new Response(stream).arrayBuffer());
    const length = new DataView(whole.buffer).getUint32(0, true);
    const head = JSON.parse(new TextDecoder().decode(whole.subarray(4, 4 + length)));
    return { head, body: whole.subarray(4 + length) };
  }

  const { head, body } = await read(find("data").textContent);

  /** The bytes of an array, brought together again: they are stored lowest bytes first, then the next ones. */
  function bytes({ at, bytes: width, count }) {
    const together = new Uint8Array(width * count);
    for (let plane = 0; plane < width; plane++)
      for (let i = 0, from = at + plane * count; i < count; i++) together[i * width + plane] = body[from + i];
    return together.buffer;
  }
  const WHOLE = { 1: Uint8Array, 2: Uint16Array, 4: Uint32Array };
  const whole = (place) => new WHOLE[place.bytes](bytes(place));

  const columns = {}; // texts: { codes, texts }; whole numbers: { codes }
  for (const [name, place] of Object.entries(head.columns))
    if ("at" in place) columns[name] = { codes: whole(place), texts: place.texts };
  const text = (name, row) => (columns[name].texts ? columns[name].texts[columns[name].codes[row]] : columns[name].codes[row]);

  const NAN = 32767, INFINITE = 32766;
  const powers = new Map();
  const power = (exponent) => powers.get(exponent) ?? powers.set(exponent, Number(`1e${exponent}`)).get(exponent);
  function decimals(digits, exponents) {
    const values = new Float64Array(digits.length);
    for (let i = 0; i < values.length; i++) {
      const e = exponents[i];
      values[i] = e === NAN ? NaN : e === INFINITE ? digits[i] * Infinity : e < 0 && e > -300 ? digits[i] / power(-e) : digits[i] * power(e);
    }
    return values;
  }
  const numbers = {};
  const coded = (place) => new Int16Array(bytes(place));
  const reference = ["digits", "powers"].map((part) => coded(head.columns.reference[part]));
  for (const name of ["sigmas", "max_abs", "max_ulp", "reference", "candidate"]) {
    const parts = ["digits", "powers"].map((part) => coded(head.columns[name][part]));
    if (name === "candidate") parts.forEach((part, which) => part.forEach((_, i) => (part[i] += reference[which][i])));
    numbers[name] = decimals(...parts);
  }
  const exact = new Set(whole(head.exact.row));
  for (const name of ["candidate", "reference"]) {
    const values = new Float64Array(bytes(head.exact[name]));
    [...exact].forEach((row, i) => (numbers[name][row] = values[i]));
  }

  const verdicts = columns.verdict.texts.map((name) => ({ name, ...head.verdicts[name] }));
  const verdict = (row) => verdicts[columns.verdict.codes[row]];

  // ---- how things are written ----

  /** Three significant digits, as Python's "%.3g" has them. */
  function short(value) {
    if (Number.isNaN(value)) return "";
    if (!Number.isFinite(value)) return value < 0 ? "-∞" : "∞";
    const rounded = Number(value.toPrecision(3));
    return rounded !== 0 && (Math.abs(rounded) < 1e-4 || Math.abs(rounded) >= 1e5) ? rounded.toExponential().replace("e+", "e") : String(rounded);
  }
  const full = (name, row) => (exact.has(row) && name in head.exact ? String(numbers[name][row]) : short(numbers[name][row]));
  function shade(row) {
    if (verdict(row).fails) return "fails";
    const sigmas = numbers.sigmas[row];
    if (verdict(row).name !== "agree" || Number.isNaN(sigmas)) return "none";
    return head.shades.findIndex((end) => sigmas <= end);
  }
  const marked = (row) => make("b", { class: verdict(row).fails ? "bad" : "" }, `${verdict(row).mark} ${verdict(row).name}`.trim());
  const count = (number) => number.toLocaleString("en");
  const plural = (number, word) => `${count(number)} ${word}${number === 1 ? "" : "s"}`;

  /** The command that compares a case again; empty where the case is somebody's own. */
  const base = columns.case.texts.map((name) => name.split("/step ")[0]); // a step of a training belongs to its data
  const own = new Set(head.cases.own);
  function command(code) {
    if (own.has(code)) return "";
    const name = base[code], quoted = /^[\w@%+=:,./-]+$/.test(name) ? name : `'${name.replaceAll("'", `'"'"'`)}'`;
    return `oracle run --case ${quoted} --seed ${head.repeat.seed}${head.repeat.strict ? " --strict" : ""}`;
  }

  // ---- what can be asked for: each facet gives the rows' codes and, for a value, which codes pass ----

  const ofCase = (name, lists) => ({
    values: head.cases[lists].filter(Boolean).sort(),
    codes: columns.case.codes,
    passes: (value) => head.cases[name].map((found) => (Array.isArray(found) ? found : [found]).some((i) => head.cases[lists][i] === value)),
  });
  const ofColumn = (name) => {
    const texts = columns[name].texts ?? Array.from({ length: 1 + columns[name].codes.reduce((most, code) => Math.max(most, code), 0) }, (_, i) => String(i));
    return { values: [...texts], codes: columns[name].codes, passes: (value) => texts.map((found) => found === value) };
  };
  const facets = {
    activation: ofCase("activation", "activations"),
    loss: ofCase("loss", "losses"),
    shape: ofCase("shape", "shapes"),
    dtype: ofColumn("dtype"),
    verdict: ofColumn("verdict"),
    comparison: ofColumn("comparison"),
    [head.layer]: ofColumn(head.layer),
    quantity: ofColumn("quantity"),
  };
  const FAILS = "whatever fails";
  facets.verdict.values.unshift(FAILS);
  const byName = facets.verdict.passes;
  facets.verdict.passes = (value) => (value === FAILS ? verdicts.map((found) => found.fails) : byName(value));

  /** Rows that hold the words in case, module, symbol or note. */
  function worded(words) {
    const wanted = words.toLowerCase();
    const hits = ["case", "module", "symbol", "note"].map((name) => [
      columns[name].codes,
      Uint8Array.from(columns[name].texts, (found) => found.toLowerCase().includes(wanted)),
    ]);
    return (row) => hits.some(([codes, hit]) => hit[codes[row]]);
  }

  // ---- the order: worst first unless a column is asked for ----

  function keys(name) {
    if (name === "worst")
      return Float64Array.from({ length: head.rows }, (_, row) => {
        const { fails, name: found } = verdict(row), sigmas = numbers.sigmas[row];
        const off = Number.isNaN(sigmas) ? (fails ? Infinity : 0) : Math.min(sigmas, 1e300);
        return -(fails ? 1e305 + off * 1e5 : found === "agree" ? off : off * 1e-305);
      });
    if (name in numbers) return numbers[name].map((value) => (Number.isNaN(value) ? -Infinity : value));
    const { codes, texts } = columns[name];
    if (!texts) return Float64Array.from(codes);
    const ranks = new Float64Array(texts.length);
    const compare = new Intl.Collator("en", { numeric: true }).compare;
    [...texts.keys()].sort((a, b) => compare(texts[a], texts[b])).forEach((code, rank) => (ranks[code] = rank));
    return Float64Array.from(codes, (code) => ranks[code]);
  }
  let order = null, ordered = "";
  function inOrder(sort) {
    if (ordered !== sort) {
      const found = keys(sort.replace(/^-/, "")), sign = sort.startsWith("-") ? -1 : 1;
      order = Uint32Array.from({ length: head.rows }, (_, row) => row).sort((a, b) => {
        const [x, y] = [found[a], found[b]];
        return x < y ? -sign : x > y ? sign : a - b;
      });
      ordered = sort;
    }
    return order;
  }

  // ---- the state is the part of the address behind # ----

  const sortable = ["case", head.layer, "symbol", "comparison", "verdict", "sigmas", "max_abs", "max_ulp", "candidate", "reference"];
  function stateOf(hash) {
    const asked = new URLSearchParams(hash.replace(/^#/, "")), state = {};
    for (const name of Object.keys(facets)) if (facets[name].values.includes(asked.get(name))) state[name] = asked.get(name);
    for (const name of ["words", "case", "open"]) if (asked.get(name)) state[name] = asked.get(name);
    if (sortable.includes((asked.get("sort") ?? "").replace(/^-/, ""))) state.sort = asked.get("sort");
    return state;
  }
  const hashOf = (state) => `#${new URLSearchParams(Object.entries(state).filter(([, value]) => value))}`;
  let state = {}, shown = new Uint32Array(0);

  function filtered() {
    const tests = Object.keys(facets).filter((name) => state[name]).map((name) => {
      const { codes, passes } = facets[name], pass = Uint8Array.from(passes(state[name]));
      return (row) => pass[codes[row]];
    });
    if (state.words) tests.push(worded(state.words));
    const all = inOrder(state.sort ?? "worst");
    return tests.length ? all.filter((row) => tests.every((test) => test(row))) : all;
  }

  function apply() {
    const start = performance.now();
    shown = filtered();
    if (state.open) {
      if (shown.length) state.case = text("case", shown[0]);
      delete state.open;
      history.replaceState(null, "", hashOf(state));
    }
    for (const field of form.elements) if (field.name) field.value = state[field.name] ?? "";
    const cases = new Set();
    for (const row of shown) cases.add(base[columns.case.codes[row]]);
    const which = shown.length === head.rows ? "All" : `${count(shown.length)} of`;
    find("count").textContent = `${which} ${plural(head.rows, "comparison")}, in ${plural(cases.size, "case")}.`;
    heads();
    frame.scrollTop = 0;
    draw(true);
    panel();
    table.dataset.milliseconds = (performance.now() - start).toFixed(1);
  }

  function go(changes) {
    state = { ...state, ...changes };
    history.replaceState(null, "", hashOf(state));
    apply();
  }

  // ---- the table: only the rows that can be seen are in the page ----

  const form = find("filters"), frame = find("frame"), table = find("rows"), tbody = table.tBodies[0];
  const COLUMNS = [
    ["case", "case"], [head.layer, "layer"], ["symbol", "quantity"], ["comparison", "comparison"], ["verdict", "verdict"],
    ["sigmas", "sigmas"], ["max_abs", "difference"], ["max_ulp", "ulps"], ["candidate", "by hand"], ["reference", "autograd"], ["", "at"],
  ];
  const HEIGHT = 28, SPARE = 12;

  function heads() {
    table.tHead.rows[0].replaceChildren(...COLUMNS.map(([name, label]) => {
      const way = state.sort === name ? "ascending" : state.sort === `-${name}` ? "descending" : "none";
      const cell = make("th", { scope: "col", class: name in numbers ? "n" : "" });
      if (!name) return cell.append(label), cell;
      cell.setAttribute("aria-sort", way);
      const button = make("button", { type: "button", "data-sort": name }, label, { none: "", ascending: " ▲", descending: " ▼" }[way]);
      cell.append(button);
      return cell;
    }));
  }
  table.tHead.addEventListener("click", (event) => {
    const name = event.target.closest("button")?.dataset.sort;
    if (!name) return;
    const [first, second] = name in numbers ? [`-${name}`, name] : [name, `-${name}`];
    go({ sort: state.sort === first ? second : state.sort === second ? "" : first });
    table.tHead.querySelector(`[data-sort="${name}"]`).focus();
  });

  function line(row, at) {
    const name = text("case", row);
    const link = make("a", { href: hashOf({ ...state, case: name }), title: name }, name);
    const number = (column) => make("td", { class: "n", title: full(column, row) }, short(numbers[column][row]));
    return make("tr", { "aria-rowindex": at + 2 },
      make("td", { class: "long" }, link), make("td", { class: "long", title: text("module", row) }, `${text("layer", row)} ${text("module", row)}`),
      make("td", {}, text("symbol", row)), make("td", {}, text("comparison", row)), make("td", {}, marked(row)),
      ...["sigmas", "max_abs", "max_ulp", "candidate", "reference"].map(number), make("td", {}, text("worst_index", row)));
  }
  let first = -1;
  function draw(anew = false) {
    const room = Math.ceil(frame.clientHeight / HEIGHT);
    const from = Math.max(0, Math.min(Math.floor(frame.scrollTop / HEIGHT) - SPARE, shown.length - room - 2 * SPARE));
    if (from === first && !anew) return;
    first = from;
    const to = Math.min(shown.length, from + room + 2 * SPARE);
    const gap = (rows) => make("tr", { class: "gap", "aria-hidden": "true", style: `height: ${rows * HEIGHT}px` });
    const focused = tbody.contains(document.activeElement) ? document.activeElement.closest("tr").getAttribute("aria-rowindex") : null;
    tbody.replaceChildren(gap(from), ...Array.from(shown.subarray(from, to), (row, i) => line(row, from + i)), gap(shown.length - to));
    table.setAttribute("aria-rowcount", shown.length + 1);
    if (focused) tbody.querySelector(`[aria-rowindex="${focused}"] a`)?.focus({ preventScroll: true });
  }
  frame.addEventListener("scroll", () => requestAnimationFrame(() => draw()), { passive: true });
  addEventListener("resize", () => draw(true));

  // ---- one case ----

  const dialog = find("case");
  function layersOf(rows) {
    const places = new Map();
    for (const row of rows) {
      const place = text("position", row);
      if (!places.has(place)) places.set(place, { name: `${text("layer", row)} ${text("module", row)}`, rows: [] });
      places.get(place).rows.push(row);
    }
    const kinds = columns.comparison.texts.filter((kind) => rows.some((row) => text("comparison", row) === kind));
    const chips = (found) => make("td", {}, ...found.map((row) => {
      const told = make("span", { class: `chip h h${shade(row)}`, title: `${verdict(row).name}, ${short(numbers.sigmas[row]) || "no"} sigmas` });
      told.append(`${text("symbol", row)} `, make("b", {}, `${short(numbers.sigmas[row])}${verdict(row).mark}`));
      return told;
    }));
    const lines = [...places.entries()].sort(([a], [b]) => a - b).map(([, { name, rows: here }]) => {
      const of = (kind) => here.filter((row) => text("comparison", row) === kind), fails = (kind) => of(kind).some((row) => verdict(row).fails);
      const reading = kinds.includes("layerwise") ? (fails("layerwise") ? "own fault" : fails("end to end") ? "inherited" : "agrees")
        : kinds.some(fails) ? "fails" : "agrees";
      return make("tr", {}, make("th", { scope: "row" }, name), ...kinds.map((kind) => chips(of(kind))), make("td", {}, make("b", { class: reading === "agrees" ? "" : "bad" }, reading)));
    });
    const titles = ["layer", ...kinds, "so"].map((title) => make("th", { scope: "col" }, title));
    return make("table", { class: "layers" }, make("thead", {}, make("tr", {}, ...titles)), make("tbody", {}, ...lines));
  }
  function elementsOf(rows) {
    const titles = ["layer", "quantity", "comparison", "shape", "worst at", "by hand", "autograd", "difference", "ulps", "sigmas", "verdict"];
    const numeric = new Set(["by hand", "autograd", "difference", "ulps", "sigmas"]);
    const lines = rows.flatMap((row) => {
      const cells = [text("layer", row), text("symbol", row), text("comparison", row), text("shape", row), text("worst_index", row)].map((found) => make("td", {}, String(found)));
      const values = ["candidate", "reference", "max_abs", "max_ulp", "sigmas"].map((name) => make("td", { class: "n" }, full(name, row)));
      const told = make("tr", {}, ...cells, ...values, make("td", {}, marked(row)));
      const note = text("note", row);
      return note ? [told, make("tr", { class: "note" }, make("td", { colspan: titles.length }, note))] : [told];
    });
    return make("table", {}, make("thead", {}, make("tr", {}, ...titles.map((title) => make("th", { scope: "col", class: numeric.has(title) ? "n" : "" }, title)))), make("tbody", {}, ...lines));
  }
  const scrolled = (label, inner) => make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": label }, inner);
  function panel() {
    const code = columns.case.texts.indexOf(state.case);
    if (!state.case || code < 0) return dialog.open && dialog.close();
    const rows = [];
    columns.case.codes.forEach((found, row) => found === code && rows.push(row));
    const failing = rows.filter((row) => verdict(row).fails).length;
    find("case-title").textContent = state.case;
    const again = command(code), advice = head.advice[base[code]];
    find("case-body").replaceChildren(
      make("p", {}, failing ? `${count(failing)} of ${plural(rows.length, "comparison")} fail.` : `None of ${plural(rows.length, "comparison")} fails.`),
      ...(again ? [make("p", {}, "To compare it again: ", make("code", { class: "copy" }, again))] : []),
      ...(advice ? [make("h3", {}, "What it looks like"), make("div", { class: "advice" }, ...advice.map(([kind, told]) => make("p", { class: kind }, told)))]
        : failing ? [make("p", { class: "soft" }, "Not diagnosed here: only the first failing cases of a run are. Alone, by the command above, it is.")] : []),
      make("h3", {}, "Layer by layer"),
      make("p", { class: "soft" }, "The number behind each quantity is how many sigmas its worst element is off."), scrolled("Layer by layer", layersOf(rows)),
      make("h3", {}, "The worst element of each array"),
      make("p", { class: "soft" }, "Three digits where both agree, all of them where they do not."), scrolled("The worst elements", elementsOf(rows)));
    if (!dialog.open) dialog.showModal();
    find("case-body").scrollTop = 0;
  }
  dialog.addEventListener("close", () => state.case && go({ case: "" }));
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  find("case-close").addEventListener("click", () => dialog.close());

  // ---- the table as CSV ----

  const csvText = (found) => (/[",\n\r]|^[=+@\t-]/.test(found) ? `"${(/^[=+@\t-]/.test(found) ? "'" : "") + found.replaceAll('"', '""')}"` : found);
  function csv() {
    const texts = ["case", "comparison", "position", "layer", "module", "quantity", "symbol", "shape", "dtype", "verdict", "worst_index", "note"];
    const values = ["sigmas", "max_abs", "max_ulp", "candidate", "reference"];
    const number = (name, row) => (exact.has(row) && name in head.exact ? String(numbers[name][row]) : Number.isFinite(numbers[name][row]) ? String(Number(numbers[name][row].toPrecision(3))) : String(numbers[name][row]));
    const lines = Array.from(shown, (row) => [...texts.map((name) => csvText(String(text(name, row)))), ...values.map((name) => number(name, row))].join(","));
    return `${[...texts, ...values].join(",")}\n${lines.join("\n")}\n`;
  }
  find("csv").addEventListener("click", () => {
    const address = URL.createObjectURL(new Blob([csv()], { type: "text/csv" }));
    make("a", { href: address, download: "comparisons.csv" }).click();
    setTimeout(() => URL.revokeObjectURL(address), 1000);
  });

  // ---- the form ----

  for (const [name, { values }] of Object.entries(facets)) {
    const field = form.elements[name];
    if (!field) continue;
    field.append(...values.map((value) => make("option", { value }, value)));
    field.closest("label").hidden = values.length < 2;
  }
  form.addEventListener("input", (event) => event.target.name && go({ [event.target.name]: event.target.value }));
  form.addEventListener("submit", (event) => event.preventDefault());
  find("clear").addEventListener("click", () => {
    state = {};
    go({});
  });
  addEventListener("hashchange", () => {
    state = stateOf(location.hash);
    const jumps = !state.case && !state.open && Object.keys(state).length > 0;
    apply();
    if (jumps) find("explorer").scrollIntoView();
  });
  find("explorer").hidden = false;
  state = stateOf(location.hash);
  apply();
  document.documentElement.dataset.ready = performance.now().toFixed(0);
})().catch((error) => {
  document.getElementById("explorer-failed").hidden = false;
  throw error;
});
