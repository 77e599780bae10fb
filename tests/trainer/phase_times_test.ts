import { assertEquals } from "@std/assert";
import { LapClock } from "../../trainer/lap_clock.ts";
import { phaseLine, PhaseTimes, steeringSeconds } from "../../trainer/phase_times.ts";

/** Runs with a clock that moves by `pass` alone. */
function withClock(body: (pass: (seconds: number) => void) => void): void {
  const { now } = performance;
  let clock = 500;
  performance.now = () => clock;
  try {
    body((seconds) => clock += 1000 * seconds);
  } finally {
    performance.now = now;
  }
}

Deno.test("lap clock: laps of one name add up, and all of them to the time since the start", () =>
  withClock((pass) => {
    const clock = new LapClock();
    pass(2);
    clock.lap("a");
    clock.lap("b");
    pass(3);
    clock.lap("a");
    pass(4);
    // Nobody has said yet what the last four seconds were.
    assertEquals([clock.laps, clock.total], [{ a: 5, b: 0 }, 5]);
    clock.lap("c");
    assertEquals([clock.laps, clock.total], [{ a: 5, b: 0, c: 4 }, 9]);
  }));

Deno.test("phase times: iterations add up, the largest share comes first, other work is apart", () =>
  withClock((pass) => {
    const times = new PhaseTimes();
    assertEquals(phaseLine(times.seconds), undefined);
    pass(7);
    times.lap("evaluation");
    const record = {
      step: 1,
      stage: "aepo",
      "timing_s/gen": 3,
      "timing_s/update_actor": 6,
      "timing_s/step": 10,
    };
    pass(10);
    times.lap("step");
    times.add({ ...record, "timing_s/reward": 0.02, "timing_s/adv": 0.01, "timing_s/filter": 0.08 });
    pass(0.5);
    times.lap("log");
    pass(10);
    times.lap("step");
    times.add({ ...record, step: 2, "timing_s/controllers": 0.03, "perf/throughput": 5 });
    pass(1);
    times.lap("evaluation");
    assertEquals([times.seconds.evaluation, times.total], [8, 28.5]);
    assertEquals(steeringSeconds(times.seconds).toFixed(9), "0.140000000");
    assertEquals(
      phaseLine(times.seconds),
      "iterations, 20 s: update 60.0 %, rollouts 30.0 %, filtering 0.4 %, controllers 0.1 %, reward 0.1 %, advantages 0.1 %; " +
        "reward, filtering, advantages and controllers together 0.7 %; beside them evaluations 8.0 s, rollout log 0.5 s",
    );
  }));
