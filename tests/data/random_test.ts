import { assert, assertEquals } from "@std/assert";
import { philox4x32, Rng } from "../../data/random.ts";

Deno.test("philox4x32 gives the known answers of Random123", () => {
  const max = 0xffffffff;
  assertEquals(philox4x32([0, 0, 0, 0], [0, 0]), [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]);
  assertEquals(philox4x32([max, max, max, max], [max, max]), [
    0x408f276d,
    0x41c83b0e,
    0xa20bc7c6,
    0x6d5451fd,
  ]);
  assertEquals(
    philox4x32([0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344], [0xa4093822, 0x299f31d0]),
    [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1],
  );
});

Deno.test("a stream depends on every part of its path, and on nothing else", () => {
  const draw = (...path: (number | string)[]): number[] => {
    const rng = new Rng(...path);
    return Array.from({ length: 10 }, () => rng.next());
  };
  assertEquals(draw(1, "train", 5), draw(1, "train", 5));
  const streams = [
    draw(1, "train", 5),
    draw(2, "train", 5),
    draw(1, "heldout", 5),
    draw(1, "train", 6),
    draw("1", "train", 5),
  ];
  assertEquals(new Set(streams.flat()).size, 50);
});

Deno.test("below, weighted and sample are fair within four standard errors", () => {
  const rng = new Rng("fair");
  const n = 40_000;
  const near = (hits: number, p: number): void => {
    const error = Math.sqrt(n * p * (1 - p));
    assert(Math.abs(hits - n * p) < 4 * error, `${hits} of ${n}, expected ${n * p}`);
  };
  const below = [0, 0, 0, 0, 0], weighted = [0, 0, 0, 0], first = [0, 0, 0];
  for (let i = 0; i < n; i++) {
    below[rng.below(5)]++;
    weighted[rng.weighted([1, 0, 3, 6])]++;
    const [a, b] = rng.sample([0, 1, 2], 2);
    assert(a !== b);
    first[a]++;
  }
  below.forEach((hits) => near(hits, 0.2));
  assertEquals(weighted[1], 0);
  [[0, 0.1], [2, 0.3], [3, 0.6]].forEach(([i, p]) => near(weighted[i], p));
  first.forEach((hits) => near(hits, 1 / 3));
});
