/**
 * Checked access to the keys of a parsed JSON file.
 * @module
 */
import { UserError } from "../gpu/errors.ts";

/** A JSON object. */
export type Json = Record<string, unknown>;

/** One JSON object with its place, so that every refusal names file, key and value. */
export class Fields {
  /** @param where File and outer keys, for messages. */
  constructor(readonly object: Json, readonly where: string) {}

  /** Throws for the value of `key`. */
  refuse(key: string, why: string): never {
    throw new UserError(`${this.where}: ${key} = ${JSON.stringify(this.object[key])}: ${why}`);
  }

  /** The value, undefined where it is missing or null. */
  get(key: string): unknown {
    return this.object[key] ?? undefined;
  }

  /** The value, which must be there. */
  need(key: string): unknown {
    const value = this.get(key);
    if (value === undefined) throw new UserError(`${this.where}: the key ${key} is missing`);
    return value;
  }

  /** A finite number above 0. */
  positive(key: string, fallback?: number): number {
    const value = fallback === undefined ? this.need(key) : this.get(key) ?? fallback;
    if (typeof value !== "number" || !Number.isFinite(value) || value <= 0) {
      this.refuse(key, "must be a number above 0");
    }
    return value;
  }

  /** A whole number above 0. */
  count(key: string, fallback?: number): number {
    const value = this.positive(key, fallback);
    if (!Number.isSafeInteger(value)) this.refuse(key, "must be a whole number");
    return value;
  }

  /** True or false. */
  flag(key: string, fallback: boolean): boolean {
    const value = this.get(key) ?? fallback;
    if (typeof value !== "boolean") this.refuse(key, "must be true or false");
    return value;
  }

  /** Token ids: one or a list, empty where there is none. */
  ids(key: string): number[] {
    const value = this.get(key);
    const ids = value === undefined ? [] : Array.isArray(value) ? value : [value];
    if (!ids.every((id) => Number.isSafeInteger(id) && id >= 0)) {
      this.refuse(key, "must be a token id or a list of them");
    }
    return ids as number[];
  }

  /** The object under `key`, where there is one. */
  child(key: string): Fields | undefined {
    const value = this.get(key);
    if (value === undefined) return undefined;
    if (!isObject(value)) this.refuse(key, "must be an object");
    return new Fields(value, `${this.where}: ${key}`);
  }
}

/** Whether a parsed value is an object: not null, not a list. */
export function isObject(value: unknown): value is Json {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
