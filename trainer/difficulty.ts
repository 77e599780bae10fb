/**
 * Difficulty buckets from the rollouts of one prompt, recomputed every iteration.
 * @module
 */
import { UserError } from "../gpu/errors.ts";

/** Whose rule a component follows: the paper's text or the authors' release. */
export type Recipe = "paper" | "reference";

/** A prompt's difficulty under the current policy. */
export type Bucket = "easy" | "medium" | "hard";

/** All buckets, easiest first. */
export const BUCKETS: readonly Bucket[] = ["easy", "medium", "hard"];

/**
 * The bucket of a prompt of whose `rollouts` answers `correct` were right.
 *
 * `paper` (section 3.3, G = 8): 6 or more right is easy, 3 to 5 medium, fewer hard. For another G the same shares hold:
 * easy from 6/8 on, medium from 3/8 on, compared in whole numbers, so that G = 4 needs 3 and 2, G = 16 needs 12 and 6.
 * `reference` (update_difficulty_and_skip_gid_set): easy from 2/3 on, medium from 1/3 on; the same for G = 8.
 *
 * @throws UserError when the counts are not 0 ≤ correct ≤ rollouts, rollouts ≥ 1.
 */
export function bucketOf(correct: number, rollouts: number, recipe: Recipe = "paper"): Bucket {
  if (!(rollouts >= 1) || !(correct >= 0) || correct > rollouts) {
    throw new UserError(
      `difficulty needs 0 <= correct <= rollouts and rollouts >= 1, got ${correct} of ${rollouts}`,
    );
  }
  const [easy, medium, of] = recipe === "paper" ? [6, 3, 8] : [2, 1, 3];
  if (correct * of >= easy * rollouts) return "easy";
  return correct * of >= medium * rollouts ? "medium" : "hard";
}

/** A fresh value per bucket, made by `make`. */
export function perBucket<T>(make: (bucket: Bucket) => T): Record<Bucket, T> {
  return { easy: make("easy"), medium: make("medium"), hard: make("hard") };
}
