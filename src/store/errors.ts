/** The file of a model could not be found or downloaded. The message names the remedy. */
export class StoreError extends Error {
  override readonly name: string = "StoreError"
}

/** The name is unknown, or the path is missing, a directory or unreadable. */
export class ModelNotFoundError extends StoreError {
  override readonly name = "ModelNotFoundError"
}

/** A downloaded file has the wrong hash. It has been removed. */
export class ChecksumError extends StoreError {
  override readonly name = "ChecksumError"
  constructor(
    readonly path: string,
    readonly expected: string,
    readonly actual: string,
    source: string,
  ) {
    super(
      `${source} delivered a file with SHA-256 ${actual} instead of ${expected}; the file was removed. Try again; if this repeats, do not trust that source.`,
    )
  }
}

/**
 * Why a download failed. After `unreachable` (no connection) and `unavailable` (the source answered, but lacks the file, refuses it or
 * failed) the next source is tried. `local` is a failure of this machine's disk, where another source does not help.
 */
type DownloadFailure = "unreachable" | "unavailable" | "local"

/** A download failed. */
export class DownloadError extends StoreError {
  override readonly name = "DownloadError"
  constructor(
    message: string,
    readonly failure: DownloadFailure,
    /** The HTTP status, if the source answered. */
    readonly status?: number,
  ) {
    super(message)
  }
}
