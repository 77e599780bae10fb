import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import { type Branch, type PrefixCredit, prefixCredit } from "../../trainer/prefix_credit.ts";

const trajectory = (sample: number, length: number, parent?: number, step = 0): Branch => ({
  sample,
  tokens: { length },
  branch: parent === undefined ? undefined : { parent, step, entropy: 1 },
});

/**
 * By hand: 0 of five tokens; 4 leaves it at 3, 5 at 1, 6 leaves 4 at 4; 1 stands alone.
 *
 *     0: a b c d e
 *     4: a b c f g h
 *     6: a b c f i
 *     5: a j
 *     1: k l
 */
const TREE = [
  trajectory(0, 5),
  trajectory(1, 2),
  trajectory(4, 6, 0, 3),
  trajectory(5, 2, 0, 1),
  trajectory(6, 5, 4, 4),
];
const LETTERS = ["abcde", "kl", "abcfgh", "aj", "abcfi"];

/** Sum of the shares by letter: how often a token of the tree is trained. */
function perNode(credit: readonly Float32Array[]): Map<string, number> {
  const sums = new Map<string, number>();
  credit.forEach((c, i) => c.forEach((x, t) => sums.set(LETTERS[i][t], (sums.get(LETTERS[i][t]) ?? 0) + x)));
  return sums;
}

/** Throws unless every token of the tree is trained once in all. */
function trainedOnce(credit: readonly Float32Array[]): void {
  const sums = perNode(credit);
  assertEquals(sums.size, 12);
  for (const [letter, sum] of sums) {
    assertAlmostEquals(sum, 1, 1e-6, `token ${letter} is trained ${sum} times`);
  }
}

const rejected = (credit: readonly Float32Array[]): boolean => {
  try {
    trainedOnce(credit);
    return false;
  } catch {
    return true;
  }
};

const f32 = (...values: number[]) => [...Float32Array.from(values)];

Deno.test("prefix credit: weighted gives each of the k trajectories through a token 1/k", () => {
  const credit = prefixCredit(TREE, "weighted");
  assertEquals(credit.map((c) => [...c]), [
    f32(1 / 4, 1 / 3, 1 / 3, 1, 1),
    f32(1, 1),
    f32(1 / 4, 1 / 3, 1 / 3, 1 / 2, 1, 1),
    f32(1 / 4, 1),
    f32(1 / 4, 1 / 3, 1 / 3, 1 / 2, 1),
  ]);
  trainedOnce(credit);
});

Deno.test("prefix credit: once gives it all to the trajectory that sampled the token", () => {
  const credit = prefixCredit(TREE, "once");
  assertEquals(credit.map((c) => [...c]), [
    [1, 1, 1, 1, 1],
    [1, 1],
    [0, 0, 0, 1, 1, 1],
    [0, 1],
    [0, 0, 0, 0, 1],
  ]);
  trainedOnce(credit);
});

Deno.test("prefix credit: full counts a prefix k times; the order of a group does not matter to weighted", () => {
  assertEquals(
    prefixCredit(TREE, "full").map((c) => [...c]),
    TREE.map((t) => Array(t.tokens.length).fill(1)),
  );
  assertEquals(perNode(prefixCredit(TREE, "full")).get("a"), 4);
  assertEquals(prefixCredit([...TREE].reverse(), "weighted").reverse(), prefixCredit(TREE, "weighted"));
});

Deno.test("prefix credit: without branches everyone bears its own loss, whatever the kind", () => {
  const plain = [trajectory(0, 3), trajectory(1, 1), trajectory(2, 4)];
  for (const kind of ["weighted", "once", "full"] as PrefixCredit[]) {
    assertEquals(prefixCredit(plain, kind).map((c) => [...c]), [[1, 1, 1], [1], [1, 1, 1, 1]]);
  }
});

Deno.test("prefix credit: planted mistakes are rejected by the sum over a token's trajectories", () => {
  assert(rejected(prefixCredit(TREE, "full")), "a prefix counted k times");
  // Counts the parent only, not the branches of branches.
  assert(
    rejected(
      TREE.map((t) =>
        Float32Array.from({ length: t.tokens.length }, (_, k) => k < (t.branch?.step ?? 0) ? 0.5 : 1)
      ),
    ),
  );
  // Weights by the number of trajectories of the whole tree.
  assert(rejected(prefixCredit(TREE, "weighted").map((c) => c.map((x) => x < 1 ? 1 / 4 : 1))));
  // One token too few in the prefix.
  assert(
    rejected(prefixCredit(
      TREE.map((t) => t.branch ? { ...t, branch: { ...t.branch, step: t.branch.step - 1 } } : t),
      "weighted",
    )),
  );
});
