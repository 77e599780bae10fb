/**
 * A small byte-level byte-pair-encoding trainer (Sennrich, Haddow and Birch 2016, over bytes as in GPT-2).
 * @module
 */

/**
 * How text is cut before merging: Qwen2's pattern (a word with the mark or space before it, one digit, a run of marks,
 * white space). Every character falls in one of these, so any text survives. It has to be this one: `transformers`
 * gives every Qwen2 model this pattern, whatever its tokenizer.json says.
 */
export const PIECE_PATTERN: string = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}|" +
  " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

/** GPT-2's printable stand-in for each byte: printable Latin-1 stands for itself, the rest moves to U+0100 on. */
export const BYTE_LETTERS: readonly string[] = byteLetters();

function byteLetters(): string[] {
  const printable = (b: number): boolean => (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || (b >= 174);
  let moved = 0;
  return Array.from({ length: 256 }, (_, b) => String.fromCodePoint(printable(b) ? b : 256 + moved++));
}

/** A text's bytes in their printable spelling: " so" is "Ġso". */
export function spell(text: string): string {
  return Array.from(new TextEncoder().encode(text), (b) => BYTE_LETTERS[b]).join("");
}

function mergeIn(symbols: readonly string[], left: string, right: string): string[] {
  const merged: string[] = [];
  for (let i = 0; i < symbols.length; i++) {
    if (symbols[i] === left && symbols[i + 1] === right) {
      merged.push(left + right);
      i++;
    } else {
      merged.push(symbols[i]);
    }
  }
  return merged;
}

/**
 * Learns merges until every piece of the texts is one token, or `maxMerges` are found. The most frequent pair goes
 * first; ties go to the pair that sorts first by code points, so that equal texts give equal merges.
 * @returns merges in order, in the printable spelling
 */
export function trainBpe(texts: Iterable<string>, maxMerges: number): [string, string][] {
  const pattern = new RegExp(PIECE_PATTERN, "gu");
  const counts = new Map<string, number>();
  for (const text of texts) {
    for (const [piece] of text.matchAll(pattern)) counts.set(piece, (counts.get(piece) ?? 0) + 1);
  }
  let pieces = [...counts].map(([piece, times]) => ({ symbols: [...spell(piece)], times }));
  const merges: [string, string][] = [];
  while (merges.length < maxMerges) {
    pieces = pieces.filter(({ symbols }) => symbols.length > 1);
    const pairs = new Map<string, { pair: [string, string]; times: number }>();
    for (const { symbols, times } of pieces) {
      for (let i = 1; i < symbols.length; i++) {
        const key = `${symbols[i - 1]} ${symbols[i]}`;
        const entry = pairs.get(key) ?? { pair: [symbols[i - 1], symbols[i]], times: 0 };
        entry.times += times;
        pairs.set(key, entry);
      }
    }
    let best: string | undefined;
    for (const [key, { times }] of pairs) {
      const most = best === undefined ? 0 : pairs.get(best)!.times;
      if (times > most || (times === most && key < best!)) best = key;
    }
    if (best === undefined) break;
    const { pair } = pairs.get(best)!;
    merges.push(pair);
    for (const piece of pieces) piece.symbols = mergeIn(piece.symbols, ...pair);
  }
  return merges;
}
