/**
 * What the report's own script gets to see, embedded in the page as JSON. Names are those of generations.jsonl.
 * @module
 */

/** One logged rollout or response with its tokens; arrays are [L]. What an evaluation does not have is undefined. */
export interface ShownRollout {
  /** Index in {@link PageData.places}. */
  readonly place: number;
  /** Index in {@link PageData.problems}. */
  readonly problem: number;
  /** Rollouts of one group share it: of one prompt in an iteration, or of one problem over all evaluations. */
  readonly group: number;
  readonly sample: number;
  /** `sample` of the rollout of the group that it branched from. */
  readonly parent?: number | null;
  /** Tokens shared with the parent. */
  readonly branch_step?: number | null;
  /** Window entropy that made it branch, nats. */
  readonly branch_entropy?: number | null;
  /** 1 when the answer is right. */
  readonly accuracy: number;
  /** Difficulty bucket of its group, or its problem's level. */
  readonly difficulty?: string;
  readonly n_he: number;
  readonly finish: string;
  readonly reward?: Readonly<Record<string, number>>;
  readonly advantage?: number;
  readonly learned?: boolean;
  readonly kl_weight?: { readonly outside: number; readonly inside: number };
  /** Text of each token. */
  readonly tokens: readonly string[];
  readonly logps?: readonly number[];
  readonly entropies: readonly number[];
  readonly windows: readonly number[];
  /** High-entropy windows as [first, end) pairs of tokens. */
  readonly high_entropy: readonly (readonly [number, number])[];
  readonly advantages?: readonly number[];
}

/** Where in the run a rollout was sampled. */
export interface Place {
  /** `iteration 3`, or the name of an evaluation. */
  readonly name: string;
  /** Whether it is an evaluation; one without pictures shows gray in place of each. */
  readonly evaluation: boolean;
  readonly blind: boolean;
  /** τ, nats. */
  readonly threshold?: number;
  /** N_target(d) and λ_d by bucket, where the reward is shaped. */
  readonly shaping?: Readonly<Record<string, { readonly target: number; readonly lambda: number }>>;
}

/** A problem that is shown. */
export interface ShownProblem {
  readonly id: string;
  readonly source?: string;
  readonly text: string;
  readonly answer: string;
  /** Names in {@link PageData.pictures}. */
  readonly images?: readonly string[];
}

/** The whole of it. */
export interface PageData {
  readonly places: readonly Place[];
  readonly problems: readonly ShownProblem[];
  readonly rollouts: readonly ShownRollout[];
  /** data: URLs by name; a name may be missing where the file is. */
  readonly pictures: Readonly<Record<string, string>>;
}
