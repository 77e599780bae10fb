import { assertEquals } from "@std/assert";
import type { Evaluation, GroupFigures } from "../../trainer/evaluate.ts";
import { blindLine, evaluationRecord, validationMetrics } from "../../trainer/run_report.ts";

const group = (accuracy: number): GroupFigures => ({
  problems: 12,
  samples: 24,
  accuracy,
  interval: [0, 1],
  passAt1: accuracy,
  passAt1Interval: [0, 1],
  length: 10 * accuracy,
  highEntropy: accuracy / 4,
  clipped: 0.125,
});

const EVALUATION: Evaluation = {
  all: group(0.5),
  byLevel: { easy: group(0.6) },
  bySource: { tally: group(0.7) },
  bySourceAndLevel: { tally: { easy: group(0.8) } },
  withPictures: group(0.781),
  threshold: 0.3,
  responses: [],
};

Deno.test("run report: an evaluation's metrics are named by family, by level and by both", () => {
  const metrics = validationMetrics(EVALUATION);
  assertEquals(
    ["val", "val/tally", "val/easy", "val/tally/easy"].map((path) => metrics[`${path}/accuracy`]),
    [0.5, 0.7, 0.6, 0.8],
  );
  assertEquals(metrics["val/tally/easy/response_length/mean"], 8);
  assertEquals(metrics["val/tally/n_he"], 0.175);
  assertEquals(metrics["val/response_length/clip_ratio"], 0.125);
  assertEquals(Object.keys(metrics).length, 13);
  assertEquals(validationMetrics(EVALUATION, "val_blind")["val_blind/tally/accuracy"], 0.7);
});

Deno.test("run report: a source called as a level leaves the level its metrics", () => {
  assertEquals(
    validationMetrics({ ...EVALUATION, bySource: { easy: group(0.1) } })["val/easy/accuracy"],
    0.6,
  );
});

Deno.test("run report: the control without pictures in a sentence", () => {
  const blind = evaluationRecord({ ...EVALUATION, all: group(0.31) });
  assertEquals("responses" in blind, false);
  assertEquals(
    blindLine({ evaluation: "aepo", seen: EVALUATION.withPictures!, blind }),
    "12 problems with pictures (aepo): 78.1 % right with their pictures, 31.0 % with gray ones",
  );
});
