/** Anything that keeps a model's name from becoming a file. The message names the remedy. */
export class StoreError extends Error {
  override readonly name: string = "StoreError"
}

/** The name is unknown, or the path is missing, a directory, or unreadable. */
export class ModelNotFoundError extends StoreError {
  override readonly name = "ModelNotFoundError"
}

/** What arrived is not what was promised. The file has been removed. */
export class ChecksumError extends StoreError {
  override readonly name = "ChecksumError"
  constructor(
    readonly path: string,
    readonly expected: string,
    readonly actual: string,
    source: string,
  ) {
    super(
      `${source} gave a file whose SHA-256 is ${actual}, not ${expected}; it was removed. Try again, and if it repeats, do not trust that source.`,
    )
  }
}

/**
 * Why a source could not deliver. `unreachable` (no connection at all) and `unavailable` (it answered, but has no such file, or
 * refuses, or failed) let the next source try; `local` means this machine's disk, and no other source would help.
 */
type DownloadFailure = "unreachable" | "unavailable" | "local"

export class DownloadError extends StoreError {
  override readonly name = "DownloadError"
  constructor(
    message: string,
    readonly failure: DownloadFailure,
    /** The HTTP status, when there was one. */
    readonly status?: number,
  ) {
    super(message)
  }
}
