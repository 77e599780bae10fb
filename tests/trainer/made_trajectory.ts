/**
 * Made-up trajectories for tests of shaping.
 * @module
 */
import { Rng } from "../../data/random.ts";
import type { Trajectory } from "../../trainer/trajectory.ts";

/** A judged rollout of `length` random tokens below 50; `given` wins. */
export function madeTrajectory(
  group: number,
  sample: number,
  length: number,
  given: Partial<Trajectory> = {},
): Trajectory {
  const rng = new Rng("made trajectory", group, sample);
  const ids = () => Uint32Array.from({ length }, () => rng.below(50));
  return {
    problem: { row: { id: `p${group}`, problem: "", answer: "", source: "" }, prompt: [1], candidates: [] },
    group,
    sample,
    tokens: ids(),
    topTokens: ids(),
    logps: new Float32Array(length).fill(-1),
    entropies: Float32Array.from({ length }, () => 3 * rng.float()),
    text: "",
    finish: "stop",
    accuracy: rng.below(2),
    format: 0,
    ...given,
  };
}
