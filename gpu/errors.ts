/**
 * Errors whose message is written for the person at the keyboard.
 * @module
 */

/** Something the user can mend: bad config, data, checkpoint or machine. Printed without a stack. */
export class UserError extends Error {
  /** Stays the same where class names are minified. */
  override name = "UserError";
}

/** The GPU refused or lost something; the message names the operation, the shape and the limit. */
export class GpuError extends Error {
  /** Stays the same where class names are minified. */
  override name = "GpuError";
}
