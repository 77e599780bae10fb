/**
 * What a folder calls its tensors. Text models have one naming; Qwen2.5-VL has two: `visual.…` and `model.…` in the
 * released folders and wherever `save_pretrained` wrote them, `model.visual.…` and `model.language_model.…` where the
 * module's own names were stored. The released names are used everywhere but in such files.
 * @module
 */
import type { ModelConfig } from "./config.ts";

/** Which of the two namings a folder has. */
export type CheckpointNaming = "released" | "nested";

/** The naming of a folder that holds these tensors. */
export function namingOf(config: ModelConfig, stored: Iterable<string>): CheckpointNaming {
  if (!config.vision) return "released";
  for (const name of stored) if (/^model\.(language_model|visual)\./.test(name)) return "nested";
  return "released";
}

/** The name in the file of the parameter that the released folders call `name`. */
export function storedName(name: string, naming: CheckpointNaming): string {
  if (naming === "released") return name;
  if (name.startsWith("visual.")) return `model.${name}`;
  return name.replace(/^model\./, "model.language_model.");
}
