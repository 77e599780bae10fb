/**
 * `data export`: the micro-world's problems as files, in the format that users bring.
 * @module
 */
import { exportRows } from "../data/micro/export.ts";
import { FAMILY_NAMES, microRows } from "../data/micro/world.ts";
import type { DataArgs } from "./arguments.ts";

/** Runs the command. */
export async function data(args: DataArgs): Promise<number> {
  const { count, seed, split } = args;
  const families = args.families?.split(",").map((name) => name.trim()) ?? FAMILY_NAMES;
  const written = await exportRows(microRows({ count, seed, split, families }), args.out);
  console.log(`written: ${written.path} (${written.rows} problems, ${written.pictures} pictures)`);
  return 0;
}
