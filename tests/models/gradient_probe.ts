/**
 * Slopes of an f64 loss by central differences, at single elements of every parameter and along random directions through
 * all of its elements, and the comparison of a gradient with them.
 * @module
 */
import { Rng } from "../../data/random.ts";

/** One slope of the loss: dL/ds of parameter + s · direction. */
interface Probe {
  readonly where: string;
  /** What the gradient says the slope is. */
  readonly of: (gradient: ArrayLike<number>) => number;
  readonly slope: number;
}

/** The probes of one parameter; single elements and directions are scaled apart. */
export interface ParameterProbes {
  readonly name: string;
  readonly size: number;
  readonly elements: readonly Probe[];
  readonly directions: readonly Probe[];
}

const DIRECTIONS = 3;
/** Length of a step along the unit vector; the error of the difference is its square. */
const STEP = 2e-5;

/**
 * Probes of every array of `parameters`: up to `samples` single elements, half of them among those that `favour` allows,
 * and three directions of random signs. `loss` reads the arrays, which are moved and put back.
 */
export function probe(
  parameters: ReadonlyMap<string, Float64Array>,
  loss: () => number,
  samples: number,
  favour: (name: string, index: number) => boolean = () => true,
): ParameterProbes[] {
  return [...parameters].map(([name, values]) => {
    const rng = new Rng("probe", name);
    const start = values.slice();
    // The move is +h or −h along every element's sign.
    const slope = (moved: readonly number[], sign: (i: number) => number): number => {
      const h = STEP / Math.sqrt(moved.length);
      for (const i of moved) values[i] = start[i] + h * sign(i);
      const above = loss();
      for (const i of moved) values[i] = start[i] - h * sign(i);
      const below = loss();
      values.set(start);
      return (above - below) / (2 * h);
    };
    const all = [...values.keys()];
    const favoured = all.filter((i) => favour(name, i));
    const half = Math.ceil(samples / 2);
    const chosen = values.length <= samples ? all : [
      ...rng.sample(favoured, Math.min(half, favoured.length)),
      ...rng.sample(all, samples - half),
    ];
    const elements = chosen.map((index) => ({
      where: `[${index}]`,
      of: (g: ArrayLike<number>) => g[index],
      slope: slope([index], () => 1),
    }));
    const directions = Array.from({ length: DIRECTIONS }, (_, d) => {
      const direction = Float64Array.from(values, () => rng.chance(0.5) ? 1 : -1);
      return {
        where: `along random direction ${d}`,
        of: (g: ArrayLike<number>) => direction.reduce((sum, x, i) => sum + x * g[i], 0),
        slope: slope(all, (i) => direction[i]),
      };
    });
    return { name, size: values.length, elements, directions };
  });
}

/** The worst disagreement of gradients with the probes. */
export interface Disagreement {
  /** |gradient − slope| over the largest slope of that kind in that parameter; infinite for a missing gradient. */
  readonly worst: number;
  readonly where: string;
}

/**
 * Compares gradients by name with the probes. A parameter without a gradient, a gradient without a parameter, a wrong size
 * and anything that is not finite count as infinitely wrong.
 */
export function disagreement(
  probes: readonly ParameterProbes[],
  gradients: ReadonlyMap<string, ArrayLike<number>>,
): Disagreement {
  let found: Disagreement = { worst: 0, where: "nowhere" };
  const note = (worst: number, where: string): void => {
    if (!(worst <= found.worst)) found = { worst: Number.isNaN(worst) ? Infinity : worst, where };
  };
  for (const name of gradients.keys()) {
    if (!probes.some((p) => p.name === name)) note(Infinity, `${name} is no parameter of the reference`);
  }
  for (const { name, size, elements, directions } of probes) {
    const gradient = gradients.get(name);
    if (gradient?.length !== size) {
      note(Infinity, `${name}: gradient of ${gradient?.length} elements, not ${size}`);
      continue;
    }
    for (const kind of [elements, directions]) {
      const scale = Math.max(...kind.map((p) => Math.abs(p.slope)));
      // Nothing could be wrong with a gradient that is zero everywhere: such a check would be empty.
      if (scale < 1e-4) note(Infinity, `${name}: the loss does not depend on it (largest slope ${scale})`);
      for (const p of kind) {
        const value = p.of(gradient);
        note(
          Math.abs(value - p.slope) / scale,
          `${name} ${p.where}: gradient ${value}, finite difference ${p.slope}`,
        );
      }
    }
  }
  return found;
}
