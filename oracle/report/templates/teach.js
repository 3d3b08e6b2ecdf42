"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const byId = (id) => document.getElementById(id);

  // What is wider than its place can be scrolled with the keyboard; what is not is no stop of the tab key.
  const fit = (root = document) => {
    for (const box of all("[data-label]", root)) {
      const wide = box.scrollWidth > box.clientWidth + 1;
      for (const [name, value] of [["tabindex", "0"], ["role", "group"], ["aria-label", box.dataset.label]]) {
        if (wide) box.setAttribute(name, value);
        else box.removeAttribute(name);
      }
    }
  };
  window.addEventListener("resize", () => fit());
  for (const details of all("details")) details.addEventListener("toggle", () => fit(details));

  // All digits, or three: what is shown and what stands in data-full change places.
  const full = byId("full");
  const digits = (root) => {
    for (const number of all("[data-full]", root)) {
      number.dataset.short ??= number.textContent;
      number.textContent = full.checked ? number.dataset.full.replace("-", "−") : number.dataset.short;
    }
    fit(root);
  };
  full.addEventListener("change", () => digits(document));

  // The walk: an element with data-at appears in that step; what the step is about stands out.
  const captions = all(".captions [data-step]");
  let step = captions.length - 1;
  const show = (wanted) => {
    step = Math.max(0, Math.min(wanted, captions.length - 1));
    for (const item of all(".net [data-at]")) item.classList.toggle("waits", Number(item.dataset.at) > step);
    for (const circle of all(".net [data-now]")) {
      const steps = circle.dataset.now.split(" ").map(Number);
      circle.classList.toggle("now", steps.includes(step));
      circle.classList.toggle("back", steps[1] === step);
    }
    for (const wire of all(".net .wire")) {
      const [forward, back, gradient] = ["forward", "back", "gradient"].map((kind) => Number(wire.dataset[kind]) === step);
      wire.classList.toggle("now", forward || back || gradient);
      wire.classList.toggle("back", back || gradient);
      wire.classList.toggle("still", gradient);
    }
    for (const caption of captions) caption.classList.toggle("waits", Number(caption.dataset.step) !== step);
    const active = document.querySelector(".net circle.now");
    if (active) {
      const [window, place] = [active.closest(".scroll"), active.getBoundingClientRect()];
      window.scrollLeft += place.left - window.getBoundingClientRect().left - window.clientWidth / 2;
    }
    byId("count").textContent = `step ${step + 1} of ${captions.length}`;
    for (const button of all("[data-go]")) {
      const forward = ["next", "last"].includes(button.dataset.go);
      button.disabled = forward ? step === captions.length - 1 : step === 0;
    }
  };
  const goals = { first: () => 0, back: () => step - 1, next: () => step + 1, last: () => captions.length - 1 };
  for (const button of all("[data-go]")) {
    button.addEventListener("click", () => {
      show(goals[button.dataset.go]());
      if (button.disabled) all("[data-go]:not(:disabled)")[0].focus();
    });
  }
  if (captions.length) {
    for (const caption of captions) caption.value = Number(caption.dataset.step) + 1;
    show(0);
  }

  // What a node or a weight is about: pointed at, focused, tapped.
  const parts = all(".net [data-fact]");
  const choose = (part) => {
    for (const other of parts) {
      other.classList.toggle("chosen", other === part);
      other.setAttribute("tabindex", other === part ? "0" : "-1");
    }
    byId("fact").replaceChildren(document.querySelector(`template[data-for="${part.dataset.fact}"]`).content.cloneNode(true));
    digits(byId("fact"));
  };
  const ways = { ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] };
  const column = (number) => parts.filter((other) => Number(other.dataset.column) === number);
  const move = (part, [across, along]) => {
    const number = Number(part.dataset.column) + across;
    const apart = (other) => Math.abs(Number(other.dataset.y) - Number(part.dataset.y));
    const next = across
      ? column(number).reduce((best, other) => (best && apart(best) <= apart(other) ? best : other), null)
      : column(number)[column(number).indexOf(part) + along];
    next?.focus();
  };
  for (const part of parts) {
    for (const kind of ["pointerenter", "focus", "click"]) part.addEventListener(kind, () => choose(part));
    part.addEventListener("keydown", (event) => {
      if (event.key in ways) {
        event.preventDefault();
        move(part, ways[event.key]);
      }
    });
  }

  // Break it: the data holds the right picture, and for each mistake and place the cells that change.
  const data = JSON.parse(byId("data").textContent);
  const symbols = data.layers.flatMap((layer) => layer.symbols);
  const [mistake, place] = [byId("mistake"), byId("place")];
  const make = (name, text, kind) => {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    if (kind) made.className = kind;
    return made;
  };
  const formulas = new Map(all("[data-formula]").map((each) => [each.dataset.formula, each.content]));
  const formula = (text) => formulas.get(text)?.cloneNode(true) ?? text;
  const line = ([kind, text]) => {
    const [, before, shown] = kind === "formula" ? text.match(/^(the formula: )(.*)$/) ?? [] : [];
    const made = make("p", shown === undefined ? text : before, kind);
    if (shown !== undefined) made.append(formula(shown));
    return made;
  };
  const cell = ([verdict, sigmas]) => {
    const fails = !["agree", "reference", "kink"].includes(verdict);
    const made = make("td", undefined, fails ? "fails" : "passes");
    const bar = make("span", undefined, "bar");
    const size = sigmas === null ? 18 : Math.log10(1 + sigmas);
    bar.style.width = `${Math.max(0.15, Math.min(size, 18) * 0.35)}rem`;
    const short = sigmas === null ? "" : sigmas < 1e4 ? String(Number(sigmas.toPrecision(2))) : sigmas.toExponential(1).replace("e+", "e");
    const far = short && ` ${short} σ`;
    made.append(bar, `${fails ? "✗" : "✓"} ${verdict}${far}`);
    return made;
  };
  const draw = () => {
    const chosen = mistake.value === "" ? null : data.mistakes[Number(mistake.value)];
    const where = chosen ? chosen.places[Number(place.value)] : { cells: {}, lines: [["title", "Nothing is wrong, and nothing fails."]] };
    const cells = data.right.map((right, at) => where.cells[at] ?? right);
    byId("why").textContent = chosen ? `${chosen.why} Computed: ${chosen.effect}.` : "";
    const rows = data.layers.flatMap((layer) =>
      layer.symbols.map((symbol, number) => {
        const row = make("tr", undefined, number ? "" : "first");
        if (!number) {
          const head = make("th", layer.name);
          head.scope = "rowgroup";
          head.rowSpan = layer.symbols.length;
          row.append(head);
        }
        const at = symbols.indexOf(symbol);
        const sign = make("td");
        sign.append(formula(symbol));
        row.append(sign, cell(cells[at]), cell(cells[symbols.length + at]));
        return row;
      }),
    );
    byId("picture").replaceChildren(...rows);
    byId("advice").replaceChildren(...where.lines.map(line));
  };
  const places = () => {
    const found = mistake.value === "" ? [] : data.mistakes[Number(mistake.value)].places;
    place.replaceChildren(...found.map((each, at) => Object.assign(make("option", each.where), { value: at })));
    place.disabled = found.length < 2;
    draw();
  };
  mistake.addEventListener("change", places);
  place.addEventListener("change", draw);
  places();
  fit();
})();
