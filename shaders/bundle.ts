// Made by `deno task bundle` from the .wgsl files beside it; do not edit.
// deno-fmt-ignore-file

/** WGSL texts by file name. */
export const SHADERS: Readonly<Record<string, string>> = {
};
