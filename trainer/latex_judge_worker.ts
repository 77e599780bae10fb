/**
 * The worker side of the LaTeX judge: one engine, one question at a time.
 * @module
 */
import { ComputeEngine } from "@cortex-js/compute-engine";
import type { LatexQuestion } from "./latex_judge.ts";

const engine = new ComputeEngine();
const POINTS = [0.37, 1.61, 2.29];

function sameLatex(gold: string, answer: string): boolean {
  const x = engine.parse(gold), y = engine.parse(answer);
  if (!x.isValid || !y.isValid) return false;
  if (x.isEqual(y) === true) return true;
  // Undecided: compare values at fixed points of the free variables.
  const names = [...new Set([...x.unknowns, ...y.unknowns])].sort();
  if (names.length > 6) return false;
  return POINTS.every((p) => {
    const at = Object.fromEntries(names.map((name, i) => [name, engine.number(p + 0.173 * i)]));
    const [u, v] = [x, y].map((e) => e.subs(at).N());
    const [ur, ui, vr, vi] = [u.re, u.im, v.re, v.im];
    if (![ur, ui, vr, vi].every(Number.isFinite)) return false;
    return Math.hypot(ur - vr, ui - vi) <= 1e-9 * Math.max(1, Math.hypot(ur, ui));
  });
}

self.onmessage = (event: MessageEvent<LatexQuestion>): void => {
  let same = false;
  try {
    same = sameLatex(event.data.gold, event.data.answer);
  } catch {
    // An answer the engine refuses is not equal to anything; the reason is of no use to the run.
  }
  self.postMessage(same);
};
self.postMessage(true);
