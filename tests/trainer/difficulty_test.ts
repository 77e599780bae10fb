import { assertEquals, assertThrows } from "@std/assert";
import { UserError } from "../../gpu/errors.ts";
import { bucketOf } from "../../trainer/difficulty.ts";

const letters = (rollouts: number, recipe: "paper" | "reference") =>
  Array.from({ length: rollouts + 1 }, (_, correct) => bucketOf(correct, rollouts, recipe)[0]).join("");

Deno.test("buckets of G = 8 are the paper's 2 / 3-5 / 6", () => {
  assertEquals(letters(8, "paper"), "hhhmmmeee");
  assertEquals(letters(8, "reference"), "hhhmmmeee");
});

Deno.test("other G keep the shares 3/8 and 6/8, or 1/3 and 2/3", () => {
  assertEquals(letters(4, "paper"), "hhmee");
  assertEquals(letters(16, "paper"), "hhhhhhmmmmmmeeeee");
  assertEquals(letters(3, "paper"), "hhme");
  assertEquals(letters(3, "reference"), "hmee");
  assertEquals(letters(6, "reference"), "hhmmeee");
  assertEquals(letters(1, "paper"), "he");
});

Deno.test("counts that are none are refused", () => {
  assertThrows(() => bucketOf(9, 8), UserError, "9 of 8");
  assertThrows(() => bucketOf(0, 0), UserError);
});
