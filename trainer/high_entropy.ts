/**
 * High-entropy tokens of a batch by the configured rules: windows and τ on the GPU, the running threshold and the trigger
 * words here.
 * @module
 */
import type { Gpu } from "../gpu/device.ts";
import type { Tokenizer } from "../models/tokenizer.ts";
import type { AepoConfig } from "./config_types.ts";
import { countHighEntropy, quantile, semanticMask } from "./entropy.ts";
import { filledQuantile, REASONING_TRIGGERS } from "./reference_entropy.ts";
import { EntropyThresholdEma } from "./reference_recipe.ts";
import type { Rules } from "./rules.ts";
import { TriggerWords } from "./trigger_words.ts";
import type { Trajectory } from "./trajectory.ts";
import { WindowAnalysis, type WindowReport } from "./window_analysis.ts";

/** What the rules look at in a trajectory. */
export type SampledTokens = Pick<Trajectory, "tokens" | "entropies" | "topTokens">;

/** Finds the high-entropy tokens of batch after batch. */
export class HighEntropyTokens {
  #rules: Rules;
  #quantile: number;
  #windows: WindowAnalysis;
  #triggers: TriggerWords;
  #threshold: number | null;

  /** @param threshold saved state */
  constructor(
    gpu: Gpu,
    tokenizer: Pick<Tokenizer, "decode">,
    aepo: Pick<AepoConfig, "window" | "quantile" | "trigger_words">,
    rules: Rules,
    threshold: number | null = null,
  ) {
    this.#rules = rules;
    this.#quantile = aepo.quantile;
    this.#windows = new WindowAnalysis(gpu, aepo.window, aepo.quantile, rules.window);
    this.#triggers = new TriggerWords(tokenizer, aepo.trigger_words ?? REASONING_TRIGGERS);
    this.#threshold = threshold;
  }

  /** {@link begin} and what it returns. */
  async find(trajectories: readonly SampledTokens[]): Promise<WindowReport> {
    return await (await this.begin(trajectories))();
  }

  /**
   * Has the GPU look for windows, τ, masks and counts of a batch. The reference's τ is the one of the batches before (−1 at
   * first, so that every trigger counts).
   * @returns waits for them; to be called before the next batch begins. Throws when the mask needs the most likely tokens
   * and the rollouts do not hold them
   */
  async begin(trajectories: readonly SampledTokens[]): Promise<() => Promise<WindowReport>> {
    const entropies = trajectories.map((t) => t.entropies);
    const running = this.#reference ? new EntropyThresholdEma(this.#threshold).threshold : undefined;
    const windows = await this.#windows.begin(entropies, running);
    return async () => this.#masked(await windows(), trajectories);
  }

  /** Moves {@link state} on by what {@link find} found in a batch. */
  learn(trajectories: readonly SampledTokens[], { windows, threshold }: WindowReport): void {
    this.#threshold = this.#reference
      ? new EntropyThresholdEma(this.#threshold).update(
        windows.map((w, i) => filledQuantile(w, trajectories[i].entropies, this.#quantile)),
      )
      : threshold;
  }

  /** τ as it is known before a batch, nats: the reference's running one, else the last batch's; null before the first. */
  state(): number | null {
    return this.#threshold;
  }

  /** Gives the memory back. */
  free(): void {
    this.#windows.free();
  }

  /** The report with masks and counts by the rules. */
  #masked(report: WindowReport, trajectories: readonly SampledTokens[]): WindowReport {
    if (this.#rules.mask === "window") return report;
    const masks = this.#rules.mask === "trigger"
      ? report.masks.map((mask, i) => {
        const { topTokens } = trajectories[i];
        if (!topTokens) throw new Error("the rollouts were made without topTokens");
        const triggers = this.#triggers.among(topTokens);
        return mask.map((m, t) => m * triggers[t]);
      })
      : this.#semantic(trajectories);
    return { ...report, masks, counts: Float32Array.from(masks, countHighEntropy) };
  }

  get #reference(): boolean {
    return this.#rules.threshold === "reference";
  }

  /** Appendix H: sampled trigger words whose own entropy reaches the quantile of all token entropies of the batch. */
  #semantic(trajectories: readonly SampledTokens[]): Float32Array[] {
    const threshold = quantile(trajectories.flatMap((t) => [...t.entropies]), this.#quantile);
    return trajectories.map((t) =>
      Float32Array.from(semanticMask(t.entropies, this.#triggers.among(t.tokens), threshold))
    );
  }
}
