// Eigenvalues of a symmetric matrix: Householder's reduction to three diagonals in panels (LAPACK's dsytrd), then
// implicit QL steps (Martin and Wilkinson, 1968).
import { EmulsionError } from '../errors.js';
import { addScaled, dot, product, stackRows, type Matrix } from './vectors.js';

/** Columns between two products of matrices. The rest of the work is one matrix times vector for each. */
const panelColumns = 32;

/** QL steps per eigenvalue; two are usual. */
const mostSteps = 60;

/**
 * The eigenvalues in no order, each within some ε of the largest. An n of 2048 takes seconds.
 *
 * @param matrix symmetric and finite
 */
export async function symmetricEigenvalues(matrix: Matrix): Promise<Float64Array> {
  const scale = matrix.data.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  if (scale === 0) return new Float64Array(matrix.rows);
  const scaled = matrix.data.map((value) => value / scale); // squares neither overflow nor vanish
  const { diagonal, off } = await tridiagonalize(scaled, matrix.rows);
  diagonalize(diagonal, off);
  return diagonal.map((value) => value * scale);
}

// Overwrites `a`. `off[i]` stands between the diagonal elements i and i + 1.
async function tridiagonalize(a: Float64Array, n: number) {
  const [diagonal, off] = [new Float64Array(n), new Float64Array(n)];
  for (let begin = 0; begin < n; begin += panelColumns) {
    const end = Math.min(begin + panelColumns, n);
    // The panel turns A into A − Σ v wᵀ + w vᵀ. Behind the panel that is done at its end.
    const [vs, ws]: Float64Array[][] = [[], []];
    for (let i = begin; i < end; i++) {
      const row = a.subarray(i * n, (i + 1) * n);
      vs.forEach((v, c) => {
        addScaled(row, -ws[c][i], v, i);
        addScaled(row, -v[i], ws[c], i);
      });
      diagonal[i] = row[i];
      if (i === n - 1) break;
      const { v, tau, beta } = reflection(row, i + 1);
      off[i] = beta;
      const w = timesVector(a, n, v, i + 1);
      vs.forEach((earlier, c) => {
        const [along, across] = [dot(ws[c], v, i + 1), dot(earlier, v, i + 1)];
        addScaled(w, -along, earlier, i + 1);
        addScaled(w, -across, ws[c], i + 1);
      });
      for (let r = i + 1; r < n; r++) w[r] *= tau;
      addScaled(w, (-tau / 2) * dot(w, v, i + 1), v, i + 1);
      vs.push(v);
      ws.push(w);
    }
    if (end < n) await subtractPanel(a, n, end, vs, ws);
  }
  return { diagonal, off };
}

// I − τ v vᵀ turns x[from..] into (β, 0, ..., 0); v[from] is 1.
function reflection(x: Float64Array, from: number) {
  const v = new Float64Array(x.length);
  v.set(x.subarray(from), from);
  const alpha = x[from];
  const below = dot(x, x, from + 1);
  v[from] = 1;
  if (below === 0) return { v, tau: 0, beta: alpha };
  const beta = -Math.sign(alpha || 1) * Math.sqrt(alpha ** 2 + below);
  for (let i = from + 1; i < v.length; i++) v[i] /= alpha - beta;
  return { v, tau: (beta - alpha) / beta, beta };
}

// A v over rows and columns `from` on. Four rows at once: every element of v is loaded for all of them.
function timesVector(a: Float64Array, n: number, v: Float64Array, from: number): Float64Array {
  const y = new Float64Array(n);
  let r = from;
  for (; r + 4 <= n; r += 4) {
    const [p, q, s, t] = [r * n, (r + 1) * n, (r + 2) * n, (r + 3) * n];
    let [y0, y1, y2, y3] = [0, 0, 0, 0];
    for (let c = from; c < n; c++) {
      const x = v[c];
      y0 += a[p + c] * x;
      y1 += a[q + c] * x;
      y2 += a[s + c] * x;
      y3 += a[t + c] * x;
    }
    y[r] = y0;
    y[r + 1] = y1;
    y[r + 2] = y2;
    y[r + 3] = y3;
  }
  for (; r < n; r++) y[r] = dot(a.subarray(r * n, (r + 1) * n), v, from);
  return y;
}

async function subtractPanel(
  a: Float64Array,
  n: number,
  from: number,
  vs: readonly Float64Array[],
  ws: readonly Float64Array[],
): Promise<void> {
  const tail = (vectors: readonly Float64Array[]) => vectors.map((each) => each.subarray(from));
  const m = n - from;
  const [left, right] = [stackRows(tail([...vs, ...ws]), m), stackRows(tail([...ws, ...vs]), m)];
  const { data } = await product(left, right, { transposeA: true }); // Σ v wᵀ + w vᵀ
  for (let i = 0, at = 0; i < m; i++) {
    const row = (from + i) * n + from;
    for (let j = 0; j < m; j++, at++) a[row + j] -= data[at];
  }
}

// QL steps with implicit shifts, in place; `off` is used up.
function diagonalize(d: Float64Array, off: Float64Array): void {
  const n = d.length;
  const sizes = d.map((value, i) => Math.abs(value) + Math.abs(off[i]));
  const negligible = Number.EPSILON * sizes.reduce((a, b) => Math.max(a, b));
  for (let l = 0; l < n; l++) {
    for (let steps = 0; ; steps++) {
      let m = l;
      while (m < n - 1 && Math.abs(off[m]) > negligible) m++;
      if (m === l) break;
      if (steps === mostSteps)
        throw new EmulsionError('the eigenvalues of a matrix do not converge');
      stepQl(d, off, l, m);
    }
  }
}

// One step on the block from l to m, which no negligible element splits.
function stepQl(d: Float64Array, off: Float64Array, l: number, m: number): void {
  const half = (d[l + 1] - d[l]) / (2 * off[l]);
  const shift = half + Math.sign(half || 1) * Math.sqrt(half ** 2 + 1);
  let g = d[m] - d[l] + off[l] / shift;
  let [sine, cosine, p] = [1, 1, 0];
  for (let i = m - 1; i >= l; i--) {
    const [f, b] = [sine * off[i], cosine * off[i]];
    const r = Math.sqrt(f * f + g * g);
    off[i + 1] = r;
    if (r === 0) {
      // The block splits here: what is left of it takes steps of its own.
      d[i + 1] -= p;
      off[m] = 0;
      return;
    }
    sine = f / r;
    cosine = g / r;
    g = d[i + 1] - p;
    const t = (d[i] - g) * sine + 2 * cosine * b;
    p = sine * t;
    d[i + 1] = g + p;
    g = cosine * t - b;
  }
  d[l] -= p;
  off[l] = g;
  off[m] = 0;
}
