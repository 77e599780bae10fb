import { assertEquals } from "@std/assert";
import {
  branchesPerRoot,
  type BranchOptions,
  branchPoint,
  dealSamples,
  nextStep,
  splitReserve,
} from "../../trainer/branching.ts";

const OPTIONS: BranchOptions = {
  threshold: 1,
  window: 3,
  share: 0.5,
  max_per_trajectory: 2,
  refractory: 5,
};

Deno.test("branching: every sample number is dealt once, the reserve as evenly as it goes", () => {
  assertEquals(dealSamples(8, 0), [[0], [1], [2], [3], [4], [5], [6], [7]]);
  assertEquals(dealSamples(8, 0.5), [[0, 4], [1, 5], [2, 6], [3, 7]]);
  assertEquals(dealSamples(8, 0.75), [[0, 2, 3, 4], [1, 5, 6, 7]]);
  assertEquals(dealSamples(7, 0.5), [[0], [1, 4], [2, 5], [3, 6]]);
  assertEquals(dealSamples(4, 1), [[0, 1, 2, 3]]);
  assertEquals(dealSamples(1, 1), [[0]]);
  for (const [n, share] of [[5, 0.5], [8, 0.3], [16, 0.9], [3, 0.99], [2, 0.5]]) {
    const deal = dealSamples(n, share);
    assertEquals(deal.flat().sort((a, b) => a - b), Array.from({ length: n }, (_, i) => i));
    assertEquals(
      deal.map((d) => d[0]),
      deal.map((_, i) => i),
      "a root has the number of an ordinary rollout",
    );
    const spread = deal.map((d) => d.length - 1);
    assertEquals(Math.max(...spread), branchesPerRoot(n, share));
    assertEquals(Math.max(...spread) - Math.min(...spread) <= 1, true);
  }
});

Deno.test("branching: a branch takes a number and half of the rest, more where the parent may not branch again", () => {
  assertEquals(splitReserve([4], 1), { sample: 4, parent: [], branch: [] });
  assertEquals(splitReserve([2, 3, 4, 5], 9), { sample: 2, parent: [3, 4], branch: [5] });
  assertEquals(splitReserve([2, 3, 4, 5], 1), { sample: 2, parent: [3], branch: [4, 5] });
  assertEquals(splitReserve([2, 3, 4, 5], 0), { sample: 2, parent: [], branch: [3, 4, 5] });
});

Deno.test("branching: at the first window that is known in full and above τ, looking forward", () => {
  const h = [0, 0, 3, 0, 0, 0, 2, 2, 2, 0];
  // Means of three from 0 on: 1, 1, 1, 0, 2/3, 4/3, 2, 4/3; 1 does not exceed 1.
  assertEquals(branchPoint(h, 0, OPTIONS), { step: 5, entropy: 4 / 3 });
  assertEquals(branchPoint(h, 6, OPTIONS), { step: 6, entropy: 2 });
  assertEquals(branchPoint(h, 0, { ...OPTIONS, threshold: 0.9 }), { step: 0, entropy: 1 });
  assertEquals(branchPoint(h, 0, { ...OPTIONS, threshold: 2 }), undefined);
  // As the response grows: nothing is decided on a part of a window.
  assertEquals(branchPoint(h.slice(0, 7), 0, OPTIONS), undefined);
  assertEquals(branchPoint(h.slice(0, 8), 0, OPTIONS), { step: 5, entropy: 4 / 3 });
  assertEquals(branchPoint([5, 5], 0, OPTIONS), undefined, "the end cuts the window");
  assertEquals(branchPoint([5, 5], 0, { ...OPTIONS, window: 1 }), { step: 0, entropy: 5 });
});

Deno.test("branching: one window triggers once, however short the refractory distance", () => {
  assertEquals(nextStep(10, OPTIONS), 15);
  assertEquals(nextStep(10, { ...OPTIONS, refractory: 1 }), 13);
});
