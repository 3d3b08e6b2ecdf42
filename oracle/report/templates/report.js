"use strict";
// Every comparison of a report: filtered, sorted, shown; one case opened. Nothing is loaded from elsewhere.
(async () => {
  const find = (id) => document.getElementById(id);
  const report = await readReport(find("data").textContent);
  const { columns, numbers, text, verdict, verdicts, cases, base } = report;

  // ---- what can be asked for: each facet gives the rows' codes and, for a value, which codes pass ----

  const ofCase = (name, lists) => ({
    values: cases[lists].filter(Boolean).sort(),
    codes: columns.case.codes,
    passes: (value) => cases[name].map((found) => [found].flat().some((i) => cases[lists][i] === value)),
  });
  function ofColumn(name) {
    const { codes, texts = Array.from({ length: 1 + codes.reduce((most, code) => Math.max(most, code), 0) }, (_, i) => String(i)) } = columns[name];
    return { values: [...texts], codes, passes: (value) => texts.map((found) => found === value) };
  }
  const FAILS = "whatever fails";
  const ofVerdict = ofColumn("verdict");
  const facets = {
    activation: ofCase("activation", "activations"),
    loss: ofCase("loss", "losses"),
    shape: ofCase("shape", "shapes"),
    dtype: ofColumn("dtype"),
    verdict: {
      ...ofVerdict,
      values: [FAILS, ...ofVerdict.values],
      passes: (value) => (value === FAILS ? verdicts.map((found) => found.fails) : ofVerdict.passes(value)),
    },
    comparison: ofColumn("comparison"),
    [report.layer]: ofColumn(report.layer),
    quantity: ofColumn("quantity"),
  };

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

  /** A key that puts what fails first, then what agrees, then what is settled otherwise; of these the furthest off first. */
  function worst(row) {
    const { fails, name } = verdict(row), sigmas = numbers.sigmas[row];
    const none = fails ? 1000 : 0, off = sigmas > 0 ? 400 + Math.min(Math.log10(sigmas), 500) : 0;
    return -(2000 * (fails ? 2 : name === "agree" ? 1 : 0) + (Number.isNaN(sigmas) ? none : off));
  }
  function keys(name) {
    if (name === "worst") return Float64Array.from({ length: report.rows }, (_, row) => worst(row));
    if (name in numbers) return numbers[name].map((value) => (Number.isNaN(value) ? -Infinity : value));
    const { codes, texts } = columns[name];
    if (!texts) return Float64Array.from(codes);
    const ranks = new Float64Array(texts.length), compare = new Intl.Collator("en", { numeric: true }).compare;
    [...texts.keys()].sort((a, b) => compare(texts[a], texts[b])).forEach((code, rank) => (ranks[code] = rank));
    return Float64Array.from(codes, (code) => ranks[code]);
  }
  let order = null, ordered = "";
  function inOrder(sort) {
    if (ordered !== sort) {
      const found = keys(sort.replace(/^-/, "")), sign = sort.startsWith("-") ? -1 : 1;
      order = Uint32Array.from({ length: report.rows }, (_, row) => row).sort((a, b) => {
        const x = found[a], y = found[b];
        return x < y ? -sign : x > y ? sign : a - b;
      });
      ordered = sort;
    }
    return order;
  }

  // ---- the state is the part of the address behind # ----

  const COLUMNS = [
    ["case", "case"], ["layer", "layer"], ["symbol", "quantity"], ["comparison", "comparison"], ["verdict", "verdict"],
    ["sigmas", "sigmas"], ["max_abs", "difference"], ["max_ulp", "ulps"], ["candidate", "by hand"], ["reference", "autograd"], ["", "at"],
  ];
  let state = {}, shown = new Uint32Array(0), viewed = null;

  function stateOf(hash) {
    const asked = new URLSearchParams(hash.replace(/^#/, "")), found = {};
    for (const name of Object.keys(facets)) if (facets[name].values.includes(asked.get(name))) found[name] = asked.get(name);
    for (const name of ["words", "case", "open"]) if (asked.get(name)) found[name] = asked.get(name);
    const sort = asked.get("sort") ?? "";
    if (COLUMNS.some(([name]) => name && name === sort.replace(/^-/, ""))) found.sort = sort;
    return found;
  }
  const hashOf = (wanted) => `#${new URLSearchParams(Object.entries(wanted).filter(([, value]) => value))}`;

  /** The address follows the state; in the frame of a notebook there is none of the page's own. */
  function remember(how = "replaceState") {
    try {
      history[how](null, "", hashOf(state));
    } catch {
      return;
    }
  }

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
    const start = performance.now(), view = hashOf({ ...state, case: "", open: "" });
    if (view !== viewed) shown = filtered();
    if (state.open) {
      if (shown.length) state.case = text("case", shown[0]);
      delete state.open;
      remember();
    }
    for (const field of form.elements) if (field.name) field.value = state[field.name] ?? "";
    const found = new Set();
    for (const row of shown) found.add(base[columns.case.codes[row]]);
    const which = shown.length === report.rows ? "All" : `${count(shown.length)} of`;
    find("count").textContent = `${which} ${plural(report.rows, "comparison")}, in ${plural(found.size, "case")}.`;
    heads();
    if (view !== viewed) frame.scrollTop = 0;
    viewed = view;
    draw(true);
    showCase();
    table.dataset.milliseconds = (performance.now() - start).toFixed(1);
  }
  function go(changes) {
    state = { ...state, ...changes };
    remember();
    apply();
  }
  function arrive(hash) {
    state = stateOf(hash);
    const opens = state.case || state.open;
    apply();
    if (!opens && Object.keys(state).length) find("explorer").scrollIntoView();
  }
  addEventListener("hashchange", () => arrive(location.hash));
  document.addEventListener("click", (event) => {
    const link = event.target.closest('a[href^="#"]');
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    state = stateOf(link.getAttribute("href"));
    remember("pushState");
    arrive(link.getAttribute("href"));
  });

  // ---- the table: only the rows that can be seen are in the page ----

  const form = find("filters"), frame = find("frame"), table = find("rows"), tbody = table.tBodies[0];
  const HEIGHT = 28, SPARE = 12;

  function heads() {
    table.tHead.rows[0].replaceChildren(...COLUMNS.map(([name, label]) => {
      if (!name) return make("th", { scope: "col" }, label);
      const way = state.sort === name ? "ascending" : state.sort === `-${name}` ? "descending" : "none";
      const button = make("button", { type: "button", "data-sort": name }, label, { none: "", ascending: " ▲", descending: " ▼" }[way]);
      return make("th", { scope: "col", class: name in numbers ? "n" : "", "aria-sort": way }, button);
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
    const name = text("case", row), layer = `${text("layer", row)} ${text("module", row)}`;
    const number = (column) => make("td", { class: "n", title: report.full(column, row) }, short(numbers[column][row]));
    return make("tr", { "aria-rowindex": at + 2 },
      make("td", {}, make("a", { href: hashOf({ ...state, case: name }), title: name }, name)), make("td", { title: layer }, layer),
      make("td", { title: text("symbol", row) }, text("symbol", row)), make("td", {}, text("comparison", row)), make("td", {}, report.marked(row)),
      ...["sigmas", "max_abs", "max_ulp", "candidate", "reference"].map(number), make("td", {}, text("worst_index", row)));
  }
  let drawn = -1;
  function draw(anew = false) {
    const room = Math.ceil(frame.clientHeight / HEIGHT);
    const from = Math.max(0, Math.min(Math.floor(frame.scrollTop / HEIGHT) - SPARE, shown.length - room - 2 * SPARE));
    if (from === drawn && !anew) return;
    drawn = from;
    const to = Math.min(shown.length, from + room + 2 * SPARE);
    const gap = (rows) => make("tr", { class: "gap", "aria-hidden": "true", style: `height: ${rows * HEIGHT}px` });
    const focused = document.activeElement.closest("#rows tbody tr")?.getAttribute("aria-rowindex");
    tbody.replaceChildren(gap(from), ...Array.from(shown.subarray(from, to), (row, i) => line(row, from + i)), gap(shown.length - to));
    table.setAttribute("aria-rowcount", shown.length + 1);
    if (focused) tbody.querySelector(`[aria-rowindex="${focused}"] a`)?.focus({ preventScroll: true });
  }
  frame.addEventListener("scroll", () => requestAnimationFrame(() => draw()), { passive: true });
  addEventListener("resize", () => draw(true));

  // ---- one case ----

  const dialog = find("case");
  function showCase() {
    const code = columns.case.texts.indexOf(state.case);
    if (code < 0) return dialog.close();
    find("case-title").textContent = state.case;
    find("case-body").replaceChildren(...caseView(report, code));
    if (!dialog.open) dialog.showModal();
    find("case-body").scrollTop = 0;
  }
  dialog.addEventListener("close", () => state.case && go({ case: "" }));
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  find("case-close").addEventListener("click", () => dialog.close());

  // ---- the rows that are shown as CSV; a text that a spreadsheet would compute gets an apostrophe ----

  function csv() {
    const texts = ["case", "comparison", "position", "layer", "module", "quantity", "symbol", "shape", "dtype", "verdict", "worst_index", "note"];
    const values = ["sigmas", "max_abs", "max_ulp", "candidate", "reference"];
    const quoted = (found) => (/[",\n\r']|^[=+@\t-]/.test(found) ? `"${found.replace(/^(?=[=+@\t-])/, "'").replaceAll('"', '""')}"` : found);
    function number(name, row) {
      const value = numbers[name][row];
      return String(report.isExact(name, row) || !Number.isFinite(value) ? value : Number(value.toPrecision(3)));
    }
    const lines = Array.from(shown, (row) => [...texts.map((name) => quoted(String(text(name, row)))), ...values.map((name) => number(name, row))].join(","));
    return [[...texts, ...values].join(","), ...lines, ""].join("\n");
  }
  find("csv").addEventListener("click", () => {
    const address = URL.createObjectURL(new Blob([csv()], { type: "text/csv" }));
    make("a", { href: address, download: "comparisons.csv" }).click();
    setTimeout(() => URL.revokeObjectURL(address), 1000);
  });

  // ---- the form ----

  for (const [name, { values }] of Object.entries(facets)) {
    const field = form.elements[name];
    field.append(...values.map((value) => make("option", { value }, value)));
    field.closest("label").hidden = values.length < 2;
  }
  for (const kind of ["input", "change"])
    form.addEventListener(kind, ({ target }) => target.name && (state[target.name] ?? "") !== target.value && go({ [target.name]: target.value }));
  form.addEventListener("submit", (event) => event.preventDefault());
  find("clear").addEventListener("click", () => {
    state = {};
    go({});
  });
  find("explorer").hidden = false;
  arrive(location.hash);
  document.documentElement.dataset.ready = performance.now().toFixed(0);
})().catch((error) => {
  document.getElementById("explorer-failed").hidden = false;
  throw error;
});
