import { assert, assertEquals } from "@std/assert";
import { LatexJudge } from "../../trainer/latex_judge.ts";

Deno.test("the engine decides what the parser cannot read", async () => {
  const judge = new LatexJudge(5000);
  assertEquals(await judge.same("\\sum_{k=1}^{4} k", "10"), true);
  assertEquals(await judge.same("\\sum_{k=1}^{4} k", "11"), false);
  assertEquals(await judge.same("x^2-1", "(x-1)(x+1)"), true);
  assertEquals(await judge.same("x^2-1", "(x-1)(x+2)"), false);
  assertEquals(await judge.same("\\frac{", "}"), false);
  assertEquals(judge.timeouts, 0);
  judge.close();
});

Deno.test("an item over the time limit is not the same; the next one gets a fresh worker", async () => {
  const judge = new LatexJudge(1000);
  const start = performance.now();
  // A sum of a million terms: minutes of work for the engine.
  assertEquals(await judge.same("\\sum_{k=1}^{1000000} \\sum_{j=1}^{1000} \\frac{\\sin(kj)}{k}", "1"), false);
  assertEquals(judge.timeouts, 1);
  assert(performance.now() - start < 30_000);
  assertEquals(await judge.same("\\sum_{k=1}^{4} k", "10"), true);
  judge.close();
});
