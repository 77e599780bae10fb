/**
 * Taking normalised answers apart at signs outside brackets, and comparing the parts in pairs.
 * @module
 */
import type { Decision } from "./answer_value.ts";

const MAX_PARTS = 40;
const OPEN = "([{", CLOSE = ")]}";

/** Splits at a separator that stands outside all brackets. */
export function splitTop(s: string, separators: readonly string[]): string[] {
  const parts: string[] = [];
  let depth = 0, from = 0;
  for (let i = 0; i < s.length; i++) {
    if (s.startsWith("\\begin", i)) depth++;
    if (s.startsWith("\\end", i)) depth--;
    if (OPEN.includes(s[i])) depth++;
    else if (CLOSE.includes(s[i])) depth = Math.max(0, depth - 1);
    if (depth > 0) continue;
    const found = separators.find((x) =>
      s.startsWith(x, i) && !(x.startsWith("\\") && /[A-Za-z]/.test(s[i + x.length] ?? ""))
    );
    if (found === undefined) continue;
    parts.push(s.slice(from, i));
    i += found.length - 1;
    from = i + 1;
  }
  parts.push(s.slice(from));
  return parts.map((p) => p.trim());
}

/** The inside of a string that is one bracket pair as a whole, with its brackets. */
export function bracketed(s: string): { open: string; close: string; inner: string } | undefined {
  const open = s.startsWith("\\{") ? "\\{" : s[0];
  const close = s.endsWith("\\}") ? "\\}" : s[s.length - 1];
  if (s.length < open?.length + close?.length || !["(", "[", "{", "\\{"].includes(open)) return undefined;
  if (![")", "]", "}", "\\}"].includes(close)) return undefined;
  let depth = 0;
  for (let i = open.length - 1; i < s.length; i++) {
    if (OPEN.includes(s[i])) depth++;
    else if (CLOSE.includes(s[i]) && --depth === 0 && i < s.length - 1) return undefined;
  }
  return depth === 0
    ? { open, close, inner: s.slice(open.length, s.length - close.length).trim() }
    : undefined;
}

/** Whether each part of `a` can be paired with one of `b`; undefined when only undecided pairs are missing. */
export function sameUnordered(a: string[], b: string[], same: (x: string, y: string) => Decision): Decision {
  if (a.length !== b.length) return false;
  if (a.length > MAX_PARTS) return undefined;
  const left = [...b];
  let open = false;
  for (const x of a) {
    const decisions = left.map((y) => same(x, y));
    let at = decisions.indexOf(true);
    if (at < 0) {
      at = decisions.indexOf(undefined);
      if (at < 0) return false;
      open = true;
    }
    left.splice(at, 1);
  }
  return open ? undefined : true;
}

/** Whether each part of `a` is the part of `b` at the same place. */
export function sameOrdered(a: string[], b: string[], same: (x: string, y: string) => Decision): Decision {
  if (a.length !== b.length) return false;
  const decisions = a.map((x, i) => same(x, b[i]));
  return decisions.includes(false) ? false : decisions.includes(undefined) ? undefined : true;
}
