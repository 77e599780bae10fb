/**
 * Greedy continuations of prompts with pictures: `qwen2_5_vl-*` of a goldens folder through the rollout engine, several
 * prompts at once, so that pictures, the paged cache and the rotary offset after them are all in it.
 * @module
 */
import type { Gpu } from "../../gpu/device.ts";
import { CausalLM } from "../../models/causal_lm.ts";
import type { ImagePatches } from "../../models/image_processor.ts";
import { openSafetensors } from "../../models/safetensors.ts";
import { RolloutEngine } from "../../trainer/rollout.ts";
import type { Report } from "./report.ts";

interface Case {
  name: string;
  images?: string[];
  prompt_ids: number[];
  greedy_16?: number[];
}

/** Checks every folder that has cases with a greedy continuation and the pixel values of its pictures. */
export async function checkVisionGreedy(gpu: Gpu, goldensFolder: string, report: Report): Promise<void> {
  for await (const entry of Deno.readDir(goldensFolder)) {
    const folder = `${goldensFolder}/${entry.name}`;
    const pixels = await openSafetensors(`${folder}/images.safetensors`).catch(() => undefined);
    if (!entry.name.startsWith("qwen2_5_vl") || !pixels) continue;
    const cases: Case[] = JSON.parse(await Deno.readTextFile(`${folder}/goldens.json`)).cases;
    const { images }: { images: { file: string; image_grid_thw: [number, number, number] }[] } = JSON.parse(
      await Deno.readTextFile(`${folder}/images.json`),
    );
    const patches = async (file: string): Promise<ImagePatches> => {
      const [t, h, w] = images.find((image) => image.file === file)!.image_grid_thw;
      const pixelValues = await pixels.readF32(`${file}.pixel_values_pil`) as Float32Array<ArrayBuffer>;
      return { pixelValues, grid: { t, h, w } };
    };
    const model = await CausalLM.load(gpu, `${folder}/checkpoint`);
    const longest = Math.max(...cases.map((c) => c.prompt_ids.length));
    const engine = new RolloutEngine(model, {
      slots: 2,
      blockSize: 16,
      chunk: 16,
      maxLength: longest + 32,
      patches: 4096,
    });
    const prompts = cases.map((c) => ({
      ids: c.prompt_ids,
      images: () => Promise.all((c.images ?? []).map(patches)),
    }));
    const rollouts = await engine.generate(prompts, {
      temperature: 0,
      top_p: 1,
      top_k: 0,
      min_p: 0,
      repetition_penalty: 1,
      max_tokens: 16,
      stop: [],
      seed: 0,
    });
    const wrong = rollouts.filter((r) =>
      JSON.stringify([...r.tokens]) !== JSON.stringify(cases[r.prompt].greedy_16)
    );
    report(
      `${entry.name} greedy continuations`,
      wrong.length,
      0,
      `${cases.length} prompts; wrong: ${wrong.map((r) => cases[r.prompt].name)}`,
    );
    engine.free();
    model.parameters.free();
  }
}
