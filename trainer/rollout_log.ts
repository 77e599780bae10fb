/**
 * What generations.jsonl keeps of rollouts and of evaluations' responses: their tokens, and small copies of their
 * problems' pictures.
 * @module
 */
import type { Row } from "../data/rows.ts";
import type { Tokenizer } from "../models/tokenizer.ts";
import { tokenAdvantages } from "./advantage.ts";
import type { IterationReport } from "./aepo.ts";
import type { Config } from "./config_types.ts";
import type { JudgedResponse } from "./evaluate.ts";
import { KeptPictures } from "./kept_pictures.ts";
import type { MetricsLog } from "./metrics_log.ts";
import type { RunFolder } from "./run_folder.ts";
import { responseRecord, rolloutRecord } from "./run_report.ts";
import { groupsOf } from "./shape_batch.ts";
import { tokenBonus } from "./shaping.ts";

/** Writes the rollouts of one run. */
export class RolloutLog {
  #log: MetricsLog;
  #pictures: KeptPictures;
  #tokenizer: Tokenizer;
  #config: Config;

  /** Lines go to `log`, pictures into the folder. */
  constructor(log: MetricsLog, folder: RunFolder, tokenizer: Tokenizer, config: Config) {
    this.#log = log;
    this.#pictures = new KeptPictures(folder.picturesPath);
    this.#tokenizer = tokenizer;
    this.#config = config;
  }

  get #most(): number {
    const { rollouts_to_log } = this.#config.trainer;
    return rollouts_to_log === -1 ? Infinity : rollouts_to_log;
  }

  /** Writes an iteration's first groups, up to `trainer.rollouts_to_log` rollouts; at least one group. */
  async appendIteration({ metrics, trajectories, learned, settings }: IterationReport): Promise<void> {
    const { aepo, algorithm } = this.#config;
    let logged = 0;
    for (const [group, members] of groupsOf(trajectories)) {
      if (logged > 0 && logged + members.length > this.#most) break;
      logged += members.length;
      const images = await this.#imagesOf(trajectories[members[0]].problem.row);
      for (const t of members.map((i) => trajectories[i])) {
        // As the loss has them: the kernel's formula on the host.
        const bonus = tokenBonus(t.windows, t.mask, settings.threshold, t.lambda * aepo.entropy_bonus);
        this.#log.append(rolloutRecord(t, {
          step: metrics.step,
          pieces: this.#piecesOf(t.tokens),
          images,
          advantages: tokenAdvantages(t.advantage, t.tokens.length, bonus, algorithm.length_normalise),
          klWeight: settings.klWeights[t.bucket],
          learned: learned.has(group),
        }));
      }
    }
  }

  /** Writes every response of an evaluation, and the tokens of as many as of an iteration. */
  async appendEvaluation(step: number, name: string, responses: readonly JudgedResponse[]): Promise<void> {
    for (const [i, r] of responses.entries()) {
      const shown = i < this.#most && r.tokens &&
        { pieces: this.#piecesOf(r.tokens.ids), images: await this.#imagesOf(r.problem.row) };
      this.#log.append(responseRecord(step, name, r, shown || undefined));
    }
  }

  #imagesOf({ images }: Row): Promise<string[]> {
    return Promise.all((images ?? []).map((image) => this.#pictures.keep(image)));
  }

  /** The text of each token; of a character's tokens the last has it. */
  #piecesOf(ids: Uint32Array): string[] {
    const stream = this.#tokenizer.stream();
    const pieces = Array.from(ids, (id) => stream.push(id));
    pieces[pieces.length - 1] += stream.end();
    return pieces;
  }
}
