/** The machine's processor: what a software adapter, WebAssembly and PyTorch really run on. @module */
import { cpus } from "node:os";

/** Name, generation where Linux tells it, and number of cores: virtual machines often call all of theirs the same. */
export function processorName(): string {
  const list = cpus();
  const generation = generationOf(readCpuinfo());
  return `${list[0]?.model.trim() || "unknown processor"}${generation}, ${list.length} cores`;
}

/** ` family 25 model 1, avx2` from the text of /proc/cpuinfo; empty when it says no such thing. */
export function generationOf(cpuinfo: string): string {
  const field = (name: string) => cpuinfo.match(new RegExp(`^${name}\\s*: (.*)$`, "m"))?.[1];
  const family = field("cpu family");
  const model = field("model");
  if (family === undefined || model === undefined) return "";
  // The widest vectors decide how fast a software adapter is.
  const flags = (field("flags") ?? "").split(" ");
  const widest = ["avx512f", "avx2", "avx"].find((name) => flags.includes(name));
  return ` family ${family} model ${model}${widest ? `, ${widest}` : ""}`;
}

function readCpuinfo(): string {
  try {
    return Deno.readTextFileSync("/proc/cpuinfo");
  } catch {
    return "";
  }
}
