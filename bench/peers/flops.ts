/** Operations that a model's training step takes by its mathematics, whatever a program computes twice. @module */
import { parameterShapes } from "../../models/config.ts";
import { causalProduct } from "../attention.ts";
import { configOf, type TrainWork } from "./work.ts";

/**
 * A product with every matrix forward and two backward, for every token; the embedding only as the head over scored
 * tokens. Attention: two products forward, four backward.
 */
export function trainingFlops({ model, sequences, length }: TrainWork): number {
  const config = configOf(model);
  let sum = 6 * model.num_hidden_layers * causalProduct(config, sequences, length);
  for (const [name, shape] of parameterShapes(config)) {
    if (shape.length < 2) continue;
    const rows = sequences * (name === "model.embed_tokens.weight" ? length - 1 : length);
    sum += 6 * rows * shape[0] * shape[1];
  }
  return sum;
}
