/**
 * Where patches and image tokens stand, and what the vision tower makes of pictures, against transformers.
 * @module
 */
import type { CausalLM } from "../../models/causal_lm.ts";
import type { ImagePatches } from "../../models/image_processor.ts";
import { mropePositions } from "../../models/mrope.ts";
import { visionLayout } from "../../models/vision_layout.ts";
import { VisionTower } from "../../models/vision_tower.ts";
import { type GoldenCase, gridOf, readJson, tensors } from "./qwen2_5_vl_cases.ts";
import { maxAbs, maxDifference, type Report } from "./report.ts";
import { Worst } from "./worst.ts";

/** `vision.json`: window order, windows and places of patches. */
export function checkLayout(model: CausalLM, folder: string, name: string, report: Report): void {
  const worst = new Worst();
  for (const golden of readJson(`${folder}/vision.json`).images) {
    const layout = visionLayout([gridOf(golden.image_grid_thw)], model.config.vision!);
    const places = Array.from(
      { length: layout.patches },
      (_, p) => [...layout.places.subarray(2 * p, 2 * p + 2)],
    );
    worst.same([...layout.windowIndex], golden.window_index, `${golden.file} window_index`);
    worst.same(layout.windowBounds, golden.cu_window_seqlens, `${golden.file} cu_window_seqlens`);
    worst.same(places, golden.patch_h_w_positions, `${golden.file} positions`);
  }
  worst.report(`${name} window order and patch positions`, 0, report);
}

/** `mrope_positions.json` and the positions of the cases. */
export function checkPositions(
  model: CausalLM,
  cases: GoldenCase[],
  folder: string,
  name: string,
  report: Report,
): void {
  const worst = new Worst();
  const rows: (Omit<GoldenCase, "name"> & { attention_mask?: number[] })[] = [
    ...readJson(`${folder}/mrope_positions.json`).rows,
    ...cases,
  ];
  rows.forEach((row, i) => {
    // Padding stands to the left and takes no position.
    const kept = row.input_ids.flatMap((_, t) => row.attention_mask?.[t] === 0 ? [] : [t]);
    const ids = kept.map((t) => row.input_ids[t]);
    const { positions, ropeDelta, images } = mropePositions(
      ids,
      row.image_grid_thw.map(gridOf),
      model.config.vision!,
    );
    const axes = row.position_ids_t_h_w.map((axis) => kept.map((t) => axis[t]));
    worst.same([...positions], axes.flat(), `row ${i}`);
    worst.same(images, row.image_grid_thw.length, `row ${i}: pictures`);
    worst.same(ropeDelta, row.rope_delta, `row ${i}: rope_delta`);
  });
  worst.report(`${name} M-RoPE positions`, 0, report);
}

/** Every picture alone, then all of them in one batch. */
export async function checkTower(
  model: CausalLM,
  images: Map<string, ImagePatches>,
  folder: string,
  name: string,
  report: Report,
): Promise<void> {
  const golden = await tensors(`${folder}/vision.safetensors`);
  const { gpu } = model;
  const v = model.config.vision!;
  const perGroup = v.spatial_merge_size ** 2;
  const patches = [...images.values()].reduce((n, { grid }) => n + grid.h * grid.w, 0);
  const tower = new VisionTower(model, { patches, train: true });
  const inOrder = async () => {
    const rows = await gpu.readF32(tower.embeddings);
    const width = v.out_hidden_size;
    return Float32Array.from(
      [...tower.order].flatMap((at) => [...rows.subarray(at * width, (at + 1) * width)]),
    );
  };
  let hidden = 0;
  let merged = 0;
  let compared = 0;
  const against = (got: ArrayLike<number>, key: string): number => {
    const want = golden.get(key);
    if (!want) return 0;
    compared++;
    return maxDifference(got, want) / maxAbs(want);
  };
  for (const [file, image] of images) {
    tower.load([image]);
    await tower.forward();
    merged = Math.max(merged, against(await inOrder(), `${file}.merged_embeds`));
    for (let j = 0; j <= v.depth; j++) {
      const used = tower.size.patches * v.hidden_size;
      const state = (await gpu.readF32(tower.blockInput(j))).subarray(0, used);
      hidden = Math.max(hidden, against(state, `${file}.hidden_${j}`));
      if (j > 0) continue;
      const group = perGroup * v.hidden_size;
      const original = [...tower.order].flatMap((at) => [...state.subarray(at * group, (at + 1) * group)]);
      hidden = Math.max(hidden, against(original, `${file}.patch_embed`));
    }
  }
  const complete = compared === golden.size;
  report(`${name} tower: patch embedding and hidden states`, complete ? hidden : Infinity, 1e-4);
  report(`${name} tower: image tokens`, merged, 1e-4, `${compared} of ${golden.size} tensors`);
  tower.load([...images.values()]);
  await tower.forward();
  const together = [...images.keys()].flatMap((file) => [...golden.get(`${file}.merged_embeds`)!]);
  report(
    `${name} tower: all pictures in one batch`,
    maxDifference(await inOrder(), together) / maxAbs(together),
    1e-4,
  );
  tower.free();
}
