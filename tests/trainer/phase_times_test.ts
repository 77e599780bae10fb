import { assertEquals } from "@std/assert";
import { phaseLine, PhaseTimes } from "../../trainer/phase_times.ts";

Deno.test("phase times: iterations add up, the largest share comes first, other work is apart", () => {
  const times = new PhaseTimes();
  assertEquals(phaseLine(times.seconds), undefined);
  const record = {
    step: 1,
    stage: "aepo",
    "timing_s/gen": 3,
    "timing_s/update_actor": 6,
    "timing_s/step": 10,
  };
  times.add({ ...record, "timing_s/reward": 0.02, "timing_s/adv": 0.01 });
  times.add({ ...record, step: 2, "timing_s/controllers": 0.03, "perf/throughput": 5 });
  times.addOther("evaluation", 7);
  times.addOther("evaluation", 1);
  assertEquals(times.seconds.evaluation, 8);
  assertEquals(
    phaseLine(times.seconds),
    "iterations, 20 s: update 60.0 %, rollouts 30.0 %, controllers 0.1 %, reward 0.1 %, advantages 0.1 %; " +
      "reward, advantages and controllers together 0.3 %",
  );
});
