/**
 * The names and signatures of `@std/assert` that our tests use, over `node:assert`.
 * `@std/assert` lives on JSR only; where JSR resolves, point the import map's one line at it instead.
 * @module
 */
import nodeAssert from "node:assert/strict";

/** Throws an AssertionError with `msg` unless `expr` is truthy. */
export function assert(expr: unknown, msg = ""): asserts expr {
  if (!expr) throw new nodeAssert.AssertionError({ message: msg || "Assertion failed" });
}

/** Deep structural equality. */
export function assertEquals<T>(actual: T, expected: T, msg?: string): void {
  nodeAssert.deepStrictEqual(actual, expected, msg);
}

/** Deep structural inequality. */
export function assertNotEquals<T>(actual: T, expected: T, msg?: string): void {
  nodeAssert.notDeepStrictEqual(actual, expected, msg);
}

/** `|actual − expected| ≤ tolerance` (default 1e-7); NaN is never close to anything. */
export function assertAlmostEquals(actual: number, expected: number, tolerance = 1e-7, msg?: string): void {
  if (Object.is(actual, expected)) return;
  const delta = Math.abs(actual - expected);
  if (!(delta <= tolerance)) {
    throw new nodeAssert.AssertionError({
      message: `${
        msg ? msg + ": " : ""
      }expected ${actual} to be within ${tolerance} of ${expected} (off by ${delta})`,
    });
  }
}

/** `actual` holds the substring `expected`. */
export function assertStringIncludes(actual: string, expected: string, msg?: string): void {
  if (!actual.includes(expected)) {
    throw new nodeAssert.AssertionError({
      message: msg ?? `expected ${JSON.stringify(actual)} to include ${JSON.stringify(expected)}`,
    });
  }
}

/** `actual` matches the pattern `expected`. */
export function assertMatch(actual: string, expected: RegExp, msg?: string): void {
  nodeAssert.match(actual, expected, msg);
}

type ErrorClass<E extends Error> = abstract new (...args: any[]) => E;

function checkError<E extends Error>(error: unknown, cls?: ErrorClass<E>, includes?: string): E {
  assert(error instanceof Error, `expected an Error, got ${String(error)}`);
  if (cls) assert(error instanceof cls, `expected ${cls.name}, got ${error.name}: ${error.message}`);
  if (includes !== undefined) assertStringIncludes(error.message, includes);
  return error as E;
}

/** `fn` throws; optionally an instance of `cls` whose message holds `includes`. Returns the error. */
export function assertThrows<E extends Error = Error>(
  fn: () => unknown,
  cls?: ErrorClass<E>,
  includes?: string,
): E {
  try {
    fn();
  } catch (error) {
    return checkError(error, cls, includes);
  }
  throw new nodeAssert.AssertionError({ message: "expected the function to throw" });
}

/** The promise of `fn` rejects; otherwise as {@link assertThrows}. */
export async function assertRejects<E extends Error = Error>(
  fn: () => PromiseLike<unknown>,
  cls?: ErrorClass<E>,
  includes?: string,
): Promise<E> {
  try {
    await fn();
  } catch (error) {
    return checkError(error, cls, includes);
  }
  throw new nodeAssert.AssertionError({ message: "expected the promise to reject" });
}
