/**
 * Parquet files as a stream of records, one row group in memory at a time.
 * @module
 */
import type { AsyncBuffer, FileMetaData } from "hyparquet";
import { UserError } from "../gpu/errors.ts";
import type { FileRecord } from "./jsonl.ts";

/** The reader and all its codecs; loaded only where there is a Parquet file. */
async function loadReader() {
  const [{ asyncBufferFromFile, parquetMetadataAsync, parquetReadObjects, parquetSchema }, { compressors }] =
    await Promise.all([import("hyparquet"), import("hyparquet-compressors")]);
  return { asyncBufferFromFile, compressors, parquetMetadataAsync, parquetReadObjects, parquetSchema };
}

/**
 * The records of a Parquet file, with these columns of it only: the others are not read. Bytes come as `Uint8Array`
 * (text columns as text), lists as arrays, structs as objects.
 * @param names columns that are looked for; those that the file does not have are left out
 * @throws UserError where the file cannot be read, naming the row group
 */
export async function* parquetRecords(
  path: string,
  names: readonly string[],
): AsyncGenerator<FileRecord, void, undefined> {
  const reader = await loadReader();
  let file: AsyncBuffer, metadata: FileMetaData;
  try {
    file = await reader.asyncBufferFromFile(path);
    metadata = await reader.parquetMetadataAsync(file);
  } catch (error) {
    throw new UserError(
      `${path}: cannot be read (${(error as Error).message}); give the path of a JSONL or Parquet file`,
    );
  }
  const present = reader.parquetSchema(metadata).children.map(({ element }) => element.name);
  const columns = names.filter((name) => present.includes(name));
  let rowStart = 0;
  for (const [i, { num_rows }] of metadata.row_groups.entries()) {
    const rowEnd = rowStart + Number(num_rows);
    let records: Record<string, unknown>[];
    try {
      // Not utf8: a column that is not marked as text holds bytes, among them the pictures.
      records = columns.length === 0 ? Array.from({ length: Number(num_rows) }, () => ({})) : await reader
        .parquetReadObjects({
          file,
          metadata,
          columns,
          rowStart,
          rowEnd,
          compressors: reader.compressors,
          utf8: false,
        });
    } catch (error) {
      throw new UserError(
        `${path}: row group ${i + 1} of ${metadata.row_groups.length} (rows ${
          rowStart + 1
        } to ${rowEnd}) cannot be read (${(error as Error).message}); write the file again`,
      );
    }
    for (const [j, record] of records.entries()) yield { number: rowStart + j + 1, record };
    rowStart = rowEnd;
  }
}
