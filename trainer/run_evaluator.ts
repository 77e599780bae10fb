/**
 * A run's evaluations of its held-out problems: once each, counted with one yardstick, and at the end once more without
 * pictures.
 * @module
 */
import type { Config } from "./config_types.ts";
import { evaluate, type Evaluation } from "./evaluate.ts";
import type { MetricsLog } from "./metrics_log.ts";
import type { Monitor } from "./monitor.ts";
import type { Policy } from "./policy.ts";
import type { Problem } from "./problems.ts";
import type { RolloutLog } from "./rollout_log.ts";
import { evaluationRecord, validationMetrics } from "./run_report.ts";
import type { RunState } from "./run_state.ts";

/** The run whose evaluations they are. */
export interface EvaluatedRun {
  /** What is evaluated. */
  readonly policy: Policy;
  /** The held-out problems; none: nothing is evaluated. */
  readonly problems: readonly Problem[];
  /** The whole run. */
  readonly config: Config;
  /** Gets the records. */
  readonly state: RunState;
  /** Gets a line for each evaluation. */
  readonly metrics: MetricsLog;
  /** Gets a line for each response. */
  readonly rollouts: RolloutLog;
  /** Hears of the progress. */
  readonly monitor: Monitor;
  /** Ends an evaluation, which then leaves no trace. */
  readonly signal?: AbortSignal;
}

/** Where the run is, for the logs. */
interface Place {
  readonly step: number;
  readonly stage: string;
}

/** Evaluates for one run. */
export class RunEvaluator {
  #run: EvaluatedRun;

  /** For the evaluations of `run`. */
  constructor(run: EvaluatedRun) {
    this.#run = run;
  }

  /**
   * Evaluates unless it was done before; the run's last evaluation is followed by the blind one.
   * @returns false when the signal ended it
   */
  async evaluate(name: string, step: number, stage: string): Promise<boolean> {
    const { config, problems, state } = this.#run;
    if (problems.length === 0) return true;
    if (!state.evaluations[name]) {
      const result = await this.#measure(problems, name, "val", { step, stage });
      if (!result) return false;
      state.evaluations[name] = evaluationRecord(result);
    }
    return name !== lastEvaluation(config) || await this.#blind(name, { step, stage });
  }

  /** The problems with pictures without them, held against the evaluation `name`. */
  async #blind(name: string, place: Place): Promise<boolean> {
    const { config, policy, problems, state } = this.#run;
    const seen = state.evaluations[name].withPictures;
    if (!seen || !config.trainer.val_blind || state.blind) return true;
    const blind = problems.filter((p) => p.images).map((p) => policy.writer.blind(p));
    const result = await this.#measure(blind, `${name} blind`, "val_blind", place);
    if (!result) return false;
    state.blind = { evaluation: name, seen, blind: evaluationRecord(result) };
    return true;
  }

  /** Evaluates and logs; undefined when the signal ended it. */
  async #measure(
    problems: readonly Problem[],
    name: string,
    prefix: string,
    place: Place,
  ): Promise<Evaluation | undefined> {
    const { config, policy, state, metrics, rollouts, monitor, signal } = this.#run;
    const { data, trainer, aepo, worker: { rollout } } = config;
    const started = performance.now();
    const result = await evaluate(
      policy,
      problems,
      {
        ...rollout.val_override_config,
        max_tokens: data.max_response_length,
        seed: trainer.seed,
        window: aepo.window,
        quantile: aepo.quantile,
        // The first evaluation's threshold: with one of its own, each model would set the bar that it is measured by.
        threshold: Object.values(state.evaluations)[0]?.threshold,
        signal,
      },
      monitor,
      `evaluating ${name}`,
    );
    if (signal?.aborted) return undefined;
    metrics.append({
      ...place,
      ...validationMetrics(result, prefix),
      [`timing_s/${prefix}`]: (performance.now() - started) / 1000,
    });
    await rollouts.appendEvaluation(place.step, name, result.responses);
    return result;
  }
}

/** Name of the evaluation of the model that the run ends with. */
function lastEvaluation({ adacs, aepo }: Config): string {
  return aepo.enabled ? "aepo" : adacs.enabled ? "adacs" : "base";
}
