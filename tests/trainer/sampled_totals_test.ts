import { assertEquals } from "@std/assert";
import { sampledLine, sampledTotals } from "../../trainer/sampled_totals.ts";

const iteration = (rollouts: number, branches: number, generated: number, shared: number) => ({
  "batch/sampled_trajectories": rollouts,
  "batch/branches": branches,
  "batch/generated_tokens": generated,
  "batch/shared_tokens": shared,
});

Deno.test("sampled totals: iterations are added up, other records of the log are not", () => {
  const totals = sampledTotals([
    { stage: "adacs", "batch/tokens": 600 },
    iteration(48, 0, 1100, 0),
    { stage: "aepo", "val/accuracy": 0.5 },
    iteration(48, 10, 900, 46),
  ]);
  assertEquals(totals, { rollouts: 96, branches: 10, generated: 2000, shared: 46 });
  assertEquals(
    sampledLine(totals!),
    "96 rollouts sampled, 2,000 tokens generated, 46 more saved by sharing the prefixes of 10 branches",
  );
});

Deno.test("sampled totals: without branches nothing is said of them; without iterations there are none", () => {
  const plain = { "batch/sampled_trajectories": 4, "batch/generated_tokens": 80 }; // as an older run logged it
  assertEquals(sampledLine(sampledTotals([plain])!), "4 rollouts sampled, 80 tokens generated");
  assertEquals(sampledTotals([{ stage: "adacs", "batch/tokens": 600 }]), undefined);
});
