/**
 * Values of parsed expressions: exact rationals where possible, else complex numbers at fixed sample points of the
 * free variables.
 * @module
 */
import type { Expression } from "./expression.ts";

/** A rational number in lowest terms, denominator > 0. */
export interface Rational {
  /** numerator */
  num: bigint;
  /** denominator */
  den: bigint;
}

/** A complex number [real, imaginary]. */
export type Complex = readonly [number, number];
type Value = Complex | Value[][];

// Beyond this many bits an exact value is not worth its time; the sampled one decides.
const MAX_BITS = 4096;

function gcd(a: bigint, b: bigint): bigint {
  while (b !== 0n) [a, b] = [b, a % b];
  return a < 0n ? -a : a;
}

function rational(num: bigint, den: bigint): Rational | undefined {
  if (den === 0n || num.toString(2).length + den.toString(2).length > MAX_BITS) return undefined;
  const g = gcd(num, den) * (den < 0n ? -1n : 1n);
  return { num: num / g, den: den / g };
}

function decimal(text: string): Rational | undefined {
  const m = /^(\d*)\.?(\d*)(?:[eE]([+-]?\d+))?$/.exec(text);
  if (!m) return undefined;
  const exponent = Number(m[3] ?? 0) - m[2].length;
  if (Math.abs(exponent) > 400 || text.length > 400) return undefined;
  const digits = BigInt(m[1] + m[2]);
  return exponent >= 0
    ? rational(digits * 10n ** BigInt(exponent), 1n)
    : rational(digits, 10n ** BigInt(-exponent));
}

function factorial(n: bigint): bigint {
  let out = 1n;
  for (let i = 2n; i <= n; i++) out *= i;
  return out;
}

/** The exact value of a variable-free rational expression; undefined when it is none, or too large. */
export function exactValue(e: Expression): Rational | undefined {
  if (e.kind === "number") return decimal(e.text);
  if (e.kind === "call") {
    const a = e.args.length >= 1 ? exactValue(e.args[0]) : undefined;
    if (!a) return undefined;
    if (e.name === "percent") return rational(a.num, a.den * 100n);
    if (e.name === "abs") return { num: a.num < 0n ? -a.num : a.num, den: a.den };
    const small = a.den === 1n && a.num >= 0n && a.num <= 300n;
    if (e.name === "factorial" && small) return { num: factorial(a.num), den: 1n };
    const b = e.args[1] && exactValue(e.args[1]);
    if (e.name === "binom" && small && b && b.den === 1n && b.num >= 0n && b.num <= a.num) {
      return { num: factorial(a.num) / (factorial(b.num) * factorial(a.num - b.num)), den: 1n };
    }
    return undefined;
  }
  if (e.kind !== "operation") return undefined;
  const a = exactValue(e.left), b = exactValue(e.right);
  if (!a || !b) return undefined;
  switch (e.op) {
    case "+":
      return rational(a.num * b.den + b.num * a.den, a.den * b.den);
    case "-":
      return rational(a.num * b.den - b.num * a.den, a.den * b.den);
    case "*":
      return rational(a.num * b.num, a.den * b.den);
    case "/":
      return rational(a.num * b.den, a.den * b.num);
    case "^": {
      const size = b.num < 0n ? -b.num : b.num;
      if (b.den !== 1n || size > 1000n) return undefined;
      if (BigInt(a.num.toString(2).length + a.den.toString(2).length) * size > BigInt(MAX_BITS)) {
        return undefined;
      }
      const num = a.num ** size, den = a.den ** size;
      return b.num < 0n ? rational(den, num) : rational(num, den);
    }
  }
}

const add = (a: Complex, b: Complex): Complex => [a[0] + b[0], a[1] + b[1]];
const sub = (a: Complex, b: Complex): Complex => [a[0] - b[0], a[1] - b[1]];
// A real factor is treated apart so that infinity times a real number stays real.
const mul = (a: Complex, b: Complex): Complex =>
  a[1] === 0 && b[1] === 0 ? [a[0] * b[0], 0] : [a[0] * b[0] - a[1] * b[1], a[0] * b[1] + a[1] * b[0]];
const div = (a: Complex, b: Complex): Complex => {
  if (a[1] === 0 && b[1] === 0) return [a[0] / b[0], 0];
  const n = b[0] * b[0] + b[1] * b[1];
  return [(a[0] * b[0] + a[1] * b[1]) / n, (a[1] * b[0] - a[0] * b[1]) / n];
};
const log = (a: Complex): Complex => [Math.log(Math.hypot(a[0], a[1])), Math.atan2(a[1], a[0])];
const exp = (a: Complex): Complex =>
  a[1] === 0 ? [Math.exp(a[0]), 0] : [Math.exp(a[0]) * Math.cos(a[1]), Math.exp(a[0]) * Math.sin(a[1])];
const pow = (a: Complex, b: Complex): Complex => {
  if (a[1] === 0 && b[1] === 0 && (a[0] >= 0 || Number.isInteger(b[0]))) return [a[0] ** b[0], 0];
  if (b[1] === 0 && Number.isInteger(b[0]) && Math.abs(b[0]) <= 64) {
    let out: Complex = [1, 0];
    for (let i = 0; i < Math.abs(b[0]); i++) out = mul(out, a);
    return b[0] < 0 ? div([1, 0], out) : out;
  }
  return exp(mul(b, log(a)));
};
const NAN: Complex = [NaN, NaN];

const REAL: Record<string, ((x: number) => number) | undefined> = {
  sin: Math.sin,
  cos: Math.cos,
  tan: Math.tan,
  cot: (x) => 1 / Math.tan(x),
  sec: (x) => 1 / Math.cos(x),
  csc: (x) => 1 / Math.sin(x),
  arcsin: Math.asin,
  arccos: Math.acos,
  arctan: Math.atan,
  sinh: Math.sinh,
  cosh: Math.cosh,
  tanh: Math.tanh,
  floor: Math.floor,
  ceil: Math.ceil,
  degrees: (x) => x * Math.PI / 180,
  percent: (x) => x / 100,
};

function call(name: string, args: Complex[]): Complex {
  const [a, b] = args;
  if (name === "abs") return [Math.hypot(a[0], a[1]), 0];
  if (name === "exp") return exp(a);
  if (name === "root") {
    const degree = b ?? [2, 0];
    const odd = degree[1] === 0 && Math.abs(degree[0] % 2) === 1;
    // An odd root of a negative real number is the real one.
    if (odd && a[1] === 0 && a[0] < 0) return [-((-a[0]) ** (1 / degree[0])), 0];
    return pow(a, div([1, 0], degree));
  }
  if (name === "ln" || name === "log" || name === "lg") {
    const top = a[1] === 0 && a[0] > 0 ? [Math.log(a[0]), 0] as Complex : log(a);
    return b ? div(top, log(b)) : name === "lg" ? div(top, [Math.LN10, 0]) : top;
  }
  if (args.some((x) => x[1] !== 0)) return NAN;
  const reals = args.map((x) => x[0]);
  if (name === "min") return [Math.min(...reals), 0];
  if (name === "max") return [Math.max(...reals), 0];
  if (name === "factorial" && Number.isInteger(reals[0]) && reals[0] >= 0 && reals[0] <= 170) {
    return [Number(factorial(BigInt(reals[0]))), 0];
  }
  if (name === "gcd" || name === "lcm") {
    if (reals.some((x) => !Number.isSafeInteger(x))) return NAN;
    const whole = reals.map(BigInt);
    const g = whole.reduce(gcd);
    return [name === "gcd" ? Number(g) : Number(whole.reduce((x, y) => x / gcd(x, y) * y)), 0];
  }
  const f = REAL[name];
  return f && reals.length === 1 ? [f(reals[0]), 0] : NAN;
}

const isMatrix = (v: Value): v is Value[][] => Array.isArray(v[0]);

function combine(op: string, a: Value, b: Value): Value {
  if (!isMatrix(a) && !isMatrix(b)) {
    const f = op === "+" ? add : op === "-" ? sub : op === "*" ? mul : op === "/" ? div : pow;
    return f(a, b);
  }
  if (isMatrix(a) && isMatrix(b)) {
    if (op === "*") {
      if (a[0].length !== b.length) return NAN;
      return a.map((row) =>
        b[0].map((_, j) => row.map((x, k) => combine("*", x, b[k][j])).reduce((x, y) => combine("+", x, y)))
      );
    }
    if (op === "/" || op === "^" || a.length !== b.length || a.some((r, i) => r.length !== b[i].length)) {
      return NAN;
    }
    return a.map((row, i) => row.map((x, j) => combine(op, x, b[i][j])));
  }
  if (isMatrix(a)) return op === "*" || op === "/" ? a.map((row) => row.map((x) => combine(op, x, b))) : NAN;
  // 0 − M is how the parser writes −M.
  if (isMatrix(b) && (op === "*" || (op === "-" && !isMatrix(a) && a[0] === 0 && a[1] === 0))) {
    return b.map((row) => row.map((x) => combine(op, a, x)));
  }
  return NAN;
}

function evaluate(e: Expression, sample: (name: string) => number): Value {
  switch (e.kind) {
    case "number":
      return [Number(e.text), 0];
    case "variable":
      if (e.name === "pi") return [Math.PI, 0];
      if (e.name === "e") return [Math.E, 0];
      if (e.name === "i") return [0, 1];
      if (e.name === "infinity") return [Infinity, 0];
      return [sample(e.name), 0];
    case "operation":
      return combine(e.op, evaluate(e.left, sample), evaluate(e.right, sample));
    case "call": {
      const args = e.args.map((a) => evaluate(a, sample));
      if (e.name === "binom") {
        const exact = exactValue(e);
        return exact ? [Number(exact.num), 0] : NAN;
      }
      return args.some(isMatrix) ? NAN : call(e.name, args as Complex[]);
    }
    case "matrix":
      return e.rows.map((row) => row.map((x) => evaluate(x, sample)));
  }
}

/** A fixed value for a variable at sample point k: points 0 to 3 lie in (0.3, 2.3), later ones in (−2.3, 2.3). */
function sampleValue(name: string, k: number): number {
  let h = 2166136261 ^ (k * 7919);
  for (const c of name) h = Math.imul(h ^ c.codePointAt(0)!, 16777619);
  h = Math.imul(h ^ (h >>> 15), 2246822519);
  h ^= h >>> 13;
  const unit = (h >>> 0) / 2 ** 32;
  return k < 4 ? 0.3 + 2 * unit : unit < 0.5 ? -0.3 - 4 * unit : 0.3 + 4 * (unit - 0.5);
}

/** The scalar value at sample point k, or undefined for a matrix. */
export function valueAt(e: Expression, k: number): Complex | undefined {
  const v = evaluate(e, (name) => sampleValue(name, k));
  return isMatrix(v) ? undefined : v;
}

function close(a: Complex, b: Complex): boolean {
  if (a[1] === 0 && b[1] === 0 && a[0] === b[0]) return true;
  const size = Math.max(Math.hypot(a[0], a[1]), Math.hypot(b[0], b[1]));
  return Math.hypot(a[0] - b[0], a[1] - b[1]) <= 1e-9 * size + 1e-13 && Number.isFinite(size);
}

/** Equal, not equal, or undefined where a point gives no finite value. Real numbers are compared at negative points too. */
function samePoint(a: Value, b: Value): boolean | undefined {
  if (isMatrix(a) || isMatrix(b)) {
    if (!isMatrix(a) || !isMatrix(b)) return false;
    if (a.length !== b.length || a.some((row, i) => row.length !== b[i].length)) return false;
    const cells = a.flatMap((row, i) => row.map((x, j) => samePoint(x, b[i][j])));
    return cells.includes(false) ? false : cells.includes(undefined) ? undefined : true;
  }
  if (Number.isNaN(a[0]) || Number.isNaN(a[1]) || Number.isNaN(b[0]) || Number.isNaN(b[1])) return undefined;
  return close(a, b);
}

/**
 * Whether two expressions agree at fixed points of their variables: all positive points where both have a value, and
 * those points with negative coordinates where both are real. Undefined when no point decides.
 */
export function sameAtSamples(a: Expression, b: Expression): boolean | undefined {
  let decided = false;
  for (let k = 0; k < 8; k++) {
    const sample = (name: string) => sampleValue(name, k);
    const x = evaluate(a, sample), y = evaluate(b, sample);
    const real = (v: Value): boolean =>
      isMatrix(v) ? v.every((row) => row.every(real)) : Math.abs(v[1]) < 1e-12;
    if (k >= 4 && !(real(x) && real(y))) continue;
    const same = samePoint(x, y);
    if (same === false) return false;
    decided ||= same === true;
  }
  return decided ? true : undefined;
}
