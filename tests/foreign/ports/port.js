// A dense network with its gradients in plain JavaScript, written to be checked with `oracle vectors check`.
//
//   node port.js OUT CASE.json...                 answers the cases it knows the layers and losses of, into the folder OUT
//   node port.js --mistake NAME OUT CASE.json...  the same with one line wrong on purpose
//
// A matrix is {rows, m, data}: features by samples, row by row, as in the files. Everything is computed in double.
"use strict";
const fs = require("fs");
const path = require("path");

const args = process.argv.slice(2);
const mistake = args[0] === "--mistake" ? args.splice(0, 2)[1] : "";

// erf by a series of positive terms, which loses no digits: 2/sqrt(pi) e^(-x^2) (x + 2/3 x^3 + 4/15 x^5 + ...)
function erf(x) {
  if (Math.abs(x) > 6) return Math.sign(x);
  let term = x, sum = x;
  for (let n = 1; Math.abs(term) > 1e-18 * Math.abs(sum); n++) {
    term *= (2 * x * x) / (2 * n + 1);
    sum += term;
  }
  return (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x) * sum;
}

const sigmoid = (z) => 1 / (1 + Math.exp(-z));
const normalDensity = (z) => Math.exp(-z * z / 2) / Math.sqrt(2 * Math.PI);
const normalCdf = (z) => 0.5 * (1 + erf(z / Math.SQRT2));

function geluTanh(z) {
  const c = Math.sqrt(2 / Math.PI), t = Math.tanh(c * (z + 0.044715 * z ** 3));
  return { f: 0.5 * z * (1 + t), d: 0.5 * (1 + t) + 0.5 * z * (1 - t * t) * c * (1 + 3 * 0.044715 * z * z) };
}

function geluErf(z) {
  return { f: z * normalCdf(z), d: normalCdf(z) + z * normalDensity(z) };
}

function gelu(z, options) {
  const tanh = options.approximate === "tanh";
  const right = tanh ? geluTanh(z) : geluErf(z);
  if (mistake === "other-gelu") right.d = (tanh ? geluErf(z) : geluTanh(z)).d;
  return right;
}

// value and derivative at z
const activations = {
  Identity: (z) => ({ f: z, d: 1 }),
  Sigmoid: (z) => ({ f: sigmoid(z), d: sigmoid(z) * (1 - sigmoid(z)) }),
  Tanh: (z) => ({ f: Math.tanh(z), d: 1 - Math.tanh(z) ** 2 }),
  ReLU: (z) => ({ f: z > 0 ? z : 0, d: z > 0 ? 1 : 0 }),
  LeakyReLU: (z, o) => ({ f: z > 0 ? z : o.negative_slope * z, d: z > 0 ? 1 : o.negative_slope }),
  SiLU: (z) => ({ f: z * sigmoid(z), d: sigmoid(z) * (1 + z * (1 - sigmoid(z))) }),
  GELU: gelu,
};

const matrix = (rows, m) => ({ rows, m, data: new Array(rows * m).fill(0) });
const map = (a, f) => ({ ...a, data: a.data.map(f) });

// how many terms the sum of a loss is divided by
const divisor = (reduction, terms) => (reduction === "mean" && mistake !== "sum" ? terms : 1);
// a loss that is not reduced has an upstream gradient for each of its terms
const total = (terms, reduction, count = terms.length) =>
  reduction === "none" ? terms : [terms.reduce((a, b) => a + b, 0) / (reduction === "mean" ? count : 1)];
const upstreamAt = (upstream, i) => (upstream.length > 1 ? upstream[i] : upstream[0]);

const losses = {
  MSELoss(a, y, options, upstream) {
    const n = divisor(options.reduction, a.data.length);
    const terms = a.data.map((v, i) => (v - y.decimal[i]) ** 2);
    const grad = map(a, (v, i) => (2 * (v - y.decimal[i]) * upstreamAt(upstream, i)) / n);
    return { value: total(terms, options.reduction), shape: options.reduction === "none" ? [a.rows, a.m] : [], grad };
  },
  HalfSquaredError(a, y, options, upstream) {
    const terms = a.data.map((v, i) => (v - y.decimal[i]) ** 2 / 2);
    return { value: total(terms, "sum"), shape: [], grad: map(a, (v, i) => (v - y.decimal[i]) * upstream[0]) };
  },
  // y holds class indices, or a probability for each class; a sample of the class ignore_index does not count
  CrossEntropyLoss(a, y, options, upstream) {
    const indices = y.dtype === "int64", counts = (j) => !indices || y.decimal[j] !== options.ignore_index;
    const target = (i, j) => (indices ? (y.decimal[j] === i ? 1 : 0) : y.decimal[i * a.m + j]);
    const column = (j) => Array.from({ length: a.rows }, (_, i) => a.data[i * a.m + j]);
    const samples = Array.from({ length: a.m }, (_, j) => j).filter(counts);
    const n = divisor(options.reduction, samples.length), terms = new Array(a.m).fill(0), grad = matrix(a.rows, a.m);
    for (const j of samples) {
      const z = column(j), top = Math.max(...z), sum = z.reduce((s, v) => s + Math.exp(v - top), 0);
      const mass = z.reduce((s, _, i) => s + target(i, j), 0);
      z.forEach((v, i) => {
        if (target(i, j) !== 0) terms[j] -= target(i, j) * (v - top - Math.log(sum));
        const t = mistake === "no-one-hot" ? 0 : target(i, j);
        grad.data[i * a.m + j] = (((Math.exp(v - top) / sum) * mass - t) * upstreamAt(upstream, j)) / n;
      });
    }
    return { value: total(terms, options.reduction, samples.length), shape: options.reduction === "none" ? [a.m] : [], grad };
  },
};

function knows(c) {
  const { layers, loss } = c.network, o = loss.options;
  if (c.given.x.shape.length !== 2 || !(loss.type in losses)) return false;
  if (o.weight || o.label_smoothing) return false;
  return layers.every((layer) => layer.type === "Linear" || layer.type in activations);
}

function answer(c) {
  const given = (sign) => c.given[sign], quantities = {};
  const put = (sign, shape, data) => (quantities[sign] = { shape, decimal: data });
  const putMatrix = (sign, a) => put(sign, [a.rows, a.m], a.data);
  const [rows, m] = given("x").shape;

  // forward
  let a = { rows, m, data: given("x").decimal }, l = 0;
  const steps = [];
  for (const layer of c.network.layers) {
    const before = a;
    if (layer.type === "Linear") {
      l++;
      const W = given(`W[${l}]`), b = given(`b[${l}]`), [out, inn] = W.shape;
      a = matrix(out, m);
      for (let i = 0; i < out; i++)
        for (let j = 0; j < m; j++) {
          let sum = b ? b.decimal[i] : 0;
          for (let k = 0; k < inn; k++) sum += W.decimal[i * inn + k] * before.data[k * m + j];
          a.data[i * m + j] = sum;
        }
      steps.push({ l, W, b, before });
      putMatrix(`z[${l}]`, a);
    } else {
      const g = (z) => activations[layer.type](z, layer.options);
      a = map(before, (z) => g(z).f);
      steps.push({ l, g, before, after: a });
      putMatrix(`a[${l}]`, a);
    }
  }
  const loss = losses[c.network.loss.type](a, given("y"), c.network.loss.options, given("dC'/dC").decimal);
  put("C", loss.shape, loss.value);

  // backward
  let grad = loss.grad;
  putMatrix(steps.length ? `dC/da[${l}]` : "dC/dx", grad);
  for (let s = steps.length - 1; s >= 0; s--) {
    const step = steps[s], sign = s === 0 ? "dC/dx" : step.W ? `dC/da[${step.l - 1}]` : `delta[${step.l}]`;
    if (step.W) {
      const [out, inn] = step.W.shape, dW = new Array(out * inn).fill(0), db = new Array(out).fill(0);
      const input = mistake === "z-for-a" && s > 0 ? steps[s - 1].before : step.before;
      const back = matrix(inn, m);
      for (let i = 0; i < out; i++)
        for (let j = 0; j < m; j++) {
          const delta = grad.data[i * m + j];
          db[i] += mistake === "db-averaged" ? delta / m : delta;
          for (let k = 0; k < inn; k++) {
            dW[i * inn + k] += delta * input.data[k * m + j];
            back.data[k * m + j] += step.W.decimal[i * inn + k] * delta;
          }
        }
      put(`dC/dW[${step.l}]`, [out, inn], dW);
      if (step.b) put(`dC/db[${step.l}]`, [out], db);
      grad = back;
    } else {
      const at = mistake === "derivative-at-a" ? step.after : step.before;
      const slope = (i) => (mistake === "no-derivative" ? 1 : step.g(at.data[i]).d);
      grad = map(grad, (v, i) => v * slope(i));
    }
    putMatrix(sign, grad);
  }
  return { format: "oracle-vectors answer", version: 1, case: c.case, port: "port.js", quantities };
}

const [folder, ...files] = args;
for (const file of files) {
  const c = JSON.parse(fs.readFileSync(file, "utf8"));
  if (knows(c)) fs.writeFileSync(path.join(folder, path.basename(file)), JSON.stringify(answer(c)));
}
