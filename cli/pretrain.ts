/**
 * `pretrain`: makes the built-in base model from its recipe and seed.
 * @module
 */
import { RECIPE, TEXT_RECIPE } from "../data/micro/recipe.ts";
import { Gpu } from "../gpu/device.ts";
import { pretrain as run } from "../trainer/pretrain.ts";
import type { PretrainArgs } from "./arguments.ts";
import { Progress } from "./progress.ts";

/** Runs the command. */
export async function pretrain(args: PretrainArgs): Promise<number> {
  const progress = new Progress();
  const gpu = await Gpu.open();
  try {
    const recipe = args.text ? TEXT_RECIPE : RECIPE;
    const { out, from, tokens, seed } = args;
    const loss = await run(gpu, { out, from, tokens, seed, monitor: progress }, recipe);
    progress.close();
    console.log(
      `written: ${args.out} (loss ${loss.toFixed(4)} nats a response token over the last 100 steps)`,
    );
    return 0;
  } finally {
    gpu.close();
  }
}
