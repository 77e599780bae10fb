/**
 * What a checkpoint holds beside the model: the stage and its step, controllers, cursor, optimizer moments, and how long
 * the logs were. A run that continues from it gives the numbers of one that was never stopped.
 * @module
 */
import { join } from "node:path";
import type { Gpu } from "../gpu/device.ts";
import { UserError } from "../gpu/errors.ts";
import type { KernelChoices } from "../gpu/kernel_choices.ts";
import { openSafetensors, writeSafetensors } from "../models/safetensors.ts";
import type { NamedArray } from "../models/parameters.ts";
import { ValueHead } from "../models/value_head.ts";
import type { Curriculum } from "./adacs.ts";
import type { Evaluation, GroupFigures } from "./evaluate.ts";
import type { ControllerState } from "./aepo.ts";
import type { AdamW } from "./optimizer.ts";

/** The figures of an evaluation. */
export type EvaluationRecord = Omit<Evaluation, "responses">;

/** The problems with pictures, once as they are and once with gray pictures: the difference comes from looking. */
export interface BlindRecord {
  /** Name of the evaluation of the same model with the pictures: the run's last. */
  readonly evaluation: string;
  /** What that evaluation found on these problems. */
  readonly seen: GroupFigures;
  /** With gray in place of every picture. */
  readonly blind: EvaluationRecord;
}

/** The stages in their order. */
export const STAGES = ["adacs", "aepo", "done"] as const;
/** Where a run is. */
export type StageName = typeof STAGES[number];

/** State of a run between two optimizer steps. */
export interface RunState {
  stage: StageName;
  /** Steps (AdaCS) or iterations (AEPO) done in the stage. */
  step: number;
  /** Updates applied by the stage's optimizer. */
  optimizerStep: number;
  /** Evaluations done: `base`, `adacs`, `aepo`. */
  evaluations: Record<string, EvaluationRecord>;
  /** The control without pictures, once done. */
  blind?: BlindRecord;
  /** The fine-tuning set, once chosen. */
  curriculum?: Curriculum;
  /** Problems that AEPO has taken so far. */
  taken: number;
  /** State of every controller of AEPO. */
  controllers?: ControllerState;
  /** Updates in a row that were skipped because something was not finite. */
  skipped: number;
  /** Lines of metrics.jsonl and generations.jsonl. */
  lines: { metrics: number; generations: number };
  /** Kernels that were chosen by measuring: a run that goes on takes the same. */
  kernels?: KernelChoices;
}

/** The state at the start. */
export function freshState(): RunState {
  return {
    stage: "adacs",
    step: 0,
    optimizerStep: 0,
    evaluations: {},
    taken: 0,
    skipped: 0,
    lines: { metrics: 0, generations: 0 },
  };
}

const STATE = "run_state.json";
const MOMENTS = "optimizer.safetensors";
const VALUE_HEAD = "value_head.safetensors";

/** Writes state, moments and the value head, where there is one, into a checkpoint's folder. */
export async function saveState(
  folder: string,
  state: RunState,
  optimizer: AdamW | undefined,
  valueHead?: ValueHead,
): Promise<void> {
  await Deno.writeTextFile(join(folder, STATE), JSON.stringify(state));
  if (optimizer) await writeArrays(join(folder, MOMENTS), optimizer.state());
  if (valueHead) await writeArrays(join(folder, VALUE_HEAD), valueHead.parameters.weights());
}

async function writeArrays(path: string, arrays: AsyncIterable<NamedArray>): Promise<void> {
  const list: NamedArray[] = [];
  for await (const a of arrays) list.push({ ...a, data: a.data.slice() });
  await writeSafetensors(
    path,
    list.map((a) => ({ name: a.name, shape: a.shape, dtype: "F32" as const, data: a.data })),
    { format: "pt" },
  );
}

/**
 * Reads the state of a checkpoint.
 * @throws UserError when the folder is a model without a run's state
 */
export async function loadState(folder: string): Promise<RunState> {
  try {
    const { targets, kappa, threshold = null, ...state } = JSON.parse(
      await Deno.readTextFile(join(folder, STATE)),
    );
    // As checkpoints were before there was more than one recipe; the oldest have no threshold.
    if (targets && kappa) state.controllers = { reward: { targets }, klBudget: { kappa }, threshold };
    return state;
  } catch (error) {
    throw new UserError(`cannot resume from ${folder}: ${STATE} ${(error as Error).message}`);
  }
}

/**
 * Has the device run the kernels that the run had before: those of its checkpoint, or by rule where it has none. Gives what to
 * tell where it cannot, so that sums round otherwise.
 */
export function keepKernels({ tuner }: Pick<Gpu, "tuner">, { kernels }: RunState): string | undefined {
  if (kernels === undefined) tuner?.rest();
  else if (tuner === undefined) {
    if (Object.keys(kernels.choices).length > 0) {
      return "kernels were chosen by measuring before, and are by rule now";
    }
  } else if (!tuner.adopt(kernels)) return `the run was on ${kernels.adapter}: kernels are chosen anew`;
}

/** Puts the moments of a checkpoint back; a checkpoint made before the first update has none. */
export async function loadMoments(folder: string, step: number, optimizer: AdamW): Promise<void> {
  if (step === 0) return;
  const file = await openSafetensors(join(folder, MOMENTS));
  await optimizer.restore(step, (name) => file.readF32(name));
}

/** The value head of a checkpoint; a new one without. */
export async function loadValueHead(gpu: Gpu, folder: string | undefined, width: number): Promise<ValueHead> {
  if (folder === undefined) return await ValueHead.create(gpu, width);
  const file = await openSafetensors(join(folder, VALUE_HEAD));
  return await ValueHead.create(gpu, width, (name) => file.readF32(name));
}
