import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import { learningRate, type ScheduleOptions } from "../../trainer/schedule.ts";

const options: ScheduleOptions = {
  lr: 1,
  lr_warmup_steps: 4,
  lr_scheduler_type: "linear",
  min_lr_ratio: 0.1,
};

Deno.test("schedule: rises over the warm-up without a step of rate 0, falls to the minimum", () => {
  const rates = Array.from({ length: 21 }, (_, i) => learningRate(options, i, 20));
  assertEquals(rates.slice(0, 5), [0.2, 0.4, 0.6, 0.8, 1]);
  for (let i = 5; i <= 20; i++) assert(rates[i] < rates[i - 1]);
  assertAlmostEquals(rates[20], 0.1);
});

Deno.test("schedule: constant stays, cosine is half way down in the middle", () => {
  assertEquals(learningRate({ ...options, lr_scheduler_type: "constant" }, 17, 20), 1);
  assertAlmostEquals(learningRate({ ...options, lr_scheduler_type: "cosine" }, 12, 20), 0.55);
});

Deno.test("schedule: a warm-up takes at most a third of the steps", () => {
  assertEquals(learningRate({ ...options, lr_warmup_steps: 10 }, 1, 6), 2 / 3);
  assertEquals(learningRate({ ...options, lr_warmup_steps: 10 }, 2, 6), 1);
  assertEquals(learningRate({ ...options, lr_warmup_steps: 10 }, 0, 1), 1);
});
