/** What sort of device an adapter is, as far as its name tells: WebGPU does not say. @module */
import type { AdapterFacts } from "../../gpu/device.ts";

/** `software` runs on the processor, `discrete` is a card with memory of its own, `other` the rest and the unknown. */
export type AdapterKind = "software" | "discrete" | "other";

/** NVIDIA's PCI number, which stands for the maker's name where the driver gives no other. */
const NVIDIA = /nvidia|^4318$|^0x10de$/i;
/** NVIDIA's that share their memory with the processor. */
const SHARED = /tegra|orin|xavier|thor|gb10\b/i;
/** AMD's and Intel's cards; `Radeon Graphics`, `Radeon 780M` and `Arc Graphics` are part of a processor. */
const CARDS = /radeon.* (rx|pro|vii)\b|instinct|firepro|\barc\b.* [ab]\d{2,3}\b/i;

/** The kind of an adapter. */
export function adapterKind(
  { software, name, vendor }: Pick<AdapterFacts, "software" | "name" | "vendor">,
): AdapterKind {
  if (software) return "software";
  const nvidia = (NVIDIA.test(vendor) || NVIDIA.test(name)) && !SHARED.test(name);
  return nvidia || CARDS.test(name) ? "discrete" : "other";
}
