/**
 * The rows of a run: training and held-out problems, from files or from the micro-world.
 * @module
 */
import { microRows, VISIBLE_FAMILIES } from "../data/micro/world.ts";
import { readRows, type Row } from "../data/rows.ts";
import type { Config, MicroConfig } from "./config_types.ts";
import type { Monitor } from "./monitor.ts";

/** Names of the micro-world's families to make problems of: the configured ones, else all that the model can see. */
export function microFamilies({ families }: MicroConfig, seesPictures: boolean): readonly string[] {
  return families ?? VISIBLE_FAMILIES[seesPictures ? "vision" : "text"];
}

/**
 * Reads or makes the rows; skipped ones are told with their reason. A run on files without `data.val_files` has no held-out rows.
 * @param seesPictures whether the model has a vision tower
 * @throws UserError when a file cannot be read or has no usable row
 */
export async function loadRows(
  config: Config,
  seesPictures: boolean,
  monitor: Monitor,
): Promise<{ train: Row[]; val: Row[] }> {
  const { data } = config;
  const read = async (path: string) => {
    const { rows, skipped } = await readRows(path, {
      columns: Object.fromEntries(
        Object.entries({
          problem: data.prompt_key,
          answer: data.answer_key,
          solution: data.solution_key,
          images: data.image_key,
          choices: data.choices_key,
        }).filter(([, name]) => name !== null),
      ),
      imageDir: data.image_dir ?? undefined,
    });
    for (const s of skipped) {
      const example = s.examples[0];
      monitor.say(
        `${path}: ${s.count} rows skipped: ${s.reason} (for example row ${example.row}: ${example.detail})`,
      );
    }
    return rows;
  };
  const families = microFamilies(data.micro, seesPictures);
  const micro = (
    split: "train" | "heldout",
    count: number,
  ) => [...microRows({ seed: data.seed, count, split, families })];
  const train = data.train_files === null
    ? micro("train", data.micro.train_count)
    : await read(data.train_files);
  const val = data.val_files !== null
    ? await read(data.val_files)
    : data.train_files === null
    ? micro("heldout", data.micro.val_count)
    : [];
  return { train, val };
}
