/**
 * A process that saves checkpoints as fast as it can until it is killed, saying `saved N` after each.
 * Arguments: run folder, save limit, first step. Every byte of step N's files is N mod 256.
 */
import { RunFolder } from "../../trainer/run_folder.ts";

const folder = await RunFolder.open(Deno.args[0], Number(Deno.args[1]));
for (let step = Number(Deno.args[2]);; step++) {
  await folder.checkpoint(`aepo_step_${step}`, async (to) => {
    await Deno.mkdir(`${to}/optimizer`);
    await Deno.writeFile(`${to}/model.safetensors`, new Uint8Array(1 << 20).fill(step));
    await Deno.writeFile(`${to}/optimizer/state.bin`, new Uint8Array(1 << 16).fill(step));
    await Deno.writeTextFile(`${to}/state.json`, JSON.stringify({ step }));
  });
  console.log(`saved ${step}`);
}
