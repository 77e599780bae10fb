/** What only the vision tower runs, at the shape of the released 7B model for a 448 x 448 picture. @module */
import { geluBackward, geluForward } from "../shaders/gelu.ts";
import { fitted } from "../shaders/values.ts";
import { type Workload, workload } from "./workload.ts";

/** 32 x 32 patches make 256 merged tokens of four patches, 1280 wide each. */
const MERGED = { tokens: 256, width: 5120 };

/** The merger's activation. */
export function visionWorkloads(software: boolean): Workload[] {
  return [geluForward, geluBackward].map((kernel) =>
    workload(fitted<string, "tokens" | "width">(kernel, MERGED.width, software), "merger 256 x 5120", MERGED)
  );
}
