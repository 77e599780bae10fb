/** Cases and planted mistakes of the exact KL. @module */
import { fullKlDivergence, fullKlGradient } from "../../shaders/full_kl.ts";
import * as reference from "../reference/full_kl.ts";
import { type KernelCase, type Mistake, randomArray } from "./case.ts";

/** Vocabularies below, at and above whole vectors; one row and more than a workgroup; near and far references. */
export function cases(): KernelCase[] {
  return [[1, 5, 1, 2], [17, 64, 0.7, 4], [3, 123, 1.3, 0.1], [20, 301, 1, 1]].flatMap(
    ([rows, vocabulary, temperature, gap]): KernelCase[] => {
      const stride = Math.ceil(vocabulary / 4) * 4;
      const logits = randomArray([rows, stride], 6);
      const noise = randomArray([rows, stride + 1], gap);
      const reference_logits = logits.map((z, i) => z + noise[i + 1]);
      const two = { logits, reference: reference_logits, rows, vocabulary, stride, temperature };
      const result = reference.results(two, "logits"), reference_result = reference.results(two, "reference");
      const targets = new Uint32Array(rows).map((_, i) => (i * 7 + 1) % vocabulary);
      const dims = { rows, stride, first: 0, columns: vocabulary, inverse_temperature: 1 / temperature };
      const name = `rows=${rows} vocabulary=${vocabulary} T=${temperature} gap=${gap}`;
      const kl = reference.fullKl(two);
      const [dlogp, dentropy, dkl] = [1, 2, 3].map((i) => randomArray([rows + i]).slice(i));
      const whole = {
        name,
        kernel: fullKlDivergence,
        // What an earlier batch has left in column 3 must go.
        inputs: {
          logits,
          reference_logits,
          reference_result,
          result: result.map((x, i) => i % 4 === 3 ? 9 : x),
        },
        dims,
        tolerance: 1e-5,
        expected: () => ({ result: Float64Array.from(result, (x, i) => i % 4 === 3 ? kl[i >> 2] : x) }),
      };
      return [
        whole,
        {
          ...whole,
          name: `${name}, onto an earlier tile`,
          dims: { ...dims, first: 64 },
          expected: () => ({ result: Float64Array.from(result, (x, i) => i % 4 === 3 ? 9 + kl[i >> 2] : x) }),
        },
        {
          name,
          kernel: fullKlGradient,
          inputs: { tile: logits, reference_logits, reference_result, result, targets, dlogp, dentropy, dkl },
          dims,
          tolerance: 1e-5,
          expected: () => ({ tile: reference.fullKlGradient(two, targets, { dlogp, dentropy, dkl }) }),
        },
        {
          name: `${name}, the KL alone`,
          kernel: fullKlGradient,
          inputs: {
            tile: logits,
            reference_logits,
            reference_result,
            result,
            targets,
            dlogp: new Float32Array(rows),
            dentropy: new Float32Array(rows),
            dkl,
          },
          dims,
          tolerance: 2e-5,
          expected: () => ({
            tile: reference.fullKlGradient(two, targets, {
              dlogp: new Float32Array(rows),
              dentropy: new Float32Array(rows),
              dkl,
            }),
          }),
        },
      ];
    },
  );
}

const mistake = (kernel: { name: string }, why: string, from: string, to: string) => ({
  kernel: kernel.name,
  mistake: { why, from, to },
});

/** Mistakes that the cases must reject. */
export const mistakes: { kernel: string; mistake: Mistake }[] = [
  mistake(
    fullKlDivergence,
    "the other direction",
    "exp(log_p) * (log_p - log_r)",
    "exp(log_r) * (log_r - log_p)",
  ),
  mistake(fullKlDivergence, "padding counts", "< vec4u(d.columns);", "< vec4u(d.columns + 4u);"),
  mistake(fullKlDivergence, "the earlier batch's KL stays", "d.first == 0u", "false"),
  mistake(fullKlDivergence, "earlier tiles are lost", "d.first == 0u", "true"),
  mistake(fullKlDivergence, "the policy's log-sum-exp for both", "- reference_lse;", "- lse;"),
  mistake(fullKlGradient, "log-probabilities taken as free", "log_p - log_r - r.w", "log_p - log_r + 1.0"),
  mistake(fullKlGradient, "no temperature", "g * d.inverse_temperature", "g"),
  mistake(
    fullKlGradient,
    "the reference gets the gradient",
    "s.z * (log_p - log_r - r.w)",
    "-s.z * (log_p - log_r - r.w)",
  ),
  mistake(fullKlGradient, "no one-hot term", "g = select(g, g + s.x,", "g = select(g, g,"),
];
