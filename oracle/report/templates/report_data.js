"use strict";
// The table that the page carries (oracle/report/embedded.py writes it), unpacked; and how numbers are written.

/** An element with attributes and children; texts are set as text, whatever is in them. */
function make(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

const count = (number) => number.toLocaleString("en");
const plural = (number, word) => `${count(number)} ${word}${number === 1 ? "" : "s"}`;

/** Three significant digits, as Python's "%.3g" has them. */
function short(value) {
  if (Number.isNaN(value)) return "";
  if (!Number.isFinite(value)) return value < 0 ? "-∞" : "∞";
  const rounded = Number(value.toPrecision(3)), size = Math.abs(rounded);
  return rounded !== 0 && (size < 1e-4 || size >= 1e5) ? rounded.toExponential().replace("e+", "e") : String(rounded);
}

/** The table: texts and whole numbers as codes, numbers as float64, and what is asked about a row or a case. */
async function readReport(packed) {
  const bytesOf = Uint8Array.from(atob(packed.trim()), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytesOf]).stream().pipeThrough(new DecompressionStream("deflate"));
  const unpacked = new Uint8Array(await new Response(stream).arrayBuffer());
  const length = new DataView(unpacked.buffer).getUint32(0, true);
  const head = JSON.parse(new TextDecoder().decode(unpacked.subarray(4, 4 + length))), body = unpacked.subarray(4 + length);

  /** The bytes of an array, brought together again: they are stored lowest bytes first, then the next ones. */
  function bytes({ at, bytes: width, count: length }) {
    const together = new Uint8Array(width * length);
    for (let plane = 0; plane < width; plane++)
      for (let i = 0, from = at + plane * length; i < length; i++) together[i * width + plane] = body[from + i];
    return together.buffer;
  }
  const WHOLE = { 1: Uint8Array, 2: Uint16Array, 4: Uint32Array };
  const whole = (place) => new WHOLE[place.bytes](bytes(place));

  const columns = {};
  for (const [name, place] of Object.entries(head.columns))
    if ("at" in place) columns[name] = { codes: whole(place), texts: place.texts };
  const text = (name, row) => (columns[name].texts ? columns[name].texts[columns[name].codes[row]] : columns[name].codes[row]);

  const { nan, infinite } = head.special, powers = new Map();
  const power = (exponent) => powers.get(exponent) ?? powers.set(exponent, Number(`1e${exponent}`)).get(exponent);
  function decimals(digits, exponents) {
    return Float64Array.from(digits, (digit, i) => {
      const e = exponents[i];
      if (e === nan) return NaN;
      if (e === infinite) return digit * Infinity;
      return e < 0 && e > -300 ? digit / power(-e) : digit * power(e);
    });
  }
  const coded = (name) => ["digits", "powers"].map((part) => new Int16Array(bytes(head.columns[name][part])));
  const numbers = {}, reference = coded("reference");
  for (const name of ["sigmas", "max_abs", "max_ulp", "reference", "candidate"]) {
    const parts = coded(name);
    if (name === "candidate") parts.forEach((part, which) => part.forEach((_, i) => (part[i] += reference[which][i])));
    numbers[name] = decimals(...parts);
  }
  const rows = whole(head.exact.row), exact = new Set(rows);
  for (const name of ["candidate", "reference"]) {
    const values = new Float64Array(bytes(head.exact[name]));
    rows.forEach((row, i) => (numbers[name][row] = values[i]));
  }

  const verdicts = columns.verdict.texts.map((name) => ({ name, ...head.verdicts[name] }));
  const verdict = (row) => verdicts[columns.verdict.codes[row]];
  const isExact = (name, row) => exact.has(row) && name in head.exact;

  const base = columns.case.texts.map((name) => name.split("/step ")[0]); // a step of a training belongs to its data
  const own = new Set(head.cases.own);
  return {
    ...head, columns, numbers, text, verdict, verdicts, base, isExact,
    /** All digits where the page has them, else three. */
    full: (name, row) => (isExact(name, row) ? String(numbers[name][row]) : short(numbers[name][row])),
    /** The shade of a row's cell, as in oracle/report/grid.py. */
    shade(row) {
      if (verdict(row).fails) return "fails";
      const sigmas = numbers.sigmas[row];
      return verdict(row).name !== "agree" || Number.isNaN(sigmas) ? "none" : head.shades.findIndex((end) => sigmas <= end);
    },
    /** The verdict of a row with its mark. */
    marked: (row) => make("b", { class: verdict(row).fails ? "bad" : "" }, `${verdict(row).mark} ${verdict(row).name}`.trim()),
    /** The command that compares a case again; empty where the case is somebody's own. */
    command(code) {
      if (own.has(code)) return "";
      const name = base[code], quoted = /^[\w@%+=:,./-]+$/.test(name) ? name : `'${name.replaceAll("'", `'"'"'`)}'`;
      return `oracle run --case ${quoted} --seed ${head.repeat.seed}${head.repeat.strict ? " --strict" : ""}`;
    },
  };
}
